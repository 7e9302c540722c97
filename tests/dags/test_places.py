"""What connections of lakes and of DuckDB become, and what is said of those that cannot be used."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pyarrow as pa
import pytest
from deltalake import write_deltalake

PLACES: dict[str, dict[str, Any]] = {
    "keys": {
        "conn_type": "aws", "login": "the-key", "password": "the-secret",
        "extra": {"endpoint_url": "http://127.0.0.1:9", "region_name": "eu-west-1", "aws_session_token": "the-token"},
    },
    "path": {"host": "/data/lake"},
    "file_uri": {"host": "file:///data/lake"},
    "bucket": {"host": "s3://keys@my-bucket/some/prefix/"},
    "parted": {"host": "/data/lake", "extra": {"partition_by": {"shop.orders": ["day"]}}},
    "none": {"host": ""},
    "relative": {"host": "some/path"},
    "secret": {"host": "s3://AKIA:se-cret@bucket/x"},
    "no_bucket": {"host": "s3:///x"},
    "google": {"host": "gs://bucket/x"},
    "nobody": {"host": "s3://nobody_there@bucket/x"},
    "badly_parted": {"host": "/data/lake", "extra": {"partition_by": "day"}},
    "no_folder": {"conn_type": "duckdb", "host": "/no/such/folder/file.duckdb"},
}  # fmt: skip

RESOLVE = """
import json, sys
from airflow_etl_sync import ConfigurationError, DeltaLakeHook, DuckDbHook
def resolve(conn_id):
    try:
        if conn_id == "no_folder":
            return str(DuckDbHook(conn_id).get_conn())
        access = DeltaLakeHook(conn_id).get_conn()
        return [access.root, dict(access.options()), {table: list(each) for table, each in access.partitions.items()}]
    except ConfigurationError as error:
        return str(error)
hook = DeltaLakeHook("here")
before = len(hook.table("shop.orders").file_uris())
hook.table("shop.orders").optimize.compact()
told = {"tested": hook.test_connection()[0], "files": [before, len(hook.table("shop.orders").file_uris())]}
told["duckdb"] = DuckDbHook("file").get_conn().execute("SELECT 42").fetchone()[0]
print("RESULT" + json.dumps({conn_id: resolve(conn_id) for conn_id in sys.argv[1:]} | told))
"""


@pytest.fixture(scope="module")
def resolved(airflow_environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    import duckdb

    folder = tmp_path_factory.mktemp("places")
    for value in (1, 2):
        write_deltalake(folder / "shop" / "orders", pa.table({"id": [value]}), mode="append")
    duckdb.connect(str(folder / "warehouse.duckdb")).close()
    more = {
        "here": {"host": str(folder)},
        "file": {"conn_type": "duckdb", "host": str(folder / "warehouse.duckdb")},
    }
    given = {
        f"AIRFLOW_CONN_{name.upper()}": json.dumps({"conn_type": "delta_lake", **fields})
        for name, fields in (PLACES | more).items()
    }
    names = [name for name in PLACES if name != "keys"]
    done = subprocess.run(
        [sys.executable, "-c", RESOLVE, *names],
        env=airflow_environment | given, check=True, stdout=subprocess.PIPE, text=True, timeout=120,
    )  # fmt: skip
    result: dict[str, Any] = json.loads(done.stdout.partition("RESULT")[2])
    return result


@pytest.mark.parametrize("name", ["path", "file_uri"])
def test_a_path_is_where_tables_lie(resolved: dict[str, Any], name: str) -> None:
    assert resolved[name] == ["/data/lake", {}, {}]


def test_a_bucket_is_opened_by_the_connection_before_it(resolved: dict[str, Any]) -> None:
    root, options, _ = resolved["bucket"]
    assert root == "s3://my-bucket/some/prefix"
    assert options == {
        "aws_access_key_id": "the-key", "aws_secret_access_key": "the-secret", "aws_session_token": "the-token",
        "aws_region": "eu-west-1", "aws_endpoint_url": "http://127.0.0.1:9", "aws_allow_http": "true",
        "aws_conditional_put": "etag", "aws_s3_allow_unsafe_rename": "false",
    }  # fmt: skip


def test_partitions_are_those_of_the_extra(resolved: dict[str, Any]) -> None:
    assert resolved["parted"][2] == {"shop.orders": ["day"]}


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("none", "names no place for tables: give as its host an absolute path, or s3://CONN_ID@BUCKET/PREFIX"),
        ("relative", "names no place for tables"),
        ("secret", "names no place for tables"),
        ("no_bucket", "names no place for tables"),
        ("google", "names no place for tables"),
        ("nobody", "The connection 'nobody_there' does not exist"),
        ("badly_parted", "must be of the form"),
        ("no_folder", "names no file in a folder that is there"),
    ],
)
def test_a_connection_that_cannot_be_used_is_told(resolved: dict[str, Any], name: str, said: str) -> None:
    assert said in resolved[name] and "se-cret" not in resolved[name]


def test_the_hooks_open_tables_and_files(resolved: dict[str, Any]) -> None:
    assert resolved["files"] == [2, 1] and resolved["tested"] and resolved["duckdb"] == 42
