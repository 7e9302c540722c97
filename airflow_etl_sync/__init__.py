"""Incremental syncs for Apache Airflow: read what changed, upsert it, and only then move the watermark.

The names below are the whole public interface. They are loaded when they are first used, so that importing
the package, which Airflow does for every DAG file, costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from airflow_etl_sync.errors import (
        ConfigurationError,
        DataError,
        DestinationError,
        EtlSyncError,
        SchemaError,
        SourceError,
        StateError,
    )
    from airflow_etl_sync.factory import incremental_sync
    from airflow_etl_sync.hooks.cdc import PostgresCdcHook
    from airflow_etl_sync.hooks.delta import DeltaLakeHook
    from airflow_etl_sync.hooks.duckdb import DuckDbHook
    from airflow_etl_sync.hooks.mysql_cdc import MysqlCdcHook
    from airflow_etl_sync.observability.assets import table_asset
    from airflow_etl_sync.operators.advance import WatermarkAdvanceOperator
    from airflow_etl_sync.operators.cdc import CdcSyncOperator
    from airflow_etl_sync.operators.cdc_slot import CdcSetUpOperator, CdcTearDownOperator
    from airflow_etl_sync.operators.extract import IncrementalExtractOperator
    from airflow_etl_sync.operators.failed_records import FailedRecordsOperator
    from airflow_etl_sync.operators.load import UpsertLoadOperator
    from airflow_etl_sync.operators.reconcile import ReconcileOperator
    from airflow_etl_sync.operators.split import SplitRangesOperator
    from airflow_etl_sync.operators.sync import IncrementalSyncOperator
    from airflow_etl_sync.operators.watermark import WatermarkSetOperator
    from airflow_etl_sync.sensors.notify import PostgresNotifySensor
    from airflow_etl_sync.sensors.slot import ReplicationSlotSensor
    from airflow_etl_sync.triggers.notify import PostgresNotifyTrigger
    from airflow_etl_sync.triggers.slot import ReplicationSlotTrigger
    from airflow_etl_sync.yaml_syncs.factory import dags_from_yaml, refuse_invalid_syncs

__all__ = [
    "CdcSetUpOperator",
    "CdcSyncOperator",
    "CdcTearDownOperator",
    "ConfigurationError",
    "DataError",
    "DeltaLakeHook",
    "DestinationError",
    "DuckDbHook",
    "EtlSyncError",
    "FailedRecordsOperator",
    "IncrementalExtractOperator",
    "IncrementalSyncOperator",
    "MysqlCdcHook",
    "PostgresCdcHook",
    "PostgresNotifySensor",
    "PostgresNotifyTrigger",
    "ReconcileOperator",
    "ReplicationSlotSensor",
    "ReplicationSlotTrigger",
    "SchemaError",
    "SourceError",
    "SplitRangesOperator",
    "StateError",
    "UpsertLoadOperator",
    "WatermarkAdvanceOperator",
    "WatermarkSetOperator",
    "dags_from_yaml",
    "incremental_sync",
    "refuse_invalid_syncs",
    "table_asset",
]

_HOMES = {
    "CdcSyncOperator": "operators.cdc",
    "CdcSetUpOperator": "operators.cdc_slot",
    "CdcTearDownOperator": "operators.cdc_slot",
    "DeltaLakeHook": "hooks.delta",
    "DuckDbHook": "hooks.duckdb",
    "FailedRecordsOperator": "operators.failed_records",
    "IncrementalExtractOperator": "operators.extract",
    "IncrementalSyncOperator": "operators.sync",
    "MysqlCdcHook": "hooks.mysql_cdc",
    "PostgresCdcHook": "hooks.cdc",
    "PostgresNotifySensor": "sensors.notify",
    "PostgresNotifyTrigger": "triggers.notify",
    "ReconcileOperator": "operators.reconcile",
    "ReplicationSlotSensor": "sensors.slot",
    "ReplicationSlotTrigger": "triggers.slot",
    "SplitRangesOperator": "operators.split",
    "UpsertLoadOperator": "operators.load",
    "WatermarkAdvanceOperator": "operators.advance",
    "WatermarkSetOperator": "operators.watermark",
    "dags_from_yaml": "yaml_syncs.factory",
    "incremental_sync": "factory",
    "refuse_invalid_syncs": "yaml_syncs.factory",
    "table_asset": "observability.assets",
}


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES.get(name, 'errors')}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
