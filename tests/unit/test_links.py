"""Where the button of a task leads."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from airflow_etl_sync import IncrementalSyncOperator, WatermarkAdvanceOperator
from airflow_etl_sync.observability.links import SyncLink

KEY: Any = SimpleNamespace(dag_id="d", task_id="t")


@pytest.fixture(autouse=True)
def address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__API__BASE_URL", "https://airflow.example/team/")


def link(operator: Any) -> str:
    return SyncLink().get_link(operator, ti_key=KEY)


def sync(**changes: Any) -> IncrementalSyncOperator:
    given = {
        "task_id": "sync", "sync_key": "orders", "source_conn_id": "shop_db", "table": "public.orders",
        "cursor_field": "id", "destination_conn_id": "lake", "destination_table": "public.orders",
    }  # fmt: skip
    return IncrementalSyncOperator(**(given | changes))


def test_it_leads_to_the_database_that_keeps_the_state() -> None:
    assert link(sync(state_conn_id="warehouse")).endswith("?conn_id=warehouse&sync_key=orders")
    for nothing in (None, "", "None"):  # what Jinja makes of it
        assert link(sync(state_conn_id=nothing)).endswith("?conn_id=lake&sync_key=orders")


def test_it_begins_with_airflows_own_address() -> None:
    assert link(sync()).startswith("https://airflow.example/team/etl_sync/sync?")


def test_it_leads_nowhere_while_the_sync_is_not_known() -> None:
    nothing: tuple[Any, ...] = (None, [], {}, "{{ a template }}")
    for extraction in nothing:
        advance = WatermarkAdvanceOperator(task_id="advance", extraction=extraction, state_conn_id="warehouse")
        assert link(advance) == ""
    assert link(sync(destination_conn_id="")) == ""


def test_records_of_a_function_without_a_name_have_their_tasks() -> None:
    function = SimpleNamespace(custom_operator_name="@task.etl_sync", destination_conn_id="warehouse", sync_key=None)
    assert link(function).endswith("?conn_id=warehouse&sync_key=d.t")
    function.custom_operator_name = "@task"
    assert link(function) == ""
