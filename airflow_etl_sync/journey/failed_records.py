"""Failed records: looked at, and replayed into their tables once what was wrong has been mended."""

from __future__ import annotations

import logging
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import groupby
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Engine

from airflow_etl_sync.core.columns import noted
from airflow_etl_sync.core.model import Chunk, Counts, RunIdentity, Window
from airflow_etl_sync.errors import ConfigurationError, DataError, DestinationError, explaining
from airflow_etl_sync.journey.landed_before import RECORDS, keep_out
from airflow_etl_sync.journey.merging import merge_once
from airflow_etl_sync.journey.preparing import Stager
from airflow_etl_sync.state import failed_records, ledger, runs, tables
from airflow_etl_sync.state.failed_records import StoredRecord
from airflow_etl_sync.state.runs import Run
from airflow_etl_sync.systems.base import Destination, MergeKeys, SeekableDestination, is_elsewhere

if TYPE_CHECKING:
    import pyarrow as pa

log = logging.getLogger(__name__)

_RECORDS_AT_ONCE = 1_000
_NO_LIMIT = sys.maxsize


def find(state: Engine, sync_key: str | None = None, at_most: int | None = None) -> list[StoredRecord]:
    """The failed records that are open, of one sync or of all, oldest first."""
    tables.ensure(state)
    with explaining(DestinationError, "read the failed records"), state.begin() as connection:
        return failed_records.find_open(connection, sync_key, at_most)


def summarise(state: Engine, sync_key: str) -> list[dict[str, Any]]:
    """How many records of a sync are open, by table and SQLSTATE."""
    kinds = Counter((record.target, record.record.sqlstate) for record in find(state, sync_key))
    return [{"table": table, "sqlstate": sqlstate, "records": count} for (table, sqlstate), count in kinds.items()]


def replay_all(
    destination_of: Callable[[str], Destination],
    state: Engine,
    sync_key: str,
    identity: RunIdentity,
    at_most: int | None = None,
) -> Counts:
    """Replay the open records of a sync, whichever tables they are for.

    :param destination_of: gives the destination of a target
    :param at_most: so many records, the oldest; by default all
    :raises ConfigurationError: where that is another target, or its table is not there; then none is replayed
    """
    by_target = sorted(find(state, sync_key, at_most), key=lambda record: record.target)
    groups = [list(records) for _, records in groupby(by_target, key=lambda record: record.target)]
    destinations = [_destination(destination_of, records[0].target) for records in groups]
    replayed = [replay(*each, identity) for each in zip(destinations, groups, strict=True)]
    return sum(replayed, Counts())


def _destination(destination_of: Callable[[str], Destination], target: str) -> Destination:
    destination = destination_of(target)
    if destination.target != target:
        where = "in another place" if is_elsewhere(target) else "beside the state"
        raise ConfigurationError(
            f"Failed records are for {target!r}, which is {where} than this replay loads into: use a "
            "FailedRecordsOperator with the destination_conn_id and state_conn_id of the sync."
        )
    if isinstance(destination, SeekableDestination) and not destination.is_there():
        raise ConfigurationError(
            f"There is no table {target!r} seen from here, so nothing is replayed: make it anew, or replay where it "
            "can be reached, by a FailedRecordsOperator."
        )
    return destination


def replay(destination: Destination, records: Sequence[StoredRecord], identity: RunIdentity) -> Counts:
    """Load the payloads of failed records, by the rules they were to be loaded by.

    A record that has been loaded is closed; one that fails again stays open, and its failures are counted. A
    record that a newer row of its key has closed meanwhile is passed over. Each replay is a run of its own in
    the state tables; it moves no watermark.

    :param destination: the table that the records were meant for
    :param records: open records of one sync and that table
    :returns: what became of them; those passed over are not counted
    :raises ConfigurationError: after the others are loaded, where the transform of the sync failed on some
    :raises DataError: after the others are loaded, where some hold NUL
    """
    untransformed = sum(each.record.is_untransformed for each in records)
    records = [each for each in records if not each.record.is_untransformed]
    storable = [each for each in records if not each.record.is_unstorable]
    counts = _replay_loadable(destination, storable, identity) if storable else Counts()
    if untransformed:
        raise ConfigurationError(
            f"{untransformed} failed records for {destination.target!r} have not been through the transform of their "
            "sync, which a replay does not know: mend it, then let the sync read their rows again, by a backfill "
            "(range_start, range_end) or by rewinding its watermark; that closes them. The others are replayed."
        )
    if len(storable) < len(records):
        raise DataError(
            f"{len(records) - len(storable)} failed records for {destination.target!r} hold the character NUL, which "
            "PostgreSQL stores in no text: remove it at the source; the change that does so closes them. The others "
            "are replayed."
        )
    return counts


def _replay_loadable(destination: Destination, records: Sequence[StoredRecord], identity: RunIdentity) -> Counts:
    tables.ensure(destination.engine)
    sync_key = records[0].sync_key
    with explaining(DestinationError, "begin the replay"), destination.engine.begin() as connection:
        finished = _keep_out(connection, destination, sync_key)
        still_open = failed_records.lock_open(connection, [record.id for record in records])
        if finished != Counts() and not still_open:
            return finished
        run = _start(connection, sync_key, identity)
    counts = Counts()
    for number, alike in enumerate(_alike(records)):
        counts += _replay_alike(destination, run, number, alike)
    with explaining(DestinationError, "close the replay"), destination.engine.begin() as connection:
        runs.mark_extracted(connection, run, counts.processed)
        runs.mark_done(connection, run.extraction_id, counts)
    log.info("Replayed %s into %s: %s", sync_key, destination.target, counts)
    return finished + counts


def _keep_out(connection: Connection, destination: Destination, sync_key: str) -> Counts:
    """Beside the state tables nothing lands that is not noted."""
    return keep_out(connection, destination, sync_key) if is_elsewhere(destination.target) else Counts()


def _start(connection: Connection, sync_key: str, identity: RunIdentity) -> Run:
    return runs.start(
        connection,
        identity,
        sync_key=sync_key,
        kind="replay",
        window=Window(protection="replay"),
    )


def _alike(records: Sequence[StoredRecord]) -> Iterator[list[StoredRecord]]:
    """The records in groups that have the same columns and rules, so that each can be one chunk."""

    def kind(record: StoredRecord) -> str:
        return repr((list(record.record.payload), record.record.types, record.load_rules))

    for _, group in groupby(sorted(records, key=kind), key=kind):
        alike = list(group)
        for first in range(0, len(alike), _RECORDS_AT_ONCE):
            yield alike[first : first + _RECORDS_AT_ONCE]


def _replay_alike(destination: Destination, run: Run, number: int, records: list[StoredRecord]) -> Counts:
    run_id = run.extraction_id
    with explaining(DestinationError, "replay failed records"), destination.engine.begin() as connection:
        _keep_out(connection, destination, run.sync_key)
        still_open = failed_records.lock_open(connection, [record.id for record in records])
        records = [record for record in records if still_open.get(record.id) == record.failures]
        if not records:
            return Counts()
        batch = _batch(records)
        rules = replace(records[0].load_rules, max_errors=_NO_LIMIT, max_error_percent=None)
        keys = MergeKeys(rules.primary_key, rules.conflict_field or "")
        prepared = Stager(destination, run_id, 1, keys, rules).stage(number, batch.schema, [batch])
        chunk = Chunk(number, len(records), 0)
        ledger.record_extracted(connection, run_id, chunk, {})
        kept = {RECORDS: {str(record.id): record.failures for record in records}}
        counts = merge_once(destination, connection, run_id, chunk, prepared, keys, rules, kept)
        failed_again = failed_records.failed_in(connection, run_id)
        failed_records.close(connection, [each.id for each in records if each.id not in failed_again], "replay")
    return counts or Counts()


def _batch(records: list[StoredRecord]) -> pa.RecordBatch:
    """The payloads as text, which the merge casts to the types of the table."""
    import pyarrow as pa

    types = records[0].record.types
    fields = [noted(name, pa.string(), types[name]) for name in records[0].record.payload]
    columns = [pa.array([each.record.payload[field.name] for each in records], pa.string()) for field in fields]
    return pa.RecordBatch.from_arrays(columns, schema=pa.schema(fields))
