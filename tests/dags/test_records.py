"""``@task.etl_sync`` run by Airflow, on real databases: records, counts, tries and the watermark."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.dags.conftest import ORDERS, Airflow, watermarks

if TYPE_CHECKING:
    import psycopg

    from airflow_etl_sync.demo.shop import Shop


def loaded(warehouse: psycopg.Connection) -> int:
    (count,) = warehouse.execute("SELECT count(*) FROM public.records").fetchone() or (0,)
    return int(count)


def test_order_scores(
    airflow: Airflow, shop: Shop, source: psycopg.Connection, warehouse: psycopg.Connection
) -> None:  # fmt: skip
    first = airflow.run("order_scores")
    assert first.state == "success"
    assert first.counts("score_orders") == {"inserted": ORDERS, "updated": 0, "skipped": 0, "errors": 0}
    [report] = first.results("score_orders")
    assert (report["sync_key"], report["cursor_type"]) == ("order_scores", "timestamptz")
    shop.add_orders(2)
    source.execute("UPDATE public.orders SET status = 'found' WHERE id = 7")
    second = airflow.run("order_scores")
    assert (second.counts("score_orders")["inserted"], second.counts("score_orders")["updated"]) == (2, 1)
    assert second.counts("score_orders")["skipped"] < ORDERS, "the function was handed the watermark"
    query = "SELECT score, details FROM public.order_scores WHERE order_id = 7"
    assert warehouse.execute(query).fetchall() == [(0.5, {"status": "found", "letters": 5})]
    types = "SELECT string_agg(format_type(atttypid, -1), ', ' ORDER BY attnum) FROM pg_attribute"
    types += " WHERE attrelid = 'public.order_scores'::regclass AND attnum > 0"
    told = "bigint, double precision, jsonb, timestamp with time zone"
    assert warehouse.execute(types).fetchone() == (told,)


def test_all_arguments_as_text(airflow: Airflow, warehouse: psycopg.Connection) -> None:
    conf: dict[str, Any] = {
        "cursor_field": "at",
        "columns": "id, at, told",
        "column_types": {"told": "text"},
        "lag": "2",
        "synced_at_column": "synced_at",
        "schema_contract": "evolve",
        "max_errors": "5",
        "max_error_percent": "0.5",
    }
    first = airflow.run("templated_records", **conf, first=4)
    assert first.errors == ()
    assert first.counts("give")["inserted"] == 6
    second = airflow.run("templated_records", **conf)
    assert second.counts("give") == {"inserted": 0, "updated": 3, "skipped": 0, "errors": 0}
    told = warehouse.execute("SELECT id, told FROM public.records ORDER BY id").fetchall()
    assert [row[1] for row in told] == ['["None", true]'] * 3 + ['["7", true]'] * 3
    full = airflow.run("templated_records", **conf, full_refresh=True)
    assert full.counts("give") == {"inserted": 4, "updated": 3, "skipped": 3, "errors": 0}


def test_a_function_that_breaks_off_is_called_again_and_nothing_is_lost_or_doubled(
    airflow: Airflow, warehouse: psycopg.Connection
) -> None:
    run = airflow.run("breaking_records")
    assert (run.state, run.tries) == ("success", 2)
    assert run.errors == ("break_off: the API broke off",)
    assert "ConnectionResetError" in run.log, "the function's own error"
    assert run.counts("break_off") == {"inserted": 10, "updated": 0, "skipped": 6, "errors": 0}
    assert loaded(warehouse) == 10
    assert "breaking_records.break_off" in watermarks(warehouse)[0]


def test_mapped_copies_need_a_sync_key_each(airflow: Airflow, warehouse: psycopg.Connection) -> None:
    run = airflow.run("mapped_records")
    assert run.state == "failed"
    states = {task["task_id"]: task["state"] for task in run.tasks}
    assert states == {"give_one": "failed", "give_another": "success"}
    assert loaded(warehouse) == 2
    assert all("sync_key is missing: each copy of a mapped task needs one of its own" in error for error in run.errors)


@pytest.mark.parametrize(
    ("conf", "said"),
    [
        ({"destination_conn_id": "nowhere"}, "'nowhere'"),
        ({"destination_table": "a.b.c"}, "a.b.c"),
        ({"primary_key": ""}, "primary_key is missing"),
        ({"primary_key": "nothing"}, "No record has anything in 'nothing'"),
        ({"cursor_field": "nothing"}, "No record has the cursor_field 'nothing'"),
        ({"conflict": "latest_wins"}, "latest_wins compares a field"),
        ({"conflict": "loudest_wins"}, "'loudest_wins'"),
        ({"column_types": "text"}, "column_types must be a mapping"),
        ({"lag": "a while"}, "lag must be"),
        ({"chunk_rows": "0"}, "chunk_rows must be"),
        ({"create_table": "no"}, "create_table is off"),
    ],
    ids=str,
)
def test_bad_argument_is_named_before_anything_moves(
    airflow: Airflow, warehouse: psycopg.Connection, conf: dict[str, Any], said: str
) -> None:
    run = airflow.run("templated_records", **conf)
    assert (run.state, run.tries) == ("failed", 1)
    assert len(run.errors) == 1 and said in run.errors[0], run.errors
    assert warehouse.execute("SELECT to_regclass('public.records')").fetchone() == (None,)
    assert watermarks(warehouse) == []
