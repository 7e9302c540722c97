"""What people look at: all syncs of a database and their last runs. It reads and never writes, and migrates nothing."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any

from sqlalchemy import ARRAY, Connection, Engine, Row, Select, Text, cast, func, literal, select, text, true, union

from airflow_etl_sync.core.contract import SchemaChange
from airflow_etl_sync.core.model import Counts, CursorValue, Kind
from airflow_etl_sync.errors import DestinationError, StateError, explaining
from airflow_etl_sync.state import failed_records, tables, watermarks
from airflow_etl_sync.state.runs import Status
from airflow_etl_sync.state.tables import cdc_pipeline, failed_record, schema_change, sync_run, watermark
from airflow_etl_sync.state.watermarks import Standing


class NothingRecordedError(StateError):
    """The database has no state tables, since no sync has run into it."""


LOOK_BACK = timedelta(days=30)
"""A sync that has neither a watermark nor a position is known by its runs of this time."""

MOVING: tuple[Kind, ...] = ("incremental", "full_refresh", "cdc")
"""The runs that bring a destination up to date; the others mend or check it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRecord:
    """One run as it is recorded.

    :param low: where its window begins; None where that is the beginning
    :param high: where the next window begins; None while that is not known, or where there is no such place
    """

    extraction_id: str
    sync_key: str
    kind: Kind
    status: Status
    dag_id: str
    task_id: str
    run_id: str
    attempt: int
    is_resumed: bool
    is_overtaken: bool
    protection: str
    cursor_type: str | None
    low: str | None
    high: str | None
    started_at: datetime
    finished_at: datetime | None
    rows_extracted: int
    counts: Counts
    deleted: int

    @property
    def outcomes(self) -> tuple[int, int, int, int]:
        """What became of the rows: skipped, updated, inserted, errors."""
        return self.counts.skipped, self.counts.updated, self.counts.inserted, self.counts.errors

    @property
    def seconds(self) -> float | None:
        """How long it took from the first step to the last; None where it has not ended."""
        if self.finished_at is None:
            return None
        return max((self.finished_at - self.started_at).total_seconds(), 0.0)

    @property
    def rows_per_second(self) -> float | None:
        """Rows that were merged, a second of the whole run."""
        return self.counts.processed / self.seconds if self.seconds else None


@dataclass(frozen=True, slots=True, kw_only=True)
class SyncState:
    """One sync as its database tells of it.

    :param runs: the last ones that bring it up to date, the newest first
    :param slot: the replication slot that it reads, where it captures changes
    :param position: up to which position of that log changes are applied
    """

    sync_key: str
    cursor: CursorValue | None = None
    last_sync: datetime | None = None
    slot: str | None = None
    position: str | None = None
    open_failures: int = 0
    runs: Sequence[RunRecord] = ()


@dataclass(frozen=True, slots=True)
class NoticedChange:
    """A change of the columns, and the run that met it."""

    change: SchemaChange
    extraction_id: str
    noticed_at: datetime


@dataclass(frozen=True, slots=True)
class FailureKind:
    """Open records of one table that failed with one code."""

    target: str
    sqlstate: str | None
    records: int
    last_failed_at: datetime


@contextmanager
def reading(state: Engine, statement_seconds: float = 5.0) -> Iterator[Connection]:
    """A transaction that can only read, on state tables of this package's revision.

    :raises NothingRecordedError: where there are none; they are not created
    :raises StateError: where they are of another revision; they are not migrated
    :raises DestinationError: where the database does not answer
    """
    with explaining(DestinationError, "read the state tables"), state.connect() as connection:
        connection.execute(text("SET TRANSACTION READ ONLY"))
        milliseconds = str(int(statement_seconds * 1000))
        connection.execute(select(func.set_config("statement_timeout", milliseconds, literal(value=True))))
        _refuse_other_revisions(tables.revision_of(connection))
        yield connection


def _refuse_other_revisions(revision: str | None) -> None:
    if revision is None:
        raise NothingRecordedError("This database has no state tables yet: the first run of a sync creates them.")
    if revision != tables.REVISION:
        age = "an older" if revision < tables.REVISION else "a newer"
        what = "the next run of a sync brings them up to date" if age == "an older" else "install that one here too"
        raise StateError(f"The state tables are those of {age} airflow-etl-sync: {what}.")


def identity_of(connection: Connection) -> str:
    """A text that is the same for every connection to this database, and another for every other database."""
    started = cast(func.pg_postmaster_start_time(), Text)
    return str(connection.scalar(select(func.concat(func.current_database(), " ", started))))


def all_syncs(connection: Connection, at_most_runs: int) -> list[SyncState]:
    """All syncs of the database, by name, each with its last runs.

    The first copy of a captured table is among them while it is under way, or has rows that failed.
    """
    named = union(select(watermark.c.sync_key), select(cdc_pipeline.c.sync_key), _keys_of_runs())
    found = syncs(connection, sorted(filter(None, connection.scalars(named))), at_most_runs)
    copies = tuple(f"{state.sync_key} copies " for state in found if state.slot is not None)
    return [state for state in found if _goes_on(state) and not (state.sync_key.startswith(copies) and _is_over(state))]


def syncs(connection: Connection, keys: Collection[str], at_most_runs: int) -> list[SyncState]:
    """Some syncs, those included of which nothing is recorded."""
    runs = last_runs(connection, keys, at_most_runs, MOVING)
    marks = {mark.sync_key: mark for mark in watermarks.standings(connection, keys)}
    pipelines = {
        row.sync_key: row for row in connection.execute(select(cdc_pipeline).where(_among(cdc_pipeline, keys)))
    }
    failures = _open_failures(connection, keys)
    return [
        SyncState(
            sync_key=key,
            **_standing(marks.get(key), pipelines.get(key)),
            open_failures=failures.get(key, 0),
            runs=runs.get(key, ()),
        )
        for key in keys
    ]


def last_runs(
    connection: Connection, keys: Collection[str], at_most: int, kinds: Collection[Kind] | None = None
) -> dict[str, list[RunRecord]]:
    """The last runs of each sync, the newest first."""
    wanted = select(func.unnest(cast(list(keys), ARRAY(Text))).label("sync_key")).subquery()
    newest = select(sync_run).where(sync_run.c.sync_key == wanted.c.sync_key)
    if kinds is not None:
        newest = newest.where(sync_run.c.kind.in_(kinds))
    last = newest.order_by(sync_run.c.started_at.desc()).limit(at_most).lateral("last")
    found: dict[str, list[RunRecord]] = {}
    each = select(last).select_from(wanted.join(last, true()))
    for row in connection.execute(each.order_by(last.c.started_at.desc())):
        found.setdefault(row.sync_key, []).append(_run(row))
    return found


def schema_changes(connection: Connection, sync_key: str, at_most: int) -> list[NoticedChange]:
    """What changed in the columns of a sync, the newest first."""
    rows = connection.execute(
        select(schema_change)
        .join(sync_run, sync_run.c.extraction_id == schema_change.c.extraction_id)
        .where(sync_run.c.sync_key == sync_key)
        .order_by(schema_change.c.id.desc())
        .limit(at_most)
    )
    return [
        NoticedChange(
            SchemaChange(
                place=row.place,
                column=row.column,
                change=row.change,
                old_type=row.old_type,
                new_type=row.new_type,
            ),
            row.extraction_id,
            row.noticed_at,
        )
        for row in rows
    ]


def failure_kinds(connection: Connection, sync_key: str) -> list[FailureKind]:
    """How many records of a sync are open, by table and SQLSTATE, the most first."""
    kind = (failed_record.c.target, failed_record.c.sqlstate)
    of_sync = failed_records.open_of(sync_key)
    last = func.max(failed_record.c.failed_at)
    query = select(*kind, func.count().label("records"), last.label("last")).where(of_sync).group_by(*kind)
    rows = connection.execute(query.order_by(func.count().desc()))
    return [FailureKind(row.target, row.sqlstate, row.records, row.last) for row in rows]


def _open_failures(connection: Connection, keys: Collection[str]) -> dict[str, int]:
    counted = select(failed_record.c.sync_key, func.count().label("records")).where(
        failed_record.c.closed_at.is_(None), _among(failed_record, keys)
    )
    rows = connection.execute(counted.group_by(failed_record.c.sync_key))
    return {row.sync_key: row.records for row in rows}


def _keys_of_runs() -> Select[tuple[str]]:
    """Every sync_key that has run: each is found behind the one before in the index, past all of its runs."""
    keys = select(func.min(sync_run.c.sync_key).label("sync_key")).cte("run_key", recursive=True)
    behind = select(func.min(sync_run.c.sync_key)).where(sync_run.c.sync_key > keys.c.sync_key).scalar_subquery()
    keys = keys.union_all(select(behind).where(keys.c.sync_key.is_not(None)))
    return select(keys.c.sync_key)


def _goes_on(state: SyncState) -> bool:
    """Whether anything is there to look at: a place where it stands, rows that failed, or a run of late."""
    if state.last_sync is not None or state.open_failures:
        return True
    return bool(state.runs) and state.runs[0].started_at > datetime.now(timezone.utc) - LOOK_BACK


def _is_over(state: SyncState) -> bool:
    return not state.open_failures and bool(state.runs) and state.runs[0].status == "done"


def _among(table: Any, keys: Collection[str]) -> Any:
    return table.c.sync_key == func.any(cast(list(keys), ARRAY(Text)))


def _standing(mark: Standing | None, pipeline: Row[Any] | None) -> dict[str, Any]:
    if pipeline is not None:
        return {"slot": pipeline.slot, "position": pipeline.applied_lsn, "last_sync": pipeline.updated_at}
    if mark is None:
        return {}
    return {"cursor": mark.watermark.cursor, "last_sync": mark.last_sync}


def _run(row: Row[Any]) -> RunRecord:
    shared = set(RunRecord.__slots__) - {"counts"}
    counts = Counts(row.inserted, row.updated, row.skipped, row.errors)
    return RunRecord(**{name: getattr(row, name) for name in shared}, counts=counts)
