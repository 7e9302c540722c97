"""The whole journey in one task: rows stream from the source into the destination, and are never staged on disk."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

from airflow_etl_sync.core.ahead import BATCHES_AHEAD, CHUNKS_AHEAD, ahead
from airflow_etl_sync.core.chunking import cut
from airflow_etl_sync.core.model import Chunk, Counts, CursorValue, LoadRules, RunIdentity, Stream, Window, WindowRules
from airflow_etl_sync.core.transform import Transform
from airflow_etl_sync.errors import DestinationError, explaining
from airflow_etl_sync.journey.advance import Advanced, close
from airflow_etl_sync.journey.load import merge_checkpoint, recover
from airflow_etl_sync.journey.opening import open_run, reach
from airflow_etl_sync.journey.preparing import Prepared, Stager
from airflow_etl_sync.state import runs
from airflow_etl_sync.state.health import Health
from airflow_etl_sync.state.runs import Run
from airflow_etl_sync.systems.base import Destination, MergeKeys, Source, let_pack

if TYPE_CHECKING:
    import pyarrow as pa

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class SyncReport:
    """What a run did.

    :param counts: over all its tries
    :param seconds: of this try
    :param health: how the sync is now
    """

    extraction_id: str
    window: Window
    watermark: CursorValue | None
    counts: Counts
    seconds: float
    health: Health

    def to_json(self, sync_key: str) -> dict[str, Any]:
        return {
            "sync_key": sync_key,
            "extraction_id": self.extraction_id,
            "window": asdict(self.window),
            "watermark": self.watermark.text if self.watermark else None,
            "cursor_type": self.watermark.type if self.watermark else None,
            "counts": self.counts.to_json(),
            "seconds": round(self.seconds, 3),
            **self.health.to_json(),
        }


def sync(
    source: Source,
    destination: Destination,
    *,
    stream: Stream,
    window_rules: WindowRules,
    load_rules: LoadRules,
    identity: RunIdentity,
    chunk_rows: int,
    try_number: int = 1,
    resumable_at: str = "",
    transform: Transform | None = None,
) -> SyncReport:
    """Keep the destination in step with the stream: one run from reading to the watermark.

    Every chunk is a checkpoint: its rows, its place in the ledger and the position behind it are committed
    together, so a retry goes on after the last one.

    :param chunk_rows: at most so many rows are merged in one transaction
    :param resumable_at: something that must be the same for a retry to go on, beside what is asked for
    :param transform: through which the rows go
    :raises EtlSyncError: see :mod:`airflow_etl_sync.errors`; checkpoints that were committed stay
    """
    began = time.monotonic()
    if transform is None:  # else somebody looks into the rows
        let_pack(source, destination)
    opening = open_run(
        source,
        destination.engine,
        stream=stream,
        rules=window_rules,
        identity=identity,
        target=destination.target,
        staging_uri="",
        host="",
        resumable_at=resumable_at,
    )
    keys = MergeKeys(opening.shape.primary_key, stream.cursor_field)
    opening = replace(opening, checkpoint=recover(destination, opening.run, opening.checkpoint, keys, load_rules))
    run, checkpoint, keys = opening.run, opening.checkpoint, replace(keys, are_new=opening.is_whole)
    stager = Stager(destination, run.extraction_id, try_number, keys, load_rules, transform)
    loading = _Loading(source, stager, run)
    rows = sum(chunk.rows for chunk in checkpoint.chunks)
    with (
        ahead(source.read(run.window, checkpoint.resume_after), BATCHES_AHEAD) as batches,
        ahead(loading.stage_all(batches, chunk_rows, len(checkpoint.chunks)), CHUNKS_AHEAD) as waiting,
    ):
        for chunk in waiting:
            rows += loading.checkpoint(chunk)
    with explaining(DestinationError, "close the run"), destination.engine.begin() as connection:
        run = reach(connection, source, run, window_rules)
        runs.mark_extracted(connection, run, rows)
        advanced = close(connection, run.extraction_id)
    seconds = time.monotonic() - began
    log.info("Synced %s into %s: %s, %.1f s", stream.sync_key, destination.target, advanced.counts, seconds)
    return report_of(run, advanced, seconds)


def report_of(run: Run, advanced: Advanced, seconds: float) -> SyncReport:
    """The report of a run that is closed."""
    return SyncReport(
        run.extraction_id, run.window, advanced.watermark, advanced.counts, seconds, advanced.health
    )  # fmt: skip


class _Waiting(NamedTuple):
    """A staged chunk, and where reading goes on behind it."""

    chunk: Chunk
    prepared: Prepared
    position: dict[str, Any]


@dataclass(frozen=True, slots=True)
class _Loading:
    source: Source
    stager: Stager
    run: Run

    def stage_all(self, batches: Iterator[pa.RecordBatch], chunk_rows: int, first: int) -> Iterator[_Waiting]:
        """Bring one chunk after another to the destination's side."""
        for number, reader in enumerate(cut(batches, chunk_rows), start=first):
            prepared = self.stager.stage(number, reader.schema, reader)
            yield _Waiting(Chunk(number, reader.rows, 0), prepared, dict(self.source.position(reader.last)))

    def checkpoint(self, waiting: _Waiting) -> int:
        """Merge one chunk and commit it; its number of rows."""
        stager, chunk = self.stager, waiting.chunk
        merge_checkpoint(
            stager.destination, self.run, chunk, waiting.prepared, stager.keys, stager.rules, waiting.position
        )  # fmt: skip
        return chunk.rows
