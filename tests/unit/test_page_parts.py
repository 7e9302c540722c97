"""What the page is made of: syncs found in DAGs, plots, texts, and who may do what."""

from __future__ import annotations

import subprocess
import sys
from datetime import datetime, timezone
from typing import Any

import pytest
from airflow.sdk import DAG
from fastapi import HTTPException, Request

from airflow_etl_sync import CdcSyncOperator, IncrementalSyncOperator, WatermarkSetOperator, incremental_sync
from airflow_etl_sync.plugin import forms
from airflow_etl_sync.plugin.declared import DeclaredTask, conn_ids_of, tasks_in
from airflow_etl_sync.plugin.figures import number_text, rate_text, seconds_text, size_text
from airflow_etl_sync.plugin.pages import static_file
from airflow_etl_sync.plugin.plots import bars, stacks
from airflow_etl_sync.plugin.visitor import Visitor

PLACES: dict[str, Any] = {"source_conn_id": "shop", "destination_conn_id": "warehouse"}


try:
    from airflow.serialization.serialized_objects import DagSerialization
except ImportError:  # before Airflow 3.2
    from airflow.serialization.serialized_objects import SerializedDAG as DagSerialization  # type: ignore[attr-defined,assignment]


def found_in(dag: DAG) -> list[DeclaredTask]:
    return list(tasks_in(DagSerialization.to_dict(dag)["dag"]))


def a_dag() -> DAG:
    return DAG("d", schedule=None, start_date=datetime(2026, 1, 1, tzinfo=timezone.utc))


def window(task_id: str, **changes: Any) -> IncrementalSyncOperator:
    given = {"sync_key": "orders", "table": "o", "cursor_field": "c", "destination_table": "o", **PLACES}
    return IncrementalSyncOperator(task_id=task_id, **(given | changes))


def test_syncs_are_read_off_dags() -> None:
    class Ours(IncrementalSyncOperator):
        """A subclass of somebody's own."""

    with a_dag() as dag:
        incremental_sync(
            group_id="g", sync_key="grouped", table="t", cursor_field="c", destination_table="t", **PLACES
        )  # fmt: skip
        window("one")
        window("backfill", range_start="{{ params.start }}")
        window("templated", sync_key="{{ params.key }}")
        window("nowhere", destination_conn_id="{{ params.where }}")
        window("mapped").dag = dag
        CdcSyncOperator(task_id="capture", sync_key="live", **PLACES)
        WatermarkSetOperator(task_id="tool", sync_key="orders", state_conn_id="elsewhere", reason="x")
        Ours(task_id="own", sync_key="own", table="o", cursor_field="c", destination_table="o", **PLACES)
    found = {task.task_id: task for task in found_in(dag)}
    assert {name: (task.sync_key, task.conn_id, task.is_moving) for name, task in found.items()} == {
        "g.extract": ("grouped", "warehouse", True),
        "one": ("orders", "warehouse", True),
        "backfill": ("orders", "warehouse", False),
        "templated": (None, "warehouse", True),
        "mapped": ("orders", "warehouse", True),
        "capture": ("live", "warehouse", True),
        "tool": ("orders", "elsewhere", False),
        "own": ("own", "warehouse", True),
    }
    assert found["capture"].source_conn_id == "shop" and found["one"].source_conn_id is None


def test_mapped_syncs_and_dags_without_any() -> None:
    with a_dag() as dag:
        IncrementalSyncOperator.partial(
            task_id="many", table="o", cursor_field="c", destination_table="o", **PLACES
        ).expand(sync_key=["a", "b"])
    assert [(task.sync_key, task.conn_id) for task in found_in(dag)] in ([(None, "warehouse")], [])
    assert found_in(a_dag()) == []
    assert list(tasks_in({"dag_id": "d"})) == []


def test_databases_that_no_dag_names_can_be_configured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__ETL_SYNC__STATE_CONN_IDS", " second, first,,")
    task = DeclaredTask(dag_id="d", task_id="t", conn_id="warehouse", sync_key="s", is_moving=True)
    assert conn_ids_of([task, task]) == ["first", "second", "warehouse"]


def test_tasks_do_not_load_the_page() -> None:
    code = (
        "import sys; from airflow_etl_sync.plugin.registration import EtlSyncPlugin\n"
        "print([name for name in sys.modules if name.startswith('airflow_etl_sync.') and name.count('.') > 1])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (
        done.stdout.splitlines()[-1] == "['airflow_etl_sync.plugin.mounting', 'airflow_etl_sync.plugin.registration']"
    )


def test_bars_are_as_tall_as_their_values() -> None:
    drawn = bars([1.0, None, 2.0, 0.0], 20)
    assert drawn.path == "M0 10h4v10h-4zM12 0h4v20h-4zM18 19h4v1h-4z"
    assert drawn.missing == "M6 19h4v1h-4z"
    assert drawn.width == 22
    assert bars([], 20).width == 0 and bars([0.0], 20).path == "M0 19h4v1h-4z"


def test_stacks_add_up() -> None:
    ((low, high), (alone,)) = stacks([(1, 3), (0, 2)], 40, 8, 2)
    assert (low.y, low.height, high.y, high.height) == (30, 10, 0, 30)
    assert (alone.x, alone.kind, alone.height) == (10, 1, 20)
    assert stacks([(0, 0)], 40, 8, 2) == [[]]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (size_text(0), "0 B"), (size_text(999), "999 B"), (size_text(1_500_000), "1.5 MB"),
        (size_text(3e15), "3000.0 TB"),
        (rate_text(None), "\N{EN DASH}"), (rate_text(0.0), "0"), (rate_text(3.25), "3.2"), (rate_text(123.4), "123"),
        (seconds_text(0.04), "0.0 s"), (seconds_text(61), "1 min 1 s"), (seconds_text(7260), "2 h 1 min"),
        (number_text(1234567), "1\u202f234\u202f567"),
    ],
)  # fmt: skip
def test_numbers_are_short(text: str, expected: str) -> None:
    assert text == expected


@pytest.mark.parametrize("name", ["", ".", "..", "../app.py", "%2e%2e/app.py", "base.html", "page.css/", "/etc/passwd"])
def test_only_the_pages_own_files_are_served(name: str) -> None:
    assert static_file(name) is None
    assert static_file("page.css") is not None


def test_a_sync_is_seen_by_readers_of_one_dag_and_changed_by_editors_of_all() -> None:
    visitor = Visitor("ann", object(), readable=frozenset({"a", "b"}), editable=frozenset({"b"}))
    assert visitor.may_see({"a", "z"}, "warehouse") and not visitor.may_see({"z"}, "warehouse")
    assert visitor.may_change({"b"}, "warehouse") and not visitor.may_change({"a", "b"}, "warehouse")


def test_a_form_is_good_for_an_hour_and_for_whom_it_was_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__API__SECRET_KEY", "secret-of-the-tests")
    request = Request({"type": "http", "headers": []})
    token = forms.token_for("ada")
    forms.refuse_forged(request, "ada", token)
    with pytest.raises(HTTPException, match="403"):
        forms.refuse_forged(request, "bob", token)
    monkeypatch.setattr(forms, "LONGEST_SECONDS", -1)
    with pytest.raises(HTTPException, match="expired"):
        forms.refuse_forged(request, "ada", token)
