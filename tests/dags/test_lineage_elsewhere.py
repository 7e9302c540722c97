"""What OpenLineage is told of tables away from the state: each system's own name, columns and rows, and no secret."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.bigquery_emulator import PROJECT, new_bigquery
from tests.dags.conftest import Airflow
from tests.dags.telling import events_of, name_of, names
from tests.mariadb import new_mariadb
from tests.object_storage import REGION, Bucket
from tests.snowflake_emulator import new_snowflake

Request = pytest.FixtureRequest
ROWS = 7
SECRET = "kept-from-everybody"
SYSTEMS = ("mysql", "sqlite", "duckdb", "delta", "delta_s3", "parquet", "parquet_s3", "snowflake", "bigquery")
Name = tuple[str, str]


@pytest.fixture
def airflow(
    told_process: Airflow, notes: Path, source: psycopg.Connection, source_db: str, warehouse_db: str
) -> Airflow:
    source.execute("CREATE TABLE public.prices (id bigint PRIMARY KEY, price text NOT NULL, changed bigint NOT NULL)")
    source.execute("INSERT INTO public.prices SELECT n, 'private', n FROM generate_series(1, %s) AS n", [ROWS])
    told_process.connections.clear()
    told_process.connect("shop_db", source_db)
    told_process.connect("warehouse", warehouse_db)
    notes.write_text("")
    return told_process


@contextmanager
def in_mysql(airflow: Airflow, _: Path, __: Request) -> Iterator[Name]:
    with new_mariadb() as made:
        login = made.database[-16:]
        made.execute(
            f"CREATE USER '{login}'@'%' IDENTIFIED BY '{SECRET}'", f"GRANT ALL ON {made.database}.* TO '{login}'@'%'"
        )
        airflow.connect(
            "mart", "", conn_type="mysql", host=made.host, port=made.port, login=login, password=SECRET,
            schema=made.database,
        )  # fmt: skip
        try:
            yield f"mysql://{made.host}:{made.port}", f"{made.database}.prices"
        finally:
            made.execute(f"DROP USER '{login}'@'%'")


@contextmanager
def in_sqlite(airflow: Airflow, folder: Path, _: Request) -> Iterator[Name]:
    airflow.connect("mart", "", conn_type="sqlite", host=str(folder / "mart.db"))
    yield f"sqlite://{folder}/mart.db", "main.prices"


@contextmanager
def in_duckdb(airflow: Airflow, folder: Path, _: Request) -> Iterator[Name]:
    airflow.connect("mart", "", conn_type="duckdb", host=str(folder / "mart.duckdb"))
    yield f"duckdb://{folder}/mart.duckdb", "mart.main.prices"


def in_folder(conn_type: str) -> Any:
    @contextmanager
    def made(airflow: Airflow, folder: Path, _: Request) -> Iterator[Name]:
        airflow.connect("mart", "", conn_type=conn_type, host=str(folder))
        yield "file", f"{folder}/prices"

    return made


def in_bucket(conn_type: str) -> Any:
    @contextmanager
    def made(airflow: Airflow, _: Path, request: Request) -> Iterator[Name]:
        bucket: Bucket = request.getfixturevalue("bucket")
        keys = bucket.connection(extra={"endpoint_url": bucket.endpoint, "region_name": REGION})
        airflow.connect("mart_keys", "", **keys)
        airflow.connect("mart", "", conn_type=conn_type, host=f"s3://mart_keys@{bucket.name}/tables")
        yield f"s3://{bucket.name}", "tables/prices"

    return made


@contextmanager
def in_snowflake(airflow: Airflow, _: Path, __: Request) -> Iterator[Name]:
    with new_snowflake() as made:
        options = dict(made.access.options)
        extra = {name: options[name] for name in ("account", "host", "port", "protocol", "database")}
        extra["account"] = "org-shop"
        airflow.connect(
            "mart", "", conn_type="snowflake", login="u", password=SECRET, schema="PUBLIC", extra=extra
        )  # fmt: skip
        yield "snowflake://org-shop", f"{options['database'].upper()}.PUBLIC.PRICES"


@contextmanager
def in_bigquery(airflow: Airflow, _: Path, __: Request) -> Iterator[Name]:
    with new_bigquery() as made:
        made.execute("CREATE SCHEMA mart")
        extra = {"is_anonymous": True, "project": PROJECT, "api_endpoint": made.access.endpoint, "dataset": "mart"}
        airflow.connect("mart", "", conn_type="google_cloud_platform", extra=extra)
        yield "bigquery", f"{PROJECT}.mart.prices"
        made.execute("DROP SCHEMA mart CASCADE")


MADE: dict[str, Callable[..., Any]] = {
    "mysql": in_mysql,
    "sqlite": in_sqlite,
    "duckdb": in_duckdb,
    "delta": in_folder("delta_lake"),
    "parquet": in_folder("parquet_lake"),
    "delta_s3": in_bucket("delta_lake"),
    "parquet_s3": in_bucket("parquet_lake"),
    "snowflake": in_snowflake,
    "bigquery": in_bigquery,
}


@pytest.mark.parametrize("system", SYSTEMS)
def test_a_table_elsewhere_is_told_by_its_own_name(
    airflow: Airflow, notes: Path, source_db: str, tmp_path: Path, request: Request, system: str
) -> None:
    jobs = (("prices_one_task", "sync", ROWS), ("prices_chain", "prices.load", 0))
    with MADE[system](airflow, tmp_path, request) as name:
        for dag_id, task, written in jobs:
            run = airflow.run(dag_id)
            assert run.state == "success", run.errors
            [event] = events_of(notes, f"{dag_id}.{task}")
            [read], [table] = event["inputs"], event["outputs"]
            assert (names([read]), names([table])) == ([name_of(source_db, "prices")], [name])
            told = {field["name"]: field.get("type") for field in table["facets"]["schema"]["fields"]}
            assert set(told) == {"id", "price", "changed"}
            assert all(told.values()) or system.startswith("parquet")
            lineage = table["facets"]["columnLineage"]["fields"]
            assert {column: field["inputFields"][0]["field"] for column, field in lineage.items()} == {
                column: column for column in told
            }
            rows = ROWS if system.startswith("parquet") else written
            assert table["outputFacets"]["outputStatistics"]["rowCount"] == rows
    text = notes.read_text()
    secrets = (json.loads(connection).get("password") for connection in airflow.connections.values())
    for secret in filter(None, (*secrets, "private")):
        assert secret not in text


def test_records_of_a_function_are_told_elsewhere_too(airflow: Airflow, notes: Path, tmp_path: Path) -> None:
    with in_sqlite(airflow, tmp_path, None) as (namespace, _):  # type: ignore[arg-type]
        run = airflow.run(
            "templated_records", destination_conn_id="mart", destination_table="records", cursor_field="at",
            state_conn_id="warehouse", first=4,
        )  # fmt: skip
        assert run.state == "success", run.errors
    [event] = events_of(notes, "templated_records.give")
    assert (event["inputs"], names(event["outputs"])) == ([], [(namespace, "main.records")])
