"""Syncs from files, run by Airflow: on S3 through a connection, and on this machine."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.dags.conftest import Airflow, Run
from tests.object_storage import Bucket

if TYPE_CHECKING:
    import psycopg

EXPORTS = "shop-exports"


@pytest.fixture
def exports(airflow: Airflow, bucket: Bucket) -> Iterator[Bucket]:
    """The bucket that the template names, and its connection."""
    bucket.client.create_bucket(Bucket=EXPORTS)
    bucket.name = EXPORTS
    airflow.connections["AIRFLOW_CONN_LAKE"] = json.dumps(bucket.connection())
    yield bucket
    for key in bucket.keys:
        bucket.delete(key)
    bucket.client.delete_bucket(Bucket=EXPORTS)


def rows(warehouse: psycopg.Connection, table: str, columns: str = "*") -> list[tuple[Any, ...]]:
    return warehouse.execute(f"SELECT {columns} FROM {table} ORDER BY 1").fetchall()


def assert_nothing_is_told(run: Run, bucket: Bucket) -> None:
    told = run.log + str(run.errors) + str(run.tasks)
    assert bucket.secret not in told and bucket.key not in told


def test_orders_from_files(airflow: Airflow, exports: Bucket, warehouse: psycopg.Connection) -> None:
    exports.put("orders/1.csv.gz", gzip.compress(b"id,status,total\n1,open,9.90\n2,open,1\n3,open\n"))
    exports.put("orders/readme.txt", b"not an order")
    first = airflow.run("orders_from_files")
    assert first.state == "success", first.errors
    assert first.counts("orders.load") == {"inserted": 2, "updated": 0, "skipped": 0, "errors": 1}
    exports.put("orders/2.csv.gz", gzip.compress(b'id,status,total\n2,"paid, sent",1\n4,open,2.5\n'))
    second = airflow.run("orders_from_files")
    assert second.counts("orders.load") == {"inserted": 1, "updated": 1, "skipped": 0, "errors": 0}
    assert rows(warehouse, "public.orders_from_files") == [
        (1, "open", Decimal("9.90")), (2, "paid, sent", Decimal("1.00")), (4, "open", Decimal("2.50")),
    ]  # fmt: skip
    third = airflow.run("orders_from_files")
    assert sum(third.counts("orders.load").values()) == 0, "each file is loaded once"
    [(error, payload)] = rows(warehouse, "etl_sync.failed_record", "error, payload")
    assert error == "1.csv.gz, line 4: it has 2 fields, and the file 3 columns"
    assert json.loads(payload["_sync_unread"])["text"] == "3,open"
    for run in (first, second, third):
        assert_nothing_is_told(run, exports)
        assert "3,open" not in run.log + str(run.tasks)


def test_a_file_on_this_machine_in_one_task(airflow: Airflow, warehouse: psycopg.Connection, tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"id": 1, "v": 1.10}\n')
    asked = {"uri": f"file://{tmp_path}/*", "file_options": '{"file_columns": ["file_name"]}'}
    [plan] = airflow.run("one_task_from_files", **asked, dry_run=True).results("sync")
    assert plan["statements"] == ["a.jsonl, 21 bytes"] and plan["estimated_rows"] == 1
    run = airflow.run("one_task_from_files", **asked)
    assert run.state == "success", run.errors
    assert rows(warehouse, "public.from_files") == [(1, Decimal("1.10"), "a.jsonl")]


def test_files_declared_in_yaml(airflow: Airflow, warehouse: psycopg.Connection, tmp_path: Path) -> None:
    (tmp_path / "b.csv").write_text("id;v\n1;-\n2;x\n")
    run = airflow.run("declared_from_files", uri=f"{tmp_path}/*.csv")
    assert run.state == "success", run.errors
    assert rows(warehouse, "public.declared") == [(1, None), (2, "x")]


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"uri": "s3://nobody@{bucket}/*.csv"}, "The connection 'nobody' does not exist"),
        ({"uri": "s3://lake@{bucket}/*.csv", "conn_id": "lake"}, "name it once"),
        ({"uri": "s3://{bucket}/*.csv", "conn_id": "lake_of_another"}, "it is refused. Correct the credentials"),
        (
            {"uri": "s3://AKIAKEY:do-not-show@{bucket}/*.csv"},
            "put keys, tokens and options into the Airflow connection",
        ),
        ({"uri": "s3://{bucket}/*.csv?token=do-not-show"}, "put keys, tokens and options into the Airflow connection"),
        ({"uri": "s3://lake@{bucket}/none/*.csv"}, "No file matches the uri of this stream"),
        ({"uri": "exports/*.csv"}, "is not a full path"),
        ({"uri": "/nowhere/*.csv", "file_options": {"delimeter": ";"}}, "no key 'delimeter': did you mean delimiter?"),
        (
            {"uri": "/nowhere/*.csv", "file_options": {"header": "maybe"}},
            "header of file_options must be true or false",
        ),
        ({"file_options": {"header": True}}, "give their uri too"),
    ],
)
def test_what_cannot_be_is_told_at_once(
    airflow: Airflow, bucket: Bucket, warehouse: psycopg.Connection, asked: dict[str, Any], said: str
) -> None:
    airflow.connections["AIRFLOW_CONN_LAKE"] = json.dumps(bucket.connection())
    airflow.connections["AIRFLOW_CONN_LAKE_OF_ANOTHER"] = json.dumps(bucket.connection(password="do-not-show"))
    if "uri" in asked:
        asked = asked | {"uri": asked["uri"].format(bucket=bucket.name)}
    run = airflow.run("one_task_from_files", **asked)
    assert (run.state, run.tries) == ("failed", 1)
    assert said in run.errors[0]
    assert "do-not-show" not in run.log + str(run.errors)
    assert_nothing_is_told(run, bucket)
