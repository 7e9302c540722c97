"""What is known of every sync: what DAGs declare, what state databases tell, and how both stand to the schedule."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from typing import Protocol

from airflow_etl_sync.plugin.declared import DeclaredTask, conn_ids_of, declared_tasks
from airflow_etl_sync.plugin.freshness import Verdict, judge
from airflow_etl_sync.plugin.places import Capture, CapturedLog, Place, read_captures, read_places
from airflow_etl_sync.plugin.schedules import DagSchedule, read_schedules
from airflow_etl_sync.state.overview import RunRecord, SyncState

RUNS_IN_LIST = 20


class Onlooker(Protocol):
    """Whoever looks at the syncs."""

    def may_see(self, dag_ids: Collection[str], conn_id: str) -> bool:
        """Whether a sync of these DAGs is shown."""

    def told(self, conn_id: str, trouble: str) -> str:
        """What is said of a database that cannot be read."""


class Everybody:
    """Who sees all, such as somebody at a shell where Airflow runs: they can read its connections anyhow."""

    def may_see(self, dag_ids: Collection[str], conn_id: str) -> bool:  # noqa: ARG002
        return True

    def told(self, conn_id: str, trouble: str) -> str:  # noqa: ARG002
        return trouble


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A sync.

    :param dag_ids: those of its DAGs that there are
    :param schedules: of the DAGs that bring it up to date
    :param source_conn_id: where it captures changes, as far as a DAG says so
    """

    conn_id: str
    state: SyncState
    verdict: Verdict
    dag_ids: tuple[str, ...]
    schedules: tuple[DagSchedule, ...]
    source_conn_id: str | None = None
    capture: Capture | None = None

    @property
    def done(self) -> RunRecord | None:
        """The newest run that has ended well."""
        return next((run for run in self.state.runs if run.status == "done"), None)

    @property
    def log(self) -> CapturedLog | None:
        """The log to ask for, where its source is known."""
        if self.source_conn_id is None or self.state.slot is None:
            return None
        return CapturedLog(self.source_conn_id, self.state.slot, self.state.position or "0/0")


@dataclass(frozen=True, slots=True)
class UnreadPlace:
    """A database that keeps state and cannot be read, and the syncs that DAGs load into it."""

    conn_id: str
    trouble: str
    sync_keys: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Board:
    """All that an onlooker may see, what needs a person first."""

    entries: Sequence[Entry]
    unread: Sequence[UnreadPlace]

    @property
    def tally(self) -> dict[str, int]:
        """How many syncs are in each state, the worst first."""
        return dict(Counter(entry.verdict.state for entry in self.entries))


def read_board(onlooker: Onlooker, conn_ids: Sequence[str] = ()) -> Board:
    """All syncs that the onlooker may see.

    :param conn_ids: the databases that are read; by default those that DAGs name
    """
    tasks = _declared()
    places = read_places(conn_ids or conn_ids_of(tasks), RUNS_IN_LIST)
    entries = _entries(places, tasks)
    seen = [entry for entry in entries if onlooker.may_see(entry.dag_ids, entry.conn_id)]
    captures = read_captures({entry.log for entry in seen if entry.log})
    told = [_with_capture(entry, captures[entry.log]) if entry.log else entry for entry in seen]
    return Board(
        sorted(told, key=lambda entry: (entry.verdict.rank, entry.state.sync_key, entry.conn_id)),
        [_unread(place, tasks, onlooker) for place in places if place.trouble and _may_see(place, tasks, onlooker)],
    )


def find_entry(onlooker: Onlooker, conn_id: str, sync_key: str) -> Entry | None:
    """One sync; None where there is none of that name, or the onlooker may not see it.

    Only databases that the page knows anyhow are asked: the names come from an address that anybody can write.
    """
    tasks = _declared()
    if conn_id not in conn_ids_of(tasks):
        return None
    places = read_places([conn_id], RUNS_IN_LIST)
    found = [entry for entry in _entries(places, tasks) if entry.state.sync_key == sync_key]
    if places[0].trouble:
        found = _entries([Place(conn_id, conn_id)], [task for task in tasks if task.sync_key == sync_key])
    if not found or not onlooker.may_see(found[0].dag_ids, conn_id):
        return None
    entry = found[0]
    return _with_capture(entry, read_captures([entry.log])[entry.log]) if entry.log else entry


def _declared() -> list[DeclaredTask]:
    from airflow.utils.session import create_session

    with create_session() as session:
        return declared_tasks(session)


def _schedules(dag_ids: Collection[str]) -> dict[str, DagSchedule]:
    from airflow.utils.session import create_session

    with create_session() as session:
        return read_schedules(session, dag_ids)


def _entries(places: Sequence[Place], tasks: Sequence[DeclaredTask]) -> list[Entry]:
    """The syncs of all places that could be read, those included that DAGs have and that never ran."""
    states = _told_once([place for place in places if not place.trouble], tasks)
    ran_by = {run.dag_id for _, state in states for run in state.runs}
    schedules = _schedules(ran_by | {task.dag_id for task in tasks})
    return [_entry(conn_id, state, tasks, schedules) for conn_id, state in states]


def _told_once(places: Sequence[Place], tasks: Sequence[DeclaredTask]) -> list[tuple[str, SyncState]]:
    """The syncs and their connections; of several that lead to one database, the one that a DAG gives the sync."""
    found: dict[tuple[str, str], tuple[str, SyncState]] = {}
    for place in places:
        declared = _declared_keys(place.conn_id, tasks)
        for state in _states(place, declared):
            if state.sync_key in declared or (place.database, state.sync_key) not in found:
                found[place.database, state.sync_key] = place.conn_id, state
    return list(found.values())


def _declared_keys(conn_id: str, tasks: Sequence[DeclaredTask]) -> set[str]:
    return {task.sync_key for task in tasks if task.conn_id == conn_id and task.is_moving and task.sync_key}


def _states(place: Place, declared: Collection[str]) -> list[SyncState]:
    recorded = {state.sync_key for state in place.syncs}
    return [*place.syncs, *(SyncState(sync_key=key) for key in sorted(set(declared) - recorded))]


def _entry(conn_id: str, state: SyncState, tasks: Sequence[DeclaredTask], schedules: dict[str, DagSchedule]) -> Entry:
    own = [task for task in tasks if (task.conn_id, task.sync_key) == (conn_id, state.sync_key) and task.is_moving]
    declaring, running = {task.dag_id for task in own}, {run.dag_id for run in state.runs}
    moving = declaring & schedules.keys() or {run.dag_id for run in state.runs[:1]} & schedules.keys()
    judged = tuple(schedules[dag_id] for dag_id in sorted(moving))
    return Entry(
        conn_id=conn_id,
        state=state,
        verdict=judge(judged, state.runs, datetime.now(timezone.utc)),
        dag_ids=tuple(sorted((declaring | running) & schedules.keys())),
        schedules=judged,
        source_conn_id=next((task.source_conn_id for task in own if task.source_conn_id), None),
    )


def _with_capture(entry: Entry, capture: Capture) -> Entry:
    """A slot that is lost, or about to be, goes before what the schedule says."""
    status = capture.health.wal_status if capture.health else ""
    entry = replace(entry, capture=capture)
    if status == "lost":
        why = "The server has dropped log that was not read: run it once with resync, then reconcile."
        return replace(entry, verdict=replace(entry.verdict, state="failed", why=why))
    if status == "unreserved":
        why = "The server is about to drop log that was not read: run it now."
        return replace(entry, verdict=replace(entry.verdict, state="late", why=why))
    return entry


def _may_see(place: Place, tasks: Sequence[DeclaredTask], onlooker: Onlooker) -> bool:
    return onlooker.may_see({task.dag_id for task in tasks if task.conn_id == place.conn_id}, place.conn_id)


def _unread(place: Place, tasks: Sequence[DeclaredTask], onlooker: Onlooker) -> UnreadPlace:
    keys = {
        task.sync_key
        for task in tasks
        if (task.conn_id, task.is_moving) == (place.conn_id, True)
        and task.sync_key
        and onlooker.may_see({task.dag_id}, place.conn_id)
    }
    return UnreadPlace(place.conn_id, onlooker.told(place.conn_id, place.trouble or ""), tuple(sorted(keys)))
