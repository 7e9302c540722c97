"""One sync in detail: its windows, what changed in its columns, its failed records, and what people did to it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from airflow_etl_sync.core.watermark_change import WatermarkChange
from airflow_etl_sync.errors import EtlSyncError
from airflow_etl_sync.plugin.places import access_of
from airflow_etl_sync.state import failed_records, overview, watermark_changes
from airflow_etl_sync.state.failed_records import StoredRecord
from airflow_etl_sync.state.overview import FailureKind, NoticedChange, RunRecord

RUNS_SHOWN = 40
CHANGES_SHOWN = 20
RECORDS_SHOWN = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Detail:
    """What the state database tells of one sync, or one sentence on why it cannot be read."""

    runs: Sequence[RunRecord] = ()
    schema_changes: Sequence[NoticedChange] = ()
    failure_kinds: Sequence[FailureKind] = ()
    watermark_changes: Sequence[WatermarkChange] = ()
    trouble: str | None = None


def read_detail(conn_id: str, sync_key: str) -> Detail:
    """All that is recorded of a sync."""
    try:
        with overview.reading(access_of(conn_id).engine()) as connection:
            return Detail(
                runs=overview.last_runs(connection, [sync_key], RUNS_SHOWN).get(sync_key, ()),
                schema_changes=overview.schema_changes(connection, sync_key, CHANGES_SHOWN),
                failure_kinds=overview.failure_kinds(connection, sync_key),
                watermark_changes=watermark_changes.latest(connection, sync_key, CHANGES_SHOWN),
            )
    except overview.NothingRecordedError:
        return Detail()
    except EtlSyncError as error:
        return Detail(trouble=str(error))


def read_records(conn_id: str, sync_key: str) -> list[StoredRecord]:
    """The oldest failed records that are open, values included.

    :raises EtlSyncError: where they cannot be read
    """
    with overview.reading(access_of(conn_id).engine()) as connection:
        return failed_records.find_open(connection, sync_key, RECORDS_SHOWN)
