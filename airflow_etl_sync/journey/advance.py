"""The watermark's step, taken only when everything is loaded."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from sqlalchemy import Connection, Engine

from airflow_etl_sync.core.model import Counts, CursorValue, Extraction
from airflow_etl_sync.core.staging import Staging
from airflow_etl_sync.errors import DestinationError, StateError, explaining
from airflow_etl_sync.state import health, ledger, runs, tables, watermarks
from airflow_etl_sync.state.health import Health
from airflow_etl_sync.state.runs import Run

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Advanced:
    """What closing a run came to.

    :param watermark: where the next window of the sync begins; None before there is any
    :param counts: what became of the run's rows, over all its loads
    :param health: how the sync is now
    :param seconds: since the run began
    :param is_repeated: whether the run was closed before, so that this changed nothing
    """

    watermark: CursorValue | None
    counts: Counts
    health: Health
    seconds: float
    is_repeated: bool = False


def advance(state: Engine, staging: Staging, extraction: Extraction) -> Advanced:
    """Move the watermark to the window's high, then remove the staged chunks.

    Running it again changes nothing. A backfill leaves the watermark as it is.

    :raises StateError: where a chunk is not loaded, or the watermark was moved by somebody else
    """
    tables.ensure(state)
    with explaining(DestinationError, "advance the watermark"), state.begin() as connection:
        advanced = close(connection, extraction.extraction_id)
    staging.remove(extraction.extraction_id)
    return advanced


def close(connection: Connection, extraction_id: str) -> Advanced:
    """Move the watermark and close the run, in the caller's transaction.

    :raises StateError: as :func:`advance`
    """
    run = runs.get(connection, extraction_id)
    loads = ledger.loaded(connection, extraction_id)
    counts = sum((counts for chunks in loads.values() for counts in chunks.values()), Counts())
    is_repeated = run.status == "done"
    if not is_repeated:
        _refuse_unloaded(connection, run, loads)
        _move_watermark(connection, run)
        runs.mark_done(connection, extraction_id, counts)
    watermark = watermarks.read(connection, run.sync_key).cursor
    log.info("Watermark of %s: %s; %s", run.sync_key, watermark.text if watermark else "none", counts)
    return Advanced(
        watermark,
        counts,
        health.read(connection, run.sync_key, watermark),
        runs.seconds_of(connection, extraction_id),
        is_repeated,
    )


def _move_watermark(connection: Connection, run: Run) -> None:
    if run.moves_watermark:
        watermarks.compare_and_set(connection, run.sync_key, run.watermark_version, run.window.high, run.fences)


def _refuse_unloaded(connection: Connection, run: Run, loads: dict[str, dict[int, Counts]]) -> None:
    if run.is_overtaken and run.kind != "backfill":
        raise StateError(
            f"A newer run of {run.sync_key!r} has begun: it moves the watermark, this run does not. "
            "Clear the extract task to run again, one run at a time (max_active_runs=1)."
        )
    if run.status != "extracted":
        raise StateError(f"The extraction of {run.sync_key!r} is {run.status}, so the watermark stays where it is.")
    wanted = {chunk.number for chunk in ledger.read_checkpoint(connection, run.extraction_id).chunks}
    for target, chunks in (loads or {"its destination": {}}).items():
        missing = wanted - set(chunks)
        if missing:
            raise StateError(
                f"{len(missing)} of {len(wanted)} chunks of {run.sync_key!r} are not loaded into {target}: the "
                "watermark stays where it is. Clear the load task."
            )
