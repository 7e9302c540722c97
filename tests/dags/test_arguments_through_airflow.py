"""Arguments that Jinja has turned into text, and bad ones: one clear sentence, before anything moves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.dags.conftest import ORDERS, Airflow, watermarks

if TYPE_CHECKING:
    import psycopg

    from airflow_etl_sync.demo.shop import Shop

DAGS = ["templated_chain", "templated_one_task"]
TABLE = {"table": "public.orders"}
LOADERS = {"templated_chain": "chain.load", "templated_one_task": "sync"}


def one_sentence(airflow: Airflow, dag_id: str, conf: dict[str, Any]) -> str:
    """Run a DAG that must fail at once, and give what it says."""
    run = airflow.run(dag_id, **conf)
    assert run.state == "failed"
    assert run.tries == 1, "another try cannot help"
    assert len(set(run.errors)) == 1, "one line says it"
    return run.errors[0].partition(": ")[2]


@pytest.mark.parametrize("dag_id", DAGS)
def test_all_arguments_as_text(airflow: Airflow, shop: Shop, warehouse: psycopg.Connection, dag_id: str) -> None:
    conf = TABLE | {
        "columns": "id, status, updated_at",
        "primary_key": ["id"],
        "where": "id > 100",
        "lag": "PT5M",
        "full_refresh": "yes",
        "conflict": "latest_wins",
        "conflict_field": "updated_at",
        "synced_at_column": "synced_at",
        "schema_contract": "discard_row",
        "max_errors": "5",
        "max_error_percent": "0.5",
        "chunk_rows": "50",
    }
    run = airflow.run(dag_id, **conf)
    assert run.errors == ()
    assert run.counts(LOADERS[dag_id])["inserted"] == ORDERS - 100
    columns = warehouse.execute("SELECT * FROM public.copy LIMIT 0").description or []
    assert [column.name for column in columns] == ["id", "status", "updated_at", "synced_at"]


def test_loads_are_mapped_over_the_parts(airflow: Airflow, shop: Shop) -> None:
    run = airflow.run("templated_chain", **TABLE, chunk_rows=50)
    assert len(run.results("chain.load")) == 3
    assert run.counts("chain.load")["inserted"] == ORDERS


@pytest.mark.parametrize("dag_id", DAGS)
@pytest.mark.parametrize(
    ("conf", "said"),
    [
        ({"source_conn_id": "nowhere"}, ["'nowhere'", "does not exist", "Admin, Connections"]),
        ({"destination_conn_id": "nowhere"}, ["'nowhere'", "does not exist"]),
        ({"source_conn_id": "a_website"}, ["'a_website'", "'http'", "'postgres'"]),
        ({"source_conn_id": "misspelt"}, ["'misspelt'", "'sslmoed'"]),
        ({"source_conn_id": "no_database"}, ["no_such_database"]),
        ({"table": "public.nothing"}, ["public.nothing"]),
        ({"table": "a.b.c"}, ["'a.b.c'"]),
        ({"table": "", "sql": ""}, ["exactly one of table, sql, endpoint and uri"]),
        ({"sql": "SELECT 1 AS id"}, ["exactly one of table, sql, endpoint and uri"]),
        ({"table": "", "sql": "SELEC 1", "primary_key": "id"}, ["syntax error"]),
        ({"columns": "id, nothing"}, ["nothing"]),
        ({"cursor_field": "nothing"}, ["nothing"]),
        ({"cursor_field": ""}, ["cursor_field"]),
        ({"table": "public.odd", "cursor_field": "shape"}, ["shape", "point"]),
        ({"table": "public.keyless"}, ["primary_key"]),
        ({"primary_key": "nothing"}, ["nothing"]),
        ({"schema_contract": "grow"}, ["schema_contract", "'grow'", "evolve, freeze, discard_column, discard_row"]),
        ({"max_errors": "-1"}, ["max_errors", "'-1'"]),
        ({"max_error_percent": "101"}, ["max_error_percent", "'101'"]),
        ({"conflict": "loudest_wins"}, ["'loudest_wins'", "source_wins"]),
        ({"on_cursor_null": "shrug"}, ["'shrug'", "include"]),
        ({"lag": "a while"}, ["lag", "'a while'", "PT5M"]),
        ({"full_refresh": "perhaps"}, ["full_refresh", "'perhaps'"]),
        ({"chunk_rows": "0"}, ["chunk_rows", "'0'"]),
        ({"range_start": "yesterday-ish"}, ["range_start"]),
        ({"full_refresh": True, "range_start": "2026-01-01"}, ["full_refresh", "range_start"]),
    ],
    ids=lambda value: "-".join(map(str, value)) if isinstance(value, dict) else "",
)
def test_bad_argument_is_named_before_anything_moves(
    airflow: Airflow, shop: Shop, source: psycopg.Connection, warehouse: psycopg.Connection, source_db: str,
    dag_id: str, conf: dict[str, Any], said: list[str],
) -> None:  # fmt: skip
    source.execute("CREATE TABLE public.keyless (id int, updated_at timestamptz)")
    source.execute("CREATE TABLE public.odd (id int PRIMARY KEY, shape point)")
    airflow.connect("a_website", source_db, conn_type="http")
    airflow.connect("misspelt", source_db, extra='{"sslmoed": "require"}')
    airflow.connect("no_database", source_db, schema="no_such_database")
    sentence = one_sentence(airflow, dag_id, TABLE | conf)
    assert all(word in sentence for word in said), sentence
    assert warehouse.execute("SELECT to_regclass('public.copy')").fetchone() == (None,)
    assert watermarks(warehouse) == []


@pytest.mark.parametrize("dag_id", DAGS)
@pytest.mark.parametrize("side", ["source_conn_id", "destination_conn_id"])
def test_unreachable_database_is_tried_again(
    airflow: Airflow, shop: Shop, source_db: str, dag_id: str, side: str
) -> None:
    airflow.connect("closed", source_db, host="127.0.0.1", port=1, password="do-not-show")
    run = airflow.run(dag_id, **TABLE, **{side: "closed"})
    assert (run.state, run.tries) == ("failed", 2)
    assert all("127.0.0.1" in error or "refused" in error for error in run.errors)
    assert not any("do-not-show" in error for error in run.errors)


@pytest.mark.parametrize("dag_id", DAGS)
def test_watermark_stays_when_a_later_run_is_wrong(
    airflow: Airflow, shop: Shop, warehouse: psycopg.Connection, dag_id: str
) -> None:
    assert airflow.run(dag_id, **TABLE).state == "success"
    before = watermarks(warehouse)
    assert len(before) == 1
    one_sentence(airflow, dag_id, TABLE | {"cursor_field": "nothing"})
    assert watermarks(warehouse) == before
