"""When the DAGs of syncs are due, and what became of their newest runs: read from Airflow's own database."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

_TROUBLED = ("failed", "up_for_retry", "upstream_failed")


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskTrouble:
    """A task of a run that has failed, or is to be tried again."""

    task_id: str
    state: str
    try_number: int
    max_tries: int


@dataclass(frozen=True, slots=True, kw_only=True)
class NewestRun:
    """The newest run of a DAG, backfills left out.

    :param due_at: when it was to begin
    """

    run_id: str
    state: str
    due_at: datetime
    troubles: tuple[TaskTrouble, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class DagSchedule:
    """When a DAG is due.

    :param summary: its schedule as Airflow writes it; None where it has none
    :param next_due_at: when Airflow is to make the next run; None where nothing is planned
    """

    dag_id: str
    summary: str | None
    is_paused: bool
    next_due_at: datetime | None = None
    newest: NewestRun | None = None


def read_schedules(session: Session, dag_ids: Collection[str]) -> dict[str, DagSchedule]:
    """The schedules of those DAGs that there are, by their id."""
    from airflow.models.dag import DagModel
    from sqlalchemy import select

    newest = _newest_runs(session, dag_ids)
    query = select(
        DagModel.dag_id, DagModel.timetable_summary, DagModel.is_paused, DagModel.next_dagrun_create_after
    ).where(DagModel.dag_id.in_(dag_ids), ~DagModel.is_stale)
    return {
        row.dag_id: DagSchedule(
            dag_id=row.dag_id,
            summary=None if row.timetable_summary in (None, "", "None") else row.timetable_summary,
            is_paused=row.is_paused,
            next_due_at=row.next_dagrun_create_after,
            newest=newest.get(row.dag_id),
        )
        for row in session.execute(query)
    }


def _newest_runs(session: Session, dag_ids: Collection[str]) -> dict[str, NewestRun]:
    from airflow.models.dagrun import DagRun
    from sqlalchemy import func, select

    last = (
        select(DagRun.dag_id, func.max(DagRun.run_after).label("at"))
        .where(DagRun.dag_id.in_(dag_ids), DagRun.run_type != "backfill")
        .group_by(DagRun.dag_id)
        .subquery()
    )
    query = select(DagRun.dag_id, DagRun.run_id, DagRun.state, DagRun.run_after).join(
        last, (DagRun.dag_id == last.c.dag_id) & (DagRun.run_after == last.c.at)
    )
    rows = {row.dag_id: row for row in session.execute(query)}
    troubles = _troubles(session, [row for row in rows.values() if row.state != "success"])
    return {
        dag_id: NewestRun(
            run_id=row.run_id,
            state=str(row.state),
            due_at=row.run_after,
            troubles=tuple(troubles.get((dag_id, row.run_id), ())),
        )
        for dag_id, row in rows.items()
    }


def _troubles(session: Session, runs: Collection[Any]) -> dict[tuple[str, str], list[TaskTrouble]]:
    from airflow.models.taskinstance import TaskInstance
    from sqlalchemy import select

    query = select(TaskInstance).where(
        TaskInstance.dag_id.in_([run.dag_id for run in runs]),
        TaskInstance.run_id.in_([run.run_id for run in runs]),
        TaskInstance.state.in_(_TROUBLED),
    )
    found: dict[tuple[str, str], list[TaskTrouble]] = {}
    for task in session.scalars(query):
        trouble = TaskTrouble(
            task_id=task.task_id,
            state=str(task.state),
            try_number=task.try_number,
            max_tries=task.max_tries + 1,
        )
        found.setdefault((task.dag_id, task.run_id), []).append(trouble)
    return found
