"""Whether a sync is late and why, judged from its DAGs' newest runs and its own."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from airflow_etl_sync.core.model import Counts
from airflow_etl_sync.plugin.freshness import STATES, judge, span
from airflow_etl_sync.plugin.schedules import DagSchedule, NewestRun, TaskTrouble
from airflow_etl_sync.state.overview import RunRecord

NOW = datetime(2026, 5, 4, 12, 0, tzinfo=timezone.utc)
DUE = NOW - timedelta(minutes=20)


def run(began: datetime, seconds: float | None = 30.0, status: Any = "done") -> RunRecord:
    return RunRecord(
        extraction_id="e", sync_key="orders", kind="incremental", status=status, dag_id="orders", task_id="sync",
        run_id="r", attempt=1, is_resumed=False, is_overtaken=False, protection="", cursor_type=None, low=None,
        high=None, started_at=began, finished_at=None if seconds is None else began + timedelta(seconds=seconds),
        rows_extracted=10, counts=Counts(inserted=10), deleted=0,
    )  # fmt: skip


def schedule(state: str | None = "success", *troubles: TaskTrouble, **changes: Any) -> DagSchedule:
    newest = None if state is None else NewestRun(run_id="r", state=state, due_at=DUE, troubles=troubles)
    fields: dict[str, Any] = {"dag_id": "orders", "summary": "@hourly", "is_paused": False, "newest": newest}
    return DagSchedule(**(fields | changes))


def trouble(state: str) -> TaskTrouble:
    return TaskTrouble(task_id="load", state=state, try_number=2, max_tries=4)


FRESH, STALE = run(DUE + timedelta(seconds=5)), run(DUE - timedelta(hours=1))


@pytest.mark.parametrize(
    ("given", "runs", "state", "why"),
    [
        (schedule(), [FRESH], "on time", ""),
        (schedule(summary=None), [FRESH], "unscheduled", ""),
        (schedule("running"), [FRESH], "on time", ""),
        (schedule("failed"), [FRESH], "on time", ""),
        (schedule("failed"), [STALE], "failed", "The run that was due 20 min ago has failed."),
        (
            schedule("failed", trouble("upstream_failed"), trouble("failed")), [STALE], "failed",
            "The run that was due 20 min ago has failed, task load, try 2 of 4.",
        ),
        (
            schedule("running", trouble("up_for_retry")), [STALE], "retrying",
            "The run that was due 20 min ago is trying again, task load, try 2 of 4.",
        ),
        (schedule("running"), [STALE], "late", "The run that was due 20 min ago is running."),
        (schedule("running"), [run(DUE - timedelta(hours=1), 1800)], "running", "was due 20 min ago is running."),
        (schedule("queued"), [STALE], "late", "The run that was due 20 min ago is queued."),
        (schedule("success"), [STALE], "late", "The run that was due 20 min ago has ended without a run of this sync."),
        (schedule("success"), [run(FRESH.started_at, None, "extracted"), STALE], "late", "has ended without"),
        (schedule(None), [], "never ran", "It has not run yet."),
        (schedule(None), [run(DUE, None, "extracting")], "never ran", "No run of it has come to its end."),
        (schedule(next_due_at=NOW - timedelta(minutes=4)), [FRESH], "on time", ""),
        (
            schedule(next_due_at=NOW - timedelta(minutes=6)), [FRESH], "late",
            "Airflow has not made the run that was due 6 min ago: is its scheduler up?",
        ),
        (schedule("failed", is_paused=True), [STALE], "paused", "Its DAG is paused."),
    ],
)  # fmt: skip
def test_the_newest_due_run_decides(given: DagSchedule, runs: list[RunRecord], state: str, why: str) -> None:
    verdict = judge([given], runs, NOW)
    assert verdict.state == state
    assert why in verdict.why if why else not verdict.why


def test_the_worst_of_several_dags_decides_but_not_a_paused_one() -> None:
    good, bad = schedule(), schedule("failed", dag_id="nightly")
    assert judge([good, bad], [STALE], NOW).dag_id == "nightly"
    paused = schedule("failed", dag_id="nightly", is_paused=True)
    assert judge([good, paused], [FRESH], NOW).state == "on time"


def test_without_a_dag_there_is_no_schedule() -> None:
    assert judge([], [FRESH], NOW).state == "unscheduled"
    assert judge([], [], NOW).state == "never ran"


def test_what_needs_a_person_comes_first() -> None:
    assert STATES.index("failed") < STATES.index("late") < STATES.index("retrying") < STATES.index("on time")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-3, "0 s"), (59.9, "59 s"), (60, "1 min"), (3600, "1 h"), (12_000, "3 h 20 min"), (180_000, "2 d 2 h")],
)
def test_lengths_of_time_are_short(seconds: float, text: str) -> None:
    assert span(timedelta(seconds=seconds)) == text
