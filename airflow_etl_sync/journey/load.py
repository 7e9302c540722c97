"""Staged chunks → the destination table, each chunk exactly once."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection

from airflow_etl_sync.core.ahead import CHUNKS_AHEAD, ahead
from airflow_etl_sync.core.model import Chunk, Counts, Extraction, LoadRules
from airflow_etl_sync.core.staging import Staging, read_batches
from airflow_etl_sync.core.transform import Transform
from airflow_etl_sync.errors import DestinationError, StateError, explaining
from airflow_etl_sync.journey.preparing import Prepared, Stager
from airflow_etl_sync.state import failed_records, ledger, runs, tables
from airflow_etl_sync.state.runs import Run
from airflow_etl_sync.systems.base import Destination, Merged, MergeKeys, Tolerance
from airflow_etl_sync.systems.recording import record_merged

log = logging.getLogger(__name__)


def load(
    destination: Destination,
    staging: Staging,
    extraction: Extraction,
    rules: LoadRules,
    try_number: int = 1,
    transform: Transform | None = None,
) -> Counts:
    """Load the chunks of an extraction, or of one of its parts, in their order.

    A chunk that the ledger has is not loaded again, so a retry goes on after the last one that was committed,
    and the counts returned are those of all chunks, whichever try loaded them.

    :param try_number: tells the staging tables of a retry from those of a try that may still be dying
    :param transform: through which the rows go
    :raises EtlSyncError: see :mod:`airflow_etl_sync.errors`; chunks that were committed stay
    """
    began = time.monotonic()
    tables.ensure(destination.engine)
    done = _loaded(destination, extraction)
    keys = MergeKeys(extraction.primary_key, extraction.cursor_field, are_new=extraction.is_whole)
    pending = [chunk for chunk in extraction.chunks if chunk.number not in done]
    stager = Stager(destination, extraction.extraction_id, try_number, keys, rules, transform)
    with ahead(_stage_all(stager, staging, extraction, pending), CHUNKS_AHEAD) as waiting:
        for chunk, prepared in waiting:
            doing = explaining(DestinationError, f"load chunk {chunk.number}")
            with doing, destination.engine.begin() as connection:
                merge_once(destination, connection, extraction.extraction_id, chunk, prepared, keys, rules)
    after = _loaded(destination, extraction)
    counts = sum((after[chunk.number] for chunk in extraction.chunks), Counts())
    seconds = time.monotonic() - began
    log.info("Loaded %s into %s: %s, %.1f s", extraction.sync_key, destination.target, counts, seconds)
    return counts


def _loaded(destination: Destination, extraction: Extraction) -> dict[int, Counts]:
    with explaining(DestinationError, "read the ledger"), destination.engine.begin() as connection:
        runs.get(connection, extraction.extraction_id)
        return ledger.loaded(connection, extraction.extraction_id).get(destination.target, {})


def _stage_all(
    stager: Stager, staging: Staging, extraction: Extraction, chunks: Sequence[Chunk]
) -> Iterator[tuple[Chunk, Prepared]]:
    """Bring one chunk after another to the destination's side."""
    for chunk in chunks:
        with staging.open(extraction, chunk) as file:
            prepared = stager.stage(chunk.number, file.schema_arrow, read_batches(file))
        yield chunk, prepared


def merge_checkpoint(
    destination: Destination,
    run: Run,
    chunk: Chunk,
    prepared: Prepared,
    keys: MergeKeys,
    rules: LoadRules,
    position: dict[str, Any],
) -> None:
    """Merge a staged chunk of a run that stages nothing on disk, and commit it with the position behind it."""
    doing = explaining(DestinationError, f"load chunk {chunk.number}")
    with doing, destination.engine.begin() as connection:
        runs.hold(connection, run)
        merge_once(destination, connection, run.extraction_id, chunk, prepared, keys, rules)
        ledger.record_extracted(connection, run.extraction_id, chunk, position)


def merge_once(
    destination: Destination,
    connection: Connection,
    extraction_id: str,
    chunk: Chunk,
    prepared: Prepared,
    keys: MergeKeys,
    rules: LoadRules,
) -> Counts | None:
    """Merge a staged chunk and note it in the ledger, in the caller's transaction.

    :returns: its counts, or None where another try has loaded it in the meantime
    """
    run = runs.get(connection, extraction_id)
    _refuse_overtaken(run, rules)
    if not ledger.claim(connection, extraction_id, chunk.number, destination.target):
        return None
    tolerance = prepared.tolerance(_tolerance(connection, run, destination.target, chunk.rows, rules))
    merged = Merged(Counts())
    if prepared.staged is not None:
        rows = chunk.rows - prepared.left_out
        merged = destination.merge(connection, prepared.staged, rows, keys, rules, tolerance)
    merged = prepared.with_left_out(merged)
    counts = merged.counts
    if counts.processed != chunk.rows or counts.errors != len(merged.failed):
        raise AssertionError(f"counts of chunk {chunk.number} do not add up: {counts} of {chunk.rows} rows")
    ledger.record_loaded(connection, extraction_id, chunk.number, destination.target, counts)
    terms = replace(
        rules,
        primary_key=rules.primary_key or keys.primary_key,
        conflict_field=rules.conflict_field or keys.cursor_field,
    )
    record_merged(connection, run, destination.target, terms, merged)
    log.info("Merged chunk %d: %s", chunk.number, counts)
    return counts


def _tolerance(connection: Connection, run: Run, target: str, rows: int, rules: LoadRules) -> Tolerance:
    """How many of the next rows may fail, and which rows failed before."""
    watched = tuple(failed_records.open_keys(connection, run.sync_key, target))
    if not rules.tolerates_errors:
        return Tolerance(0, watched)
    loaded = ledger.loaded(connection, run.extraction_id).get(target, {})
    return Tolerance(rules.allowed_errors(sum(loaded.values(), Counts()), rows), watched)


def _refuse_overtaken(run: Run, rules: LoadRules) -> None:
    """Keep a run from writing rows that are older than those of its successor.

    A backfill may go on where a row's age decides, or where it overwrites nothing; a replay always, since its
    records are closed by newer rows of their keys.

    :raises StateError: where a newer run of the sync has begun
    """
    is_harmless = run.kind == "replay" or (run.kind == "backfill" and rules.conflict in ("latest_wins", "dest_wins"))
    if run.is_overtaken and not is_harmless:
        raise StateError(
            f"A newer run of {run.sync_key!r} has begun, so this one may not load older rows over its rows. "
            "Clear the extract task to run again, one run at a time (max_active_runs=1)"
            + (", or load the backfill with latest_wins." if run.kind == "backfill" else ".")
        )
