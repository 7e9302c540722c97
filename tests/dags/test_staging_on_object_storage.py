"""S27: the chain in Airflow with its staging on S3. The connection is Airflow's, and its secret stays there."""

from __future__ import annotations

import json
import secrets
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from airflow_etl_sync.demo.comparison import compare
from tests.dags.conftest import ORDERS, Airflow, Run, watermarks
from tests.object_storage import Bucket

if TYPE_CHECKING:
    from airflow_etl_sync.demo.shop import Shop

pytestmark = pytest.mark.scenario("S27")

STREAM: dict[str, Any] = {"table": "public.orders", "chunk_rows": 100}


def stage_in(airflow: Airflow, bucket: Bucket, **changes: Any) -> str:
    """Define a connection to the bucket, under a new id, and give the URI that names it."""
    conn_id = f"lake_{secrets.token_hex(4)}"
    airflow.connections[f"AIRFLOW_CONN_{conn_id.upper()}"] = json.dumps(bucket.connection(**changes))
    return f"s3://{conn_id}@{bucket.name}/team/staging"


def assert_nothing_is_told(run: Run, bucket: Bucket) -> None:
    told = run.log + str(run.errors) + str(run.tasks)
    assert bucket.secret not in told and bucket.key not in told


def test_the_chain_goes_through_the_bucket_of_a_connection(
    airflow: Airflow, shop: Shop, bucket: Bucket, source_db: str, warehouse_db: str
) -> None:
    uri = stage_in(airflow, bucket)
    run = airflow.run("templated_chain", **STREAM, staging_uri=uri)
    assert run.state == "success"
    assert run.counts("chain.load") == {"inserted": ORDERS, "updated": 0, "skipped": 0, "errors": 0}
    assert {part["staging_uri"] for [*parts] in run.results("chain.extract") for part in parts} == {uri}
    assert bucket.keys == []
    assert_nothing_is_told(run, bucket)
    same = compare(
        source_db, warehouse_db, source_query="SELECT * FROM public.orders", destination_table=("public", "copy"),
        key="id", leave_out="",
    )  # fmt: skip
    assert same.is_equal


def test_chunks_stay_in_the_bucket_while_a_load_fails(
    airflow: Airflow, shop: Shop, bucket: Bucket, warehouse: psycopg.Connection
) -> None:
    warehouse.execute("CREATE TABLE public.copy (id bigint PRIMARY KEY, status integer)")
    run = airflow.run("templated_chain", **STREAM, schema_contract="freeze", staging_uri=stage_in(airflow, bucket))
    assert run.state == "failed"
    assert len(bucket.keys) == ORDERS // 100
    assert watermarks(warehouse) == []
    assert_nothing_is_told(run, bucket)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"password": "do-not-show"}, "the storage refuses it. Correct the credentials"),
        ({"login": "AKIAUNKNOWN"}, "the storage refuses it. Correct the credentials"),
    ],
    ids=["secret", "key"],
)
def test_a_wrong_login_has_one_try(
    airflow: Airflow, shop: Shop, bucket: Bucket, changes: dict[str, str], words: str
) -> None:
    run = airflow.run("templated_chain", **STREAM, staging_uri=stage_in(airflow, bucket, **changes))
    assert (run.state, run.tries) == ("failed", 1)
    assert words in run.errors[0]
    assert "do-not-show" not in run.log + str(run.errors)
    assert_nothing_is_told(run, bucket)


@pytest.mark.parametrize(
    ("uri", "words"),
    [
        ("s3://nobody@{bucket}/x", "The connection 'nobody' does not exist"),
        ("s3://AKIAKEY:do-not-show@{bucket}/x", "put keys, tokens and options into the Airflow connection"),
        ("s3://{bucket}/x?token=do-not-show", "put keys, tokens and options into the Airflow connection"),
        ("s3:///x", "names no bucket"),
        ("ftp-of-mine://{bucket}/x", "needs a library that is not installed"),
    ],
)
def test_a_uri_that_cannot_be_used_is_told_at_once(
    airflow: Airflow, shop: Shop, bucket: Bucket, warehouse: psycopg.Connection, uri: str, words: str
) -> None:
    run = airflow.run("templated_chain", **STREAM, staging_uri=uri.format(bucket=bucket.name))
    assert (run.state, run.tries) == ("failed", 1)
    assert words in run.errors[0]
    assert "do-not-show" not in str(run.errors)
    assert watermarks(warehouse) == []
