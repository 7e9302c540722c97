"""What a run came to, as those who watch it are told."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from airflow_etl_sync.core.model import Counts, CursorValue, Window

if TYPE_CHECKING:
    from airflow_etl_sync.core.model import Extraction
    from airflow_etl_sync.journey.advance import Advanced
    from airflow_etl_sync.journey.cdc import CdcReport
    from airflow_etl_sync.journey.reconcile import ReconcileReport
    from airflow_etl_sync.journey.sync import SyncReport


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """A run that is done.

    :param seconds: how long it took
    :param counts: what became of its rows; None for a run that loads none
    :param deleted: how many rows it deleted or flagged; None for a run that never does
    :param lag_seconds: how far the destination is behind; None where that is not known
    :param failed_records: how many failed records of the sync are open; None where they were not counted
    :param window: what was read
    :param watermark: where the next window begins
    """

    sync_key: str
    seconds: float
    counts: Counts | None = None
    deleted: int | None = None
    lag_seconds: float | None = None
    failed_records: int | None = None
    window: Window | None = None
    watermark: CursorValue | None = None

    def __str__(self) -> str:
        """One line for people: rows, window, how far the destination is behind, failed records, duration."""
        told: list[str] = []
        if self.counts is not None:
            told.append(str(self.counts))
        if self.deleted is not None:
            told.append(f"deleted {self.deleted}")
        if self.window is not None:
            told.append(f"from {_text(self.window.low) or 'the beginning'} to {_text(self.watermark) or 'the end'}")
        if self.lag_seconds is not None:
            told.append(f"{self.lag_seconds:.0f} s behind")
        if self.failed_records is not None:
            told.append(f"failed records open: {self.failed_records}")
        return f"{self.sync_key}: {'; '.join([*told, f'{self.seconds:.1f} s'])}"

    @classmethod
    def of_sync(cls, sync_key: str, report: SyncReport) -> Outcome:
        return cls(
            sync_key=sync_key,
            seconds=report.seconds,
            counts=report.counts,
            lag_seconds=report.health.lag_seconds,
            failed_records=report.health.failed_records,
            window=report.window,
            watermark=report.watermark,
        )

    @classmethod
    def of_chain(cls, extraction: Extraction, advanced: Advanced) -> Outcome:
        """That of a chain, whose seconds reach from the extract's beginning to the advance."""
        return cls(
            sync_key=extraction.sync_key,
            seconds=advanced.seconds,
            counts=advanced.counts,
            lag_seconds=advanced.health.lag_seconds,
            failed_records=advanced.health.failed_records,
            window=extraction.window,
            watermark=advanced.watermark,
        )

    @classmethod
    def of_capture(cls, sync_key: str, report: CdcReport) -> Outcome:
        return cls(
            sync_key=sync_key,
            seconds=report.seconds,
            counts=report.counts.rows,
            deleted=report.counts.deleted,
            lag_seconds=report.lag_seconds,
            failed_records=report.failed_records,
        )

    @classmethod
    def of_reconcile(cls, sync_key: str, report: ReconcileReport) -> Outcome:
        return cls(sync_key=sync_key, seconds=report.seconds, deleted=report.settled.deleted)


def _text(value: CursorValue | None) -> str | None:
    return None if value is None else value.text
