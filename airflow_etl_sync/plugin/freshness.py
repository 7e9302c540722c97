"""Whether a sync is as fresh as its schedule promises, and if not, why: a judgement of what was read, no more."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from airflow_etl_sync.plugin.schedules import DagSchedule, NewestRun
from airflow_etl_sync.state.overview import RunRecord

State = Literal["failed", "late", "retrying", "never ran", "running", "unscheduled", "paused", "on time"]

STATES: tuple[State, ...] = ("failed", "late", "retrying", "never ran", "running", "paused", "unscheduled", "on time")
"""From what needs a person at once to what needs nobody."""

SHORTEST_GRACE = timedelta(minutes=5)
_UNDER_WAY = ("queued", "running", "restarting")


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """How a sync stands against its schedule.

    :param why: one sentence; empty where there is nothing to say
    :param dag_id: the DAG that decided
    :param run_id: the run of that DAG to look at, where there is one
    """

    state: State
    why: str = ""
    dag_id: str | None = None
    run_id: str | None = None

    @property
    def rank(self) -> int:
        return STATES.index(self.state)


def judge(schedules: Sequence[DagSchedule], runs: Sequence[RunRecord], now: datetime) -> Verdict:
    """The worst of what a sync's DAGs say; paused ones decide only where all are.

    A sync is on time once a run that began after the newest due time is done. Until then it may take twice as long
    as the longest of its last runs, and five minutes at least, before it is late.

    :param runs: its last runs, the newest first
    """
    awake = [schedule for schedule in schedules if not schedule.is_paused]
    if schedules and not awake:
        return Verdict(state="paused", why="Its DAG is paused.", dag_id=schedules[0].dag_id)
    verdicts = [_judge_one(schedule, runs, now) for schedule in awake] or [_without_dag(runs)]
    return min(verdicts, key=lambda verdict: verdict.rank)


def _judge_one(schedule: DagSchedule, runs: Sequence[RunRecord], now: datetime) -> Verdict:
    newest, grace = schedule.newest, _grace(runs)
    if newest is not None and not _is_done_since(runs, newest.due_at):
        return _judge_run(schedule, newest, now, grace)
    if schedule.next_due_at is not None and schedule.next_due_at + grace < now:
        due = _ago(now - schedule.next_due_at)
        why = f"Airflow has not made the run that was due {due}: is its scheduler up?"
        return Verdict(state="late", why=why, dag_id=schedule.dag_id)
    if not any(run.status == "done" for run in runs):
        why = "No run of it has come to its end." if runs else "It has not run yet."
        return Verdict(state="never ran", why=why, dag_id=schedule.dag_id)
    run_id = newest.run_id if newest else None
    return Verdict(state="on time" if schedule.summary else "unscheduled", dag_id=schedule.dag_id, run_id=run_id)


def _judge_run(schedule: DagSchedule, newest: NewestRun, now: datetime, grace: timedelta) -> Verdict:
    due = _ago(now - newest.due_at)
    state, why = _state_of(newest, due, is_overdue=newest.due_at + grace < now)
    return Verdict(state=state, why=why, dag_id=schedule.dag_id, run_id=newest.run_id)


def _state_of(newest: NewestRun, due: str, *, is_overdue: bool) -> tuple[State, str]:
    if newest.state == "failed":
        return "failed", f"The run that was due {due} has failed{_where(newest)}."
    if any(trouble.state == "up_for_retry" for trouble in newest.troubles):
        return "retrying", f"The run that was due {due} is trying again{_where(newest)}."
    if newest.state in _UNDER_WAY:
        return ("late" if is_overdue else "running"), f"The run that was due {due} is {newest.state}."
    return "late", f"The run that was due {due} has ended without a run of this sync."


def _where(newest: NewestRun) -> str:
    own = [trouble for trouble in newest.troubles if trouble.state != "upstream_failed"]
    if not own:
        return ""
    return f", task {own[0].task_id}, try {own[0].try_number} of {own[0].max_tries}"


def _without_dag(runs: Sequence[RunRecord]) -> Verdict:
    if not runs:
        return Verdict(state="never ran", why="No run of it is recorded, and no DAG has it.")
    return Verdict(state="unscheduled", why="No DAG of this Airflow has it.")


def _grace(runs: Sequence[RunRecord]) -> timedelta:
    longest = max((run.seconds or 0.0 for run in runs), default=0.0)
    return max(SHORTEST_GRACE, timedelta(seconds=2 * longest))


def _is_done_since(runs: Sequence[RunRecord], due_at: datetime) -> bool:
    return any(run.status == "done" and run.started_at >= due_at for run in runs)


def _ago(passed: timedelta) -> str:
    return f"{span(passed)} ago"


def span(length: timedelta) -> str:
    """A length of time in the largest units that matter: ``45 s``, ``12 min``, ``3 h 20 min``, ``5 d 2 h``."""
    seconds = max(int(length.total_seconds()), 0)
    if seconds < 60:
        return f"{seconds} s"
    if seconds < 3600:
        return f"{seconds // 60} min"
    if seconds < 86400:
        return _two(seconds // 3600, "h", seconds % 3600 // 60, "min")
    return _two(seconds // 86400, "d", seconds % 86400 // 3600, "h")


def _two(first: int, unit: str, second: int, smaller: str) -> str:
    return f"{first} {unit} {second} {smaller}" if second else f"{first} {unit}"
