"""The public interface is exactly this; a change of it is a change of this list and of the changelog."""

from __future__ import annotations

import inspect

import pytest

import airflow_etl_sync
from airflow_etl_sync.errors import EtlSyncError

ERRORS = {
    "ConfigurationError",
    "DataError",
    "DestinationError",
    "EtlSyncError",
    "SchemaError",
    "SourceError",
    "StateError",
}
OPERATORS = {
    "CdcSetUpOperator",
    "CdcSyncOperator",
    "CdcTearDownOperator",
    "FailedRecordsOperator",
    "IncrementalExtractOperator",
    "IncrementalSyncOperator",
    "ReconcileOperator",
    "SplitRangesOperator",
    "UpsertLoadOperator",
    "WatermarkAdvanceOperator",
    "WatermarkSetOperator",
}
WAITING = {"PostgresNotifySensor", "PostgresNotifyTrigger", "ReplicationSlotSensor", "ReplicationSlotTrigger"}
FUNCTIONS = {"dags_from_yaml", "incremental_sync", "refuse_invalid_syncs", "table_asset"}
PUBLIC_NAMES = (
    ERRORS | OPERATORS | WAITING | FUNCTIONS | {"DeltaLakeHook", "DuckDbHook", "MysqlCdcHook", "PostgresCdcHook"}
)


def test_the_public_names_are_exactly_these() -> None:
    assert sorted(airflow_etl_sync.__all__) == sorted(PUBLIC_NAMES)


@pytest.mark.parametrize("name", sorted(PUBLIC_NAMES))
def test_every_public_name_exists_under_its_own_name(name: str) -> None:
    value = getattr(airflow_etl_sync, name)
    assert value.__name__ == name
    assert inspect.getdoc(value)


def test_every_public_name_is_listed_by_dir() -> None:
    assert set(dir(airflow_etl_sync)) >= PUBLIC_NAMES


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no_such_name"):
        airflow_etl_sync.no_such_name  # noqa: B018


@pytest.mark.parametrize("name", sorted(ERRORS - {"EtlSyncError"}))
def test_every_error_is_an_etl_sync_error(name: str) -> None:
    assert issubclass(getattr(airflow_etl_sync, name), EtlSyncError)


def test_no_error_is_kept_back() -> None:
    assert {error.__name__ for error in EtlSyncError.__subclasses__()} == ERRORS - {"EtlSyncError"}


@pytest.mark.parametrize("name", [*sorted(OPERATORS | WAITING), "incremental_sync"])
def test_arguments_are_keyword_only(name: str) -> None:
    parameters = inspect.signature(getattr(airflow_etl_sync, name)).parameters.values()
    positional = {inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD}
    assert [parameter.name for parameter in parameters if parameter.kind in positional] == []
