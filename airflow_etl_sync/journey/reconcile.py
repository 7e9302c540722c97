"""Rows that were deleted at the source → deleted, or flagged, in the destination."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass

from airflow_etl_sync.core.keys import ReconcileRules, Settled
from airflow_etl_sync.core.model import RunIdentity, Window
from airflow_etl_sync.errors import DestinationError, EtlSyncError, StateError, explaining
from airflow_etl_sync.state import runs, tables
from airflow_etl_sync.state.runs import Run
from airflow_etl_sync.systems.base import Comparison, ComparisonNumbers, KeyDestination, KeySource

log = logging.getLogger(__name__)

BLOCK_ROWS = 10_000


@dataclass(frozen=True, slots=True)
class ReconcileReport:
    """What a reconcile did; ``settled.deleted`` is less than ``numbers.absent`` where rows have come back since."""

    extraction_id: str
    numbers: ComparisonNumbers
    settled: Settled
    seconds: float


def reconcile(
    source: KeySource,
    destination: KeyDestination,
    *,
    sync_key: str,
    rules: ReconcileRules,
    identity: RunIdentity,
    block_rows: int = BLOCK_ROWS,
) -> ReconcileReport:
    """Find rows whose key is gone from the source, and delete or flag them; take the flag off those that are back.

    The keys of the source stream into a staging table of the destination, which compares them with its own, so
    the worker holds no more than a batch or a block of them. What differs is only suspected: block by block, the
    table is locked against writers, the source asked again, and only what it still says is done. So a row that
    a sync loads meanwhile stays. Killed and run again, it does what is left.

    It moves no watermark and overtakes no run.

    :param block_rows: so many rows are settled in one transaction
    :raises DataError: where more rows are gone than the rules allow; nothing has changed then
    :raises EtlSyncError: see :mod:`airflow_etl_sync.errors`; blocks that were committed stay
    """
    began = time.monotonic()
    tables.ensure(destination.engine)
    run = _begin(destination, sync_key, identity)
    with (
        _unless_taken_over(destination, run),
        closing(source.read_keys()) as batches,
        destination.compare(f"stage_{run.extraction_id}_keys", batches, rules) as comparison,
    ):
        numbers = comparison.numbers
        log.info(
            "Compared %d rows of %s with %d of %s: %d absent, %d flagged ones returned",
            numbers.compared,
            destination.target,
            numbers.keys,
            sync_key,
            numbers.absent,
            numbers.returned,
        )
        rules.refuse_too_many(destination.target, numbers.compared, numbers.absent)
        if rules.delete == "soft":
            with explaining(DestinationError, "prepare the table"), destination.engine.begin() as connection:
                comparison.add_flag(connection)
        blocks = _settle_all(source, destination, comparison, run, block_rows)
        settled = sum(blocks, Settled())
    with explaining(DestinationError, "close the run"), destination.engine.begin() as connection:
        _refuse_taken_over(runs.get(connection, run.extraction_id))
        runs.mark_reconciled(connection, run.extraction_id, numbers.keys)
    seconds = time.monotonic() - began
    log.info(
        "Reconciled %s with %s: deleted %d, revived %d, %.1f s",
        *(destination.target, sync_key, settled.deleted, settled.revived, seconds),
    )
    return ReconcileReport(run.extraction_id, numbers, settled, seconds)


def _begin(destination: KeyDestination, sync_key: str, identity: RunIdentity) -> Run:
    """Record the run; what killed tries of the same task have staged may then be swept."""
    with explaining(DestinationError, "write the state tables"), destination.engine.begin() as connection:
        runs.abandon_reconciles(connection, identity)
        runs.give_up_old(connection, sync_key)
        return runs.start(
            connection,
            identity,
            sync_key=sync_key,
            kind="reconcile",
            window=Window(protection="the source is asked again while the table is locked against writers"),
        )


@contextmanager
def _unless_taken_over(destination: KeyDestination, run: Run) -> Iterator[None]:
    """Tell a failure by its cause where a later try of the task has swept what this one had staged."""
    try:
        yield
    except EtlSyncError:
        with explaining(DestinationError, "read the state tables"), destination.engine.begin() as connection:
            _refuse_taken_over(runs.get(connection, run.extraction_id))
        raise


def _refuse_taken_over(run: Run) -> None:
    if run.status == "abandoned":
        raise StateError(f"A later try of this task reconciles {run.sync_key!r} now: this one has stopped.")


def _settle_all(
    source: KeySource, destination: KeyDestination, comparison: Comparison, run: Run, block_rows: int
) -> Iterator[Settled]:
    suspects = comparison.numbers.suspects
    for first in range(1, suspects + 1, block_rows):
        last = min(first + block_rows - 1, suspects)
        with explaining(DestinationError, "settle a block"), destination.engine.begin() as connection:
            settled = comparison.settle(connection, first, last, source.find_present)
            runs.record_settled(connection, run.extraction_id, settled.deleted, settled.revived)
        log.info("Settled %d of %d: deleted %d, revived %d", last, suspects, settled.deleted, settled.revived)
        yield settled
