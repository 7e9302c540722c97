"""Which syncs the DAGs of this Airflow have, and which databases keep their state: read off the serialised DAGs.

So nobody has to tell the page anything. What a DAG leaves to its run (``"{{ params.conn_id }}"``) is not known here:
such connections are named in ``[etl_sync] state_conn_ids``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

_READ_AT_ONCE = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class DeclaredTask:
    """A task of this package in a DAG.

    :param conn_id: the connection of the database that keeps its state
    :param sync_key: None where the DAG leaves it to the run
    :param is_moving: whether it brings a destination up to date, which mending and checking do not
    :param source_conn_id: where a capture of changes has its replication slot; None for other tasks
    """

    dag_id: str
    task_id: str
    conn_id: str
    sync_key: str | None
    is_moving: bool
    source_conn_id: str | None = None


_known: dict[tuple[str, str], tuple[DeclaredTask, ...]] = {}
"""What was found, by DAG and digest: a DAG is read again only when it has changed."""


def declared_tasks(session: Session) -> list[DeclaredTask]:
    """The tasks of this package in all DAGs that Airflow has."""
    newest = _newest(session)
    _learn(session, {key: row for key, row in newest.items() if key not in _known})
    for gone in _known.keys() - newest.keys():
        _known.pop(gone, None)
    return [task for key in sorted(newest) for task in _known.get(key, ())]


def tasks_in(dag: Mapping[str, Any]) -> Iterator[DeclaredTask]:
    """The tasks of this package in one serialised DAG; subclasses of its operators are known by their arguments."""
    for entry in dag.get("tasks", ()):
        values = entry.get("__var", entry)
        arguments = {**values.get("partial_kwargs", {}), **values}
        conn_id = _plain(arguments, "state_conn_id") or _plain(arguments, "destination_conn_id")
        if conn_id and "sync_key" in arguments:
            yield _task(str(dag["dag_id"]), conn_id, arguments)


def configured_conn_ids() -> list[str]:
    """The connections that ``[etl_sync] state_conn_ids`` names beside those in DAGs."""
    from airflow.providers.common.compat.sdk import conf

    return [name.strip() for name in conf.get("etl_sync", "state_conn_ids", fallback="").split(",") if name.strip()]


def _task(dag_id: str, conn_id: str, arguments: Mapping[str, Any]) -> DeclaredTask:
    is_capture = "warn_retained_mb" in arguments
    is_window = "cursor_field" in arguments and arguments.get("range_start") is arguments.get("range_end") is None
    return DeclaredTask(
        dag_id=dag_id,
        task_id=str(arguments.get("task_id")),
        conn_id=conn_id,
        sync_key=_plain(arguments, "sync_key"),
        is_moving=is_capture or is_window,
        source_conn_id=_plain(arguments, "source_conn_id") if is_capture else None,
    )


def _plain(arguments: Mapping[str, Any], name: str) -> str | None:
    """A text as it stands in the DAG; None for templates, which mean something in a run only."""
    value = arguments.get(name)
    return value if isinstance(value, str) and value and "{{" not in value and "{%" not in value else None


def _newest(session: Session) -> dict[tuple[str, str], Any]:
    """The ids of the newest serialised form of each DAG, by DAG and digest."""
    from airflow.models.dag import DagModel
    from airflow.models.serialized_dag import SerializedDagModel
    from sqlalchemy import func, select

    last = (
        select(SerializedDagModel.dag_id, func.max(SerializedDagModel.created_at).label("at"))
        .group_by(SerializedDagModel.dag_id)
        .subquery()
    )
    query = (
        select(SerializedDagModel.id, SerializedDagModel.dag_id, SerializedDagModel.dag_hash)
        .join(
            last,
            (SerializedDagModel.dag_id == last.c.dag_id) & (SerializedDagModel.created_at == last.c.at),
        )
        .join(DagModel, DagModel.dag_id == SerializedDagModel.dag_id)
        .where(~DagModel.is_stale)
    )
    return {(row.dag_id, row.dag_hash): row.id for row in session.execute(query)}


def _learn(session: Session, unknown: Mapping[tuple[str, str], Any]) -> None:
    from airflow.models.serialized_dag import SerializedDagModel
    from sqlalchemy import select

    keys = list(unknown)
    for first in range(0, len(keys), _READ_AT_ONCE):
        ids = [unknown[key] for key in keys[first : first + _READ_AT_ONCE]]
        for row in session.scalars(select(SerializedDagModel).where(SerializedDagModel.id.in_(ids))):
            _known[row.dag_id, row.dag_hash] = tuple(tasks_in((row.data or {}).get("dag", {})))
            session.expunge(row)


def conn_ids_of(tasks: Iterable[DeclaredTask]) -> list[str]:
    """The connections of the databases that keep state, in their order, configured ones included."""
    return sorted({task.conn_id for task in tasks} | set(configured_conn_ids()))
