"""How a run begins: with a fresh window, or where a killed try of the same task stopped."""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass, replace

from sqlalchemy import Connection, Engine

from airflow_etl_sync.core.contract import changes_between
from airflow_etl_sync.core.model import RunIdentity, Stream, WindowRules
from airflow_etl_sync.errors import DestinationError, explaining
from airflow_etl_sync.state import ledger, runs, schema_changes, tables, watermarks
from airflow_etl_sync.state.ledger import Checkpoint
from airflow_etl_sync.state.runs import Run
from airflow_etl_sync.systems.base import OpenedWindow, ReachingSource, RememberingSource, Shape, Source

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Opening:
    """:param given_up: older runs of the sync whose chunks nobody will load any more"""

    run: Run
    checkpoint: Checkpoint
    shape: Shape
    given_up: list[Run]

    @property
    def is_ordered(self) -> bool:
        """Whether a key may stand in two chunks, so that they must be loaded one after another."""
        return bool(self.checkpoint.chunks) or not self.shape.is_key_unique

    @property
    def is_whole(self) -> bool:
        """Whether all there is at the source is read, in one go and each key once."""
        return self.run.window.is_unbounded and not self.is_ordered


def open_run(
    source: Source,
    state: Engine,
    *,
    stream: Stream,
    rules: WindowRules,
    identity: RunIdentity,
    target: str,
    staging_uri: str,
    host: str,
    resumable_at: str = "",
) -> Opening:
    """Begin a run, or resume the one that this task's last try left unfinished.

    A resumed run keeps its window: what its second snapshot shows more of lies at or above the window's high,
    and is read by the next run.
    """
    shape = source.describe()
    tables.ensure(state)
    asked = fingerprint(stream, rules, shape, target, staging_uri, resumable_at)
    with explaining(DestinationError, "read the state tables"), state.begin() as connection:
        newest = runs.hold_newest(connection, identity, stream.sync_key)
        watermark = watermarks.read(connection, stream.sync_key)
        if newest is not None and newest.may_be_resumed(asked, watermark.version):
            run = runs.resume(connection, newest)
            if isinstance(source, RememberingSource):
                source.reopen(watermark, OpenedWindow(run.window, run.fences), run.kind)
            checkpoint = ledger.read_checkpoint(connection, run.extraction_id)
            log.info("Resuming the run of %s after %d chunks", stream.sync_key, len(checkpoint.chunks))
            return Opening(run, checkpoint, shape, [])
    opened = source.open_window(watermark, rules)
    with explaining(DestinationError, "write the state tables"), state.begin() as connection:
        given_up = runs.give_up_old(connection, stream.sync_key)
        run = runs.start(
            connection,
            identity,
            sync_key=stream.sync_key,
            kind=rules.kind,
            fingerprint=asked,
            watermark_version=watermark.version,
            window=opened.window,
            fences=opened.fences,
            staging_uri=staging_uri,
            host=host,
            columns=dict(shape.columns),
        )
        if rules.kind != "backfill" and shape.columns:
            changes = changes_between(runs.last_columns(connection, stream.sync_key), dict(shape.columns))
            schema_changes.record(connection, run.extraction_id, changes)
    low, high = opened.window.low, opened.window.high
    log.info(
        "Window of %s: from %s, next from %s; late commits: %s",
        stream.sync_key,
        low.text if low else "the beginning",
        high.text if high else "the same",
        opened.window.protection,
    )
    return Opening(run, Checkpoint(), shape, given_up)


def reach(connection: Connection, source: Source, run: Run, rules: WindowRules) -> Run:
    """The run, whose window is read to its end, with the high that some sources know only then."""
    if not isinstance(source, ReachingSource):
        return run
    high = source.reached(run.window, rules)
    runs.record_high(connection, run, high)
    return replace(run, window=replace(run.window, high=high))


def fingerprint(*asked: object) -> str:
    """What a run was asked for, as a text that is the same in each of its tries."""
    return hashlib.sha256(repr(asked).encode()).hexdigest()
