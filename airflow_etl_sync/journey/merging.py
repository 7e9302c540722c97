"""A staged chunk → the table, and its line in the ledger."""

from __future__ import annotations

import logging
from dataclasses import replace
from datetime import datetime, timedelta, timezone

from sqlalchemy import Connection

from airflow_etl_sync.core.model import Chunk, Counts, LoadRules
from airflow_etl_sync.errors import DataError, StateError
from airflow_etl_sync.journey.preparing import Prepared
from airflow_etl_sync.state import failed_records, ledger, runs, turnstile
from airflow_etl_sync.state.runs import Run
from airflow_etl_sync.systems.base import (
    Destination,
    Landed,
    Mark,
    Merged,
    MergeKeys,
    Position,
    Tolerance,
    is_elsewhere,
)
from airflow_etl_sync.systems.recording import record_merged

log = logging.getLogger(__name__)

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


def merge_once(
    destination: Destination,
    connection: Connection,
    extraction_id: str,
    chunk: Chunk,
    prepared: Prepared,
    keys: MergeKeys,
    rules: LoadRules,
    position: Position | None = None,
) -> Counts | None:
    """Merge a staged chunk and note it in the ledger, in the caller's transaction.

    :param position: where reading goes on behind it; None where it is staged on disk
    :returns: its counts, or None where another try has loaded it in the meantime
    """
    run = runs.get(connection, extraction_id)
    _refuse_overtaken(run, rules)
    if is_elsewhere(destination.target):
        turnstile.pass_together(connection, replayed_place(run.sync_key, destination.target))
    if not ledger.claim(connection, extraction_id, chunk.number, destination.target):
        return None
    if rules.tolerates_errors and is_elsewhere(destination.target):  # there a merge cannot be undone by what follows it
        _wait_to_count_errors(connection, run)
    tolerance = prepared.tolerance(_tolerance(connection, run, destination.target, chunk.rows, rules))
    merged = Merged(Counts())
    if prepared.staged is not None:
        staged = replace(prepared.staged, mark=_mark(run, chunk.number, rules, prepared.keep(position)))
        rows = chunk.rows - prepared.left_out
        merged = destination.merge(connection, staged, rows, keys, rules, tolerance)
    merged = prepared.with_left_out(merged)
    _refuse_passed_limit(connection, run, destination.target, merged.counts, rules)
    log.info("Merged chunk %d: %s", chunk.number, merged.counts)
    return _record(destination, connection, run, chunk, merged, keys, rules)


def replayed_place(sync_key: str, target: str) -> str:
    """Where a replay elsewhere keeps the other merges of its sync out, and waits for those under way.

    What these land is settled only when the state's transaction commits: until then a record that a newer row has
    replaced still looks open.
    """
    return f"replay of {sync_key} into {target}"


def recall(destination: Destination, extraction_id: str) -> dict[int, Landed]:
    """What has landed of a run in a destination away from the state tables, what was left out before included."""
    found = destination.recall(extraction_id)
    return {number: Prepared.whole(landed) for number, landed in found.items()}


def record_landed(
    destination: Destination,
    connection: Connection,
    extraction_id: str,
    chunk: Chunk,
    landed: Landed,
    keys: MergeKeys,
    rules: LoadRules,
) -> None:
    """Note in the ledger what an earlier try has merged elsewhere before it died, in the caller's transaction."""
    run = runs.get(connection, extraction_id)
    if ledger.claim(connection, extraction_id, chunk.number, destination.target):
        log.info("Chunk %d has been merged by an earlier try: %s", chunk.number, landed.merged.counts)
        _record(destination, connection, run, chunk, landed.merged, keys, rules)


def _record(
    destination: Destination,
    connection: Connection,
    run: Run,
    chunk: Chunk,
    merged: Merged,
    keys: MergeKeys,
    rules: LoadRules,
) -> Counts:
    counts = merged.counts
    if counts.processed != chunk.rows or counts.errors != len(merged.failed):
        raise AssertionError(f"counts of chunk {chunk.number} do not add up: {counts} of {chunk.rows} rows")
    ledger.record_loaded(connection, run.extraction_id, chunk.number, destination.target, counts)
    terms = replace(
        rules,
        primary_key=rules.primary_key or keys.primary_key,
        conflict_field=rules.conflict_field or keys.cursor_field,
    )
    record_merged(connection, run, destination.target, terms, merged)
    return counts


def _mark(run: Run, number: int, rules: LoadRules, position: Position) -> Mark:
    return Mark(
        sync_key=run.sync_key,
        extraction_id=run.extraction_id,
        number=number,
        turn=(run.started_at - _EPOCH) // timedelta(microseconds=1),
        overtakes=run.moves_watermark,
        yields=not _may_be_overtaken(run, rules),
        position=position,
    )


def _tolerance(connection: Connection, run: Run, target: str, rows: int, rules: LoadRules) -> Tolerance:
    """How many of the next rows may fail, and which rows failed before."""
    watched = tuple(failed_records.open_keys(connection, run.sync_key, target))
    return Tolerance(_allowed_errors(connection, run, target, rows, rules), watched)


def _allowed_errors(connection: Connection, run: Run, target: str, rows: int, rules: LoadRules) -> int:
    if not rules.tolerates_errors:
        return 0
    loaded = ledger.loaded(connection, run.extraction_id).get(target, {})
    return rules.allowed_errors(sum(loaded.values(), Counts()), rows)


def _wait_to_count_errors(connection: Connection, run: Run) -> None:
    """From here until the transaction ends no other load of the run adds to its errors."""
    turnstile.wait_for(connection, f"errors of {run.extraction_id}")


def _refuse_passed_limit(connection: Connection, run: Run, target: str, counts: Counts, rules: LoadRules) -> None:
    """Count once more, since loads at the same time may have set rows aside while this one merged.

    :raises DataError: where they leave too few
    """
    if not counts.errors:
        return
    _wait_to_count_errors(connection, run)
    allowed = _allowed_errors(connection, run, target, counts.processed, rules)
    if counts.errors > allowed:
        raise DataError(
            f"{counts.errors} rows of one chunk for {target!r} cannot be loaded, and since loads at the same time have "
            f"set others aside, only {allowed} more may be: mend them at the source, or raise max_errors or "
            "max_error_percent. The chunk is not loaded."
        )


def _refuse_overtaken(run: Run, rules: LoadRules) -> None:
    """Keep a run from writing rows that are older than those of its successor.

    :raises StateError: where a newer run of the sync has begun
    """
    if run.is_overtaken and not _may_be_overtaken(run, rules):
        raise StateError(
            f"A newer run of {run.sync_key!r} has begun, so this one may not load older rows over its rows. "
            "Clear the extract task to run again, one run at a time (max_active_runs=1)"
            + (", or load the backfill with latest_wins." if run.kind == "backfill" else ".")
        )


def _may_be_overtaken(run: Run, rules: LoadRules) -> bool:
    """Whether rows may land after those of a newer run.

    Those of a backfill may where a row's age decides, or where they overwrite nothing; those of a replay always, since
    its records are closed by newer rows of their keys.
    """
    return run.kind == "replay" or (run.kind == "backfill" and rules.conflict in ("latest_wins", "dest_wins"))
