"""Staged chunks → the destination table, each chunk exactly once."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from typing import Any

from airflow_etl_sync.core.ahead import CHUNKS_AHEAD, ahead
from airflow_etl_sync.core.model import Chunk, Counts, Extraction, LoadRules
from airflow_etl_sync.core.staging import Staging, read_batches
from airflow_etl_sync.core.transform import Transform
from airflow_etl_sync.errors import DestinationError, explaining
from airflow_etl_sync.journey.merging import merge_once, recall, record_landed
from airflow_etl_sync.journey.preparing import Prepared, Stager
from airflow_etl_sync.state import ledger, runs, tables
from airflow_etl_sync.state.ledger import Checkpoint
from airflow_etl_sync.state.runs import Run
from airflow_etl_sync.systems.base import Destination, MergeKeys

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
    pending = _record_landed(destination, extraction, pending, keys, rules)
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


def _record_landed(
    destination: Destination, extraction: Extraction, pending: Sequence[Chunk], keys: MergeKeys, rules: LoadRules
) -> list[Chunk]:
    """Enter chunks into the ledger that an earlier try has landed elsewhere; the rest is still to be loaded."""
    landed = recall(destination, extraction.extraction_id) if pending else {}
    for chunk in pending:
        if chunk.number in landed:
            with explaining(DestinationError, f"note chunk {chunk.number}"), destination.engine.begin() as connection:
                record_landed(
                    destination, connection, extraction.extraction_id, chunk, landed[chunk.number], keys, rules
                )
    return [chunk for chunk in pending if chunk.number not in landed]


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
        merge_once(destination, connection, run.extraction_id, chunk, prepared, keys, rules, position)
        ledger.record_extracted(connection, run.extraction_id, chunk, position)


def recover(
    destination: Destination, run: Run, checkpoint: Checkpoint, keys: MergeKeys, rules: LoadRules
) -> Checkpoint:
    """Where a run that stages nothing on disk goes on: behind what its earlier tries have landed elsewhere, too.

    What its source gives now may be other rows, so a chunk that has landed is none that could be merged again.
    """
    landed = recall(destination, run.extraction_id) if run.is_resumed else {}
    for number in sorted(landed.keys() - {chunk.number for chunk in checkpoint.chunks}):
        found = landed[number]
        chunk, position = Chunk(number, found.merged.counts.processed, 0), dict(found.position or {})
        with explaining(DestinationError, f"note chunk {number}"), destination.engine.begin() as connection:
            runs.hold(connection, run)
            record_landed(destination, connection, run.extraction_id, chunk, found, keys, rules)
            ledger.record_extracted(connection, run.extraction_id, chunk, position)
        checkpoint = Checkpoint((*checkpoint.chunks, chunk), position)
    return checkpoint
