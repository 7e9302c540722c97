"""Records that a function gives → the destination table, and the watermark behind them: in one task."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from typing import TYPE_CHECKING, Any

from airflow_etl_sync.core.chunking import ChunkReader, cut
from airflow_etl_sync.core.model import Chunk, CursorValue, LoadRules, RunIdentity, Window
from airflow_etl_sync.core.records import RecordRules
from airflow_etl_sync.errors import ConfigurationError, DataError, DestinationError, EtlSyncError, explaining
from airflow_etl_sync.journey.advance import Advanced, close
from airflow_etl_sync.journey.load import merge_checkpoint, recover
from airflow_etl_sync.journey.opening import fingerprint
from airflow_etl_sync.journey.preparing import Stager
from airflow_etl_sync.journey.sync import SyncReport, report_of
from airflow_etl_sync.state import cursor_values, ledger, runs, tables, watermarks
from airflow_etl_sync.state.ledger import Checkpoint
from airflow_etl_sync.state.runs import Run
from airflow_etl_sync.state.watermarks import Watermark
from airflow_etl_sync.systems.base import MergeKeys, TypedDestination
from airflow_etl_sync.systems.records.highest import Highest, lagging, not_ahead_of
from airflow_etl_sync.systems.records.pieces import pieces
from airflow_etl_sync.systems.records.shaping import Shaper

if TYPE_CHECKING:
    import pyarrow as pa

log = logging.getLogger(__name__)

_PIECE_ROWS = 5_000
"""So many records are held as Python objects at most."""

Give = Callable[[Any], object]
"""Takes the watermark, None before there is one, and gives records; see :func:`~…systems.records.pieces.pieces`."""


class FunctionError(Exception):
    """The function failed, not the load; what it raised is the cause."""


def load_records(
    give: Give,
    destination: TypedDestination,
    *,
    rules: RecordRules,
    load_rules: LoadRules,
    identity: RunIdentity,
    chunk_rows: int,
    try_number: int = 1,
) -> SyncReport:
    """Upsert the records of a function, chunk by chunk, then move the watermark to their highest cursor.

    The function is asked for what has changed from the watermark on, that one included. A try that follows a failed
    one asks it anew from the same watermark: what the first had loaded is the same then, and counted as skipped.

    :param chunk_rows: at most so many rows are merged in one transaction
    :raises FunctionError: where the function fails
    :raises EtlSyncError: see :mod:`airflow_etl_sync.errors`; chunks that were committed stay
    """
    began = time.monotonic()
    opened = _open(destination, rules, load_rules, identity)
    keys = MergeKeys(load_rules.primary_key, "")  # of two records of one key the one that came last is taken
    done = recover(destination, opened.run, Checkpoint(opened.done), keys, load_rules).chunks
    opened = replace(opened, done=done)
    loading = _Loading(destination, rules, load_rules, keys, opened, try_number)
    rows = sum(chunk.rows for chunk in opened.done) + loading.load(give, chunk_rows)
    with explaining(DestinationError, "close the run"), destination.engine.begin() as connection:
        runs.record_high(connection, opened.run, loading.next_watermark(connection))
        runs.mark_extracted(connection, opened.run, rows)
        advanced: Advanced = close(connection, opened.run.extraction_id)
    seconds = time.monotonic() - began
    log.info("Loaded %s into %s: %s, %.1f s", rules.sync_key, destination.target, advanced.counts, seconds)
    return report_of(opened.run, advanced, seconds)


@dataclass(frozen=True, slots=True)
class _Opened:
    """A run that has begun.

    :param low: the watermark as Python writes it
    :param clock: the destination's, when the run began
    :param done: what an earlier try has loaded
    """

    run: Run
    watermark: Watermark
    low: Any
    clock: datetime
    done: tuple[Chunk, ...]


def _open(destination: TypedDestination, rules: RecordRules, load_rules: LoadRules, identity: RunIdentity) -> _Opened:
    tables.ensure(destination.engine)
    asked = fingerprint(rules, load_rules, destination.target)
    with explaining(DestinationError, "write the state tables"), destination.engine.begin() as connection:
        cursor_values.pin_settings(connection)
        clock = cursor_values.clock(connection)
        newest = runs.hold_newest(connection, identity, rules.sync_key)
        watermark = watermarks.read(connection, rules.sync_key)
        low = None if watermark.cursor is None else cursor_values.as_python(connection, watermark.cursor)
        if newest is not None and newest.may_be_resumed(asked, watermark.version):
            run = runs.resume(connection, newest)
            done = ledger.read_checkpoint(connection, run.extraction_id).chunks
            log.info("Asking for the records of %s again: %d chunks are loaded", rules.sync_key, len(done))
            return _Opened(run, watermark, low, clock, done)
        runs.give_up_old(connection, rules.sync_key)
        run = runs.start(
            connection,
            identity,
            sync_key=rules.sync_key,
            kind="full_refresh" if rules.full_refresh else "incremental",
            window=Window(low=None if rules.full_refresh else watermark.cursor, high=watermark.cursor),
            fingerprint=asked,
            watermark_version=watermark.version,
        )
    cursor = run.window.low
    log.info("Asking for the records of %s from %s on", rules.sync_key, cursor.text if cursor else "the beginning")
    return _Opened(run, watermark, low, clock, ())


@dataclass(slots=True)
class _Loading:
    destination: TypedDestination
    rules: RecordRules
    load_rules: LoadRules
    keys: MergeKeys
    opened: _Opened
    try_number: int
    highest: Highest | None = field(init=False)
    types: Mapping[str, str] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        self.highest = Highest(self.rules.cursor_field) if self.rules.cursor_field else None

    def load(self, give: Give, chunk_rows: int) -> int:
        """Load everything that the function gives; its number of rows."""
        self.types = self.destination.types()
        rows = 0
        batches = self._batches(give, min(_PIECE_ROWS, chunk_rows))
        for number, reader in enumerate(cut(batches, chunk_rows), start=len(self.opened.done)):
            rows += self._load_chunk(number, reader)
            self.types = self.destination.types()
        return rows

    def _batches(self, give: Give, most_rows: int) -> Iterator[pa.RecordBatch]:
        low = None if self.rules.full_refresh else self.opened.low
        shaper = Shaper(self.rules.columns, self.rules.column_types, lambda: self.types)
        for piece in _guarded(give, low, most_rows):
            if self.highest is not None:
                self.highest.look(piece)
            batch = shaper.batch(piece)
            if len(piece):
                self._refuse_keyless(batch.schema.names)
                yield batch

    def _refuse_keyless(self, names: list[str]) -> None:
        missing = [name for name in self.load_rules.primary_key if name not in names]
        if missing:
            raise DataError(f"No record has anything in {missing[0]!r}, which primary_key names.")

    def _load_chunk(self, number: int, reader: ChunkReader) -> int:
        run = self.opened.run
        stager = Stager(self.destination, run.extraction_id, self.try_number, self.keys, self.load_rules)
        prepared = stager.stage(number, reader.schema, reader)
        chunk = Chunk(number, reader.rows, 0)
        merge_checkpoint(self.destination, run, chunk, prepared, self.keys, self.load_rules, {})
        return chunk.rows

    def next_watermark(self, connection: Any) -> CursorValue | None:
        """Where the next run asks from: never below the watermark that is there.

        :raises ConfigurationError: where the records' cursors are of another type than the watermark
        """
        stored, highest = self.opened.watermark.cursor, self.highest
        if highest is None or highest.type is None:
            return stored
        if stored is not None and stored.type != highest.type and {stored.type, highest.type} != {"integer", "numeric"}:
            raise ConfigurationError(
                f"The watermark of {self.rules.sync_key!r} is of type {stored.type}, and the records' cursor is of "
                f"type {highest.type}: reset the watermark, or give the cursor its former type."
            )
        high = lagging(not_ahead_of(self.opened.clock, highest.value), self.rules.lag)
        if stored is not None and self.opened.low >= high:
            return stored
        cursor_values.pin_settings(connection)
        return cursor_values.read(connection, highest.type, _text(high))


def _guarded(give: Give, low: Any, most_rows: int) -> Iterator[Any]:
    """The pieces, an error of the function told from one of the load."""
    try:
        yield from pieces(give(low), most_rows)
    except EtlSyncError:
        raise
    except Exception as error:
        raise FunctionError from error


def _text(value: Any) -> str:
    return str(value.isoformat()) if isinstance(value, date) else str(value)
