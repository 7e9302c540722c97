"""The record of every run: its window, its progress, its counts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta, timezone
from typing import Any, Literal
from uuid import uuid4

from sqlalchemy import Connection, Row, exists, func, insert, select, update

from airflow_etl_sync.core.model import Counts, CursorValue, Kind, RunIdentity, Window
from airflow_etl_sync.errors import StateError
from airflow_etl_sync.state.tables import sync_run

Status = Literal["extracting", "extracted", "done", "abandoned"]

_UNFINISHED: tuple[Status, ...] = ("extracting", "extracted")
_MOVING: tuple[Kind, ...] = ("incremental", "full_refresh")
"""The runs that move the watermark; the others overtake nobody."""
_NEVER_STALE: tuple[Kind, ...] = ("reconcile", "cdc")
"""The one asks the source itself, the other goes by positions: no newer run makes their rows older than its own."""

GIVEN_UP_AFTER = timedelta(days=7)


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One extraction and what became of it.

    :param fingerprint: a digest of what was asked for; a changed task does not resume an older one's work
    :param watermark_version: the version of the watermark that its window was made from
    :param fences: what the next watermark waits for, see :mod:`airflow_etl_sync.systems.postgres.source`
    :param attempt: counts the tries of the extracting task; only the last may go on with it
    :param is_resumed: whether more than one snapshot fed it
    :param is_overtaken: whether a newer run of the sync has begun since
    :param started_at: later than that of every run of the sync that began before, whatever the workers' clocks say
    """

    extraction_id: str
    sync_key: str
    kind: Kind
    status: Status
    fingerprint: str
    watermark_version: int
    window: Window
    fences: list[dict[str, Any]]
    staging_uri: str
    host: str
    started_at: datetime
    attempt: int = 1
    is_resumed: bool = False
    is_overtaken: bool = False

    @property
    def moves_watermark(self) -> bool:
        return self.kind in _MOVING

    def may_be_resumed(self, fingerprint: str, watermark_version: int) -> bool:
        """Whether it was left unfinished, the task asks for the same, and nobody has moved the watermark meanwhile."""
        same = (self.fingerprint, self.watermark_version) == (fingerprint, watermark_version)
        return same and self.status == "extracting" and not self.is_overtaken


def start(
    connection: Connection,
    identity: RunIdentity,
    *,
    sync_key: str,
    kind: Kind,
    window: Window,
    fingerprint: str = "",
    watermark_version: int = 0,
    fences: Sequence[dict[str, Any]] = (),
    staging_uri: str = "",
    host: str = "",
    columns: Mapping[str, str] | None = None,
) -> Run:
    """Record a fresh extraction under a new id, and overtake the sync's unfinished ones.

    A run that was overtaken holds older rows than its successor, so it may not load them any more. Its loads
    check that under a lock (:func:`get`), for which this waits: once the new run reads, none is under way. Of
    two runs that begin at once, the second waits for the first to be recorded, so that it is seen. A
    backfill or a replay overtakes nobody, since what changed after another run's snapshot is read again by the run
    after; nor does a reconcile, which writes no rows of its own, nor a capture of changes, which
    :func:`abandon_captures` keeps apart.

    What is left out is what only extractions have: a task's other runs are not resumed, wait for nothing and stage
    no chunks.

    :param columns: the stream's columns and their declared types
    """
    if kind in _MOVING:
        connection.execute(select(func.pg_advisory_xact_lock(func.hashtextextended(sync_key, 0))))
        unfinished = (
            (sync_run.c.sync_key == sync_key)
            & sync_run.c.status.in_(_UNFINISHED)
            & sync_run.c.kind.not_in(_NEVER_STALE)
        )
        connection.execute(update(sync_run).where(unfinished).values(is_overtaken=True))
    run = Run(
        extraction_id=uuid4().hex,
        sync_key=sync_key,
        kind=kind,
        status="extracting",
        fingerprint=fingerprint,
        watermark_version=watermark_version,
        window=window,
        fences=list(fences),
        staging_uri=staging_uri,
        host=host,
        started_at=_next_start(connection, sync_key),
    )
    bounds = [value for value in (window.low, window.high, window.below) if value]
    connection.execute(
        insert(sync_run).values(
            **{name: getattr(run, name) for name in Run.__slots__ if name != "window"},
            **asdict(identity),
            **asdict(Counts()),
            cursor_type=bounds[0].type if bounds else None,
            low=_text(window.low),
            high=_text(window.high),
            below=_text(window.below),
            protection=window.protection,
            rows_extracted=0,
            columns=dict(columns or {}),
        )
    )
    return run


def _next_start(connection: Connection, sync_key: str) -> datetime:
    newest = connection.scalar(select(func.max(sync_run.c.started_at)).where(sync_run.c.sync_key == sync_key))
    now = datetime.now(timezone.utc)
    return now if newest is None else max(now, newest + timedelta(microseconds=1))


def hold_newest(connection: Connection, identity: RunIdentity, sync_key: str) -> Run | None:
    """The last run of a task, once an earlier try, which may be slow to die, has committed what it is committing.

    That try commits nothing more until the transaction ends. What else is read in it must be read after this.
    """
    same_task = [sync_run.c[name] == value for name, value in asdict(identity).items()]
    row = connection.execute(
        select(sync_run)
        .where(sync_run.c.sync_key == sync_key, *same_task)
        .order_by(sync_run.c.started_at.desc())
        .limit(1)
        .with_for_update()
    ).one_or_none()
    return None if row is None else _run(row)


def last_columns(connection: Connection, sync_key: str) -> dict[str, str]:
    """The columns that the sync's last finished run read, and their declared types; empty where none has finished."""
    columns: dict[str, str] | None = connection.scalar(
        select(sync_run.c.columns)
        .where(sync_run.c.sync_key == sync_key, sync_run.c.status == "done", sync_run.c.kind.in_(_MOVING))
        .order_by(sync_run.c.started_at.desc())
        .limit(1)
    )
    return columns or {}


def get(connection: Connection, extraction_id: str) -> Run:
    """One run, shared-locked until the transaction ends: until then no other run can overtake it.

    :raises StateError: where it is not recorded here
    """
    row = connection.execute(
        select(sync_run).where(sync_run.c.extraction_id == extraction_id).with_for_update(read=True)
    ).one_or_none()
    if row is None:
        raise StateError(
            "The extraction is not recorded in this database's state tables: give the extract the state_conn_id "
            "of the database that is loaded."
        )
    return _run(row)


def columns_of(connection: Connection, extraction_id: str) -> dict[str, str]:
    """The columns that a run read, and their declared types; empty where they were not recorded."""
    columns = connection.scalar(select(sync_run.c.columns).where(sync_run.c.extraction_id == extraction_id))
    return dict(columns or {})


def not_done(connection: Connection, sync_key: str) -> list[Run]:
    """The runs of a sync, of a week, that may have landed something elsewhere which is not noted here.

    Of those that move the watermark only the ones after the last that is done: that one has loaded what they read.
    """
    own = sync_run.c.sync_key == sync_key
    is_moving, is_done = sync_run.c.kind.in_(_MOVING), sync_run.c.status == "done"
    last = select(func.max(sync_run.c.started_at)).where(own, is_moving, is_done).scalar_subquery()
    may_have = (
        ~is_done
        & sync_run.c.kind.not_in(_NEVER_STALE)
        & (sync_run.c.started_at > datetime.now(timezone.utc) - GIVEN_UP_AFTER)
        & (~is_moving | last.is_(None) | (sync_run.c.started_at > last))
    )
    query = select(sync_run).where(own, may_have).order_by(sync_run.c.started_at)
    return [_run(row) for row in connection.execute(query)]


def seconds_of(connection: Connection, extraction_id: str) -> float:
    """How long a run has taken, to its end or until now."""
    times = select(sync_run.c.started_at, sync_run.c.finished_at).where(sync_run.c.extraction_id == extraction_id)
    started_at, finished_at = connection.execute(times).one()
    taken: timedelta = (finished_at or datetime.now(timezone.utc)) - started_at
    return max(0.0, taken.total_seconds())


def has_run(connection: Connection, sync_key: str) -> bool:
    """Whether any run of the sync is recorded, finished or not."""
    return bool(connection.scalar(select(exists().where(sync_run.c.sync_key == sync_key))))


def resume(connection: Connection, run: Run) -> Run:
    """Take an extraction over from an earlier try, which may be slow to die, and feed it from a second snapshot.

    It waits for what that try is committing, and from then on that try commits nothing more (:func:`hold`).
    """
    taken = update(sync_run).where(sync_run.c.extraction_id == run.extraction_id)
    taken_over = connection.execute(
        taken.values(attempt=sync_run.c.attempt + 1, is_resumed=True).returning(sync_run.c.attempt)
    )
    return replace(run, attempt=taken_over.scalar_one(), is_resumed=True)


def hold(connection: Connection, run: Run) -> None:
    """Keep others from taking the extraction over until the transaction ends.

    :raises StateError: (retryable) where a later try has done so already; it may see more than this one
    """
    if get(connection, run.extraction_id).attempt != run.attempt:
        raise StateError("A later try of this task has taken its work over: this one stops.", is_retryable=True)


def mark_extracted(connection: Connection, run: Run, rows: int) -> None:
    """Note that everything in the window is staged.

    :raises StateError: (retryable) as :func:`hold`
    """
    hold(connection, run)
    now = datetime.now(timezone.utc)
    _set(connection, run.extraction_id, status="extracted", rows_extracted=rows, extracted_at=now)


def record_high(connection: Connection, run: Run, high: CursorValue | None) -> None:
    """Note where the next window starts, for a run that knows it only once everything is read."""
    _set(connection, run.extraction_id, high=_text(high), **({"cursor_type": high.type} if high else {}))


def mark_done(connection: Connection, extraction_id: str, counts: Counts) -> None:
    """Note that everything is loaded and the watermark moved."""
    _set(connection, extraction_id, status="done", finished_at=datetime.now(timezone.utc), **asdict(counts))


def record_settled(connection: Connection, extraction_id: str, deleted: int, revived: int) -> None:
    """Add what a block of a reconcile came to, in that block's transaction; a row brought back is an update."""
    _set(connection, extraction_id, deleted=sync_run.c.deleted + deleted, updated=sync_run.c.updated + revived)


def mark_reconciled(connection: Connection, extraction_id: str, keys: int) -> None:
    """Note that every block of a reconcile is settled.

    :param keys: how many the source has
    """
    _set(connection, extraction_id, status="done", rows_extracted=keys, finished_at=datetime.now(timezone.utc))


def abandon_reconciles(connection: Connection, identity: RunIdentity) -> None:
    """Mark the unfinished reconciles of a task as abandoned, before it does their work anew."""
    same_task = [sync_run.c[name] == value for name, value in asdict(identity).items()]
    unfinished = (sync_run.c.kind == "reconcile") & sync_run.c.status.in_(_UNFINISHED)
    connection.execute(update(sync_run).where(unfinished, *same_task).values(status="abandoned"))


def abandon_captures(connection: Connection, sync_key: str) -> None:
    """Mark the unfinished captures of a change stream as abandoned.

    To be called while its pipeline is locked: a capture that lives is then between two batches, and is refused the
    next one by :func:`refuse_abandoned`. So what is staged for an abandoned run is never in use.
    """
    captures = (sync_run.c.sync_key == sync_key) & (sync_run.c.kind == "cdc") & sync_run.c.status.in_(_UNFINISHED)
    connection.execute(update(sync_run).where(captures).values(status="abandoned"))


def abandon_overtaken(connection: Connection, sync_key: str) -> None:
    """Mark the overtaken runs of a sync that will not run again as abandoned, so that what they staged is swept."""
    overtaken = (
        (sync_run.c.sync_key == sync_key) & sync_run.c.is_overtaken.is_(True) & sync_run.c.status.in_(_UNFINISHED)
    )
    connection.execute(update(sync_run).where(overtaken).values(status="abandoned"))


def refuse_abandoned(connection: Connection, run: Run) -> None:
    """Keep a capture from going on with a change stream that a newer one has begun with.

    To be called while the stream's pipeline is locked.

    :raises StateError: where it has
    """
    status = connection.scalar(select(sync_run.c.status).where(sync_run.c.extraction_id == run.extraction_id))
    if status not in _UNFINISHED:
        raise StateError(
            f"A newer run of the change stream {run.sync_key!r} has begun and goes on with it, so this one "
            "stops: run one at a time (max_active_runs=1)."
        )


def record_captured(connection: Connection, extraction_id: str, counts: Counts, *, changes: int, deleted: int) -> None:
    """Add what a batch of changes came to, in that batch's transaction."""
    added = {**asdict(counts), "rows_extracted": changes, "deleted": deleted}
    _set(connection, extraction_id, **{name: sync_run.c[name] + number for name, number in added.items()})


def mark_captured(connection: Connection, extraction_id: str) -> None:
    """Note that a capture has reached the position it went for."""
    _set(connection, extraction_id, status="done", finished_at=datetime.now(timezone.utc))


def give_up_old(connection: Connection, sync_key: str) -> list[Run]:
    """Mark the sync's runs that nobody finished in a week as abandoned, and return them for cleaning up."""
    stale = (
        (sync_run.c.sync_key == sync_key)
        & sync_run.c.status.in_(_UNFINISHED)
        & (sync_run.c.started_at < datetime.now(timezone.utc) - GIVEN_UP_AFTER)
    )
    found = [_run(row) for row in connection.execute(select(sync_run).where(stale))]
    for run in found:
        _set(connection, run.extraction_id, status="abandoned")
    return found


def _set(connection: Connection, extraction_id: str, **values: Any) -> None:
    connection.execute(update(sync_run).where(sync_run.c.extraction_id == extraction_id).values(**values))


def _text(value: CursorValue | None) -> str | None:
    return None if value is None else value.text


def _run(row: Row[Any]) -> Run:
    low, high, below = (
        None if text is None else CursorValue(row.cursor_type, text) for text in (row.low, row.high, row.below)
    )
    return Run(
        **{name: getattr(row, name) for name in Run.__slots__ if name != "window"},
        window=Window(low=low, high=high, below=below, protection=row.protection),
    )
