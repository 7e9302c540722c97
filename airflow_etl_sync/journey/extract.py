"""Source → staged chunks."""

from __future__ import annotations

import logging
import time

from sqlalchemy import Engine

from airflow_etl_sync.core.ahead import BATCHES_AHEAD, ahead
from airflow_etl_sync.core.chunking import ChunkReader, cut
from airflow_etl_sync.core.model import Chunk, Extraction, RunIdentity, Stream, WindowRules
from airflow_etl_sync.core.staging import Staging
from airflow_etl_sync.errors import DestinationError, explaining
from airflow_etl_sync.journey.opening import Opening, open_run, reach
from airflow_etl_sync.state import ledger, runs
from airflow_etl_sync.state.runs import Run
from airflow_etl_sync.systems.base import Source

log = logging.getLogger(__name__)


def extract(
    source: Source,
    state: Engine,
    staging: Staging,
    *,
    stream: Stream,
    rules: WindowRules,
    identity: RunIdentity,
    chunk_rows: int,
) -> Extraction:
    """Stage what changed in the stream, a chunk at a time, each a checkpoint.

    :param state: the database of the state tables, which is the one that will be loaded
    :param chunk_rows: at most so many rows go into a chunk
    :raises EtlSyncError: see :mod:`airflow_etl_sync.errors`; the watermark is untouched
    """
    began = time.monotonic()
    opening = open_run(
        source,
        state,
        stream=stream,
        rules=rules,
        identity=identity,
        target="",
        staging_uri=staging.uri,
        host=staging.host,
    )
    for old in opening.given_up:
        staging.remove(old.extraction_id)
    run = opening.run
    chunks = [*opening.checkpoint.chunks, *_stage_all(source, state, staging, opening, chunk_rows)]
    with explaining(DestinationError, "write the state tables"), state.begin() as connection:
        run = reach(connection, source, run, rules)
        runs.mark_extracted(connection, run, sum(chunk.rows for chunk in chunks))
    extraction = Extraction(
        extraction_id=run.extraction_id,
        sync_key=run.sync_key,
        kind=run.kind,
        window=run.window,
        primary_key=opening.shape.primary_key,
        cursor_field=stream.cursor_field,
        staging_uri=staging.uri,
        host=staging.host,
        chunks=tuple(chunks),
        ordered=opening.is_ordered,
    )
    seconds = time.monotonic() - began
    log.info("Extracted %d rows of %s in %d chunks, %.1f s", extraction.rows, run.sync_key, len(chunks), seconds)
    return extraction


def _stage_all(source: Source, state: Engine, staging: Staging, opening: Opening, chunk_rows: int) -> list[Chunk]:
    run, checkpoint = opening.run, opening.checkpoint
    with ahead(source.read(run.window, checkpoint.resume_after), BATCHES_AHEAD) as batches:
        return [
            _stage(source, state, staging, run, number, reader)
            for number, reader in enumerate(cut(batches, chunk_rows), start=len(checkpoint.chunks))
        ]


def _stage(source: Source, state: Engine, staging: Staging, run: Run, number: int, reader: ChunkReader) -> Chunk:
    chunk = staging.write(run.extraction_id, number, reader.schema, reader)
    with explaining(DestinationError, "write the state tables"), state.begin() as connection:
        runs.hold(connection, run)
        ledger.record_extracted(connection, run.extraction_id, chunk, dict(source.position(reader.last)))
    log.info("Staged chunk %d: %d rows, %d bytes", chunk.number, chunk.rows, chunk.bytes)
    return chunk
