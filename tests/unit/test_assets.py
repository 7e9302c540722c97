"""Which tables are an operator's assets, and what their events are told."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from airflow.sdk import Asset
from airflow.sdk.exceptions import AirflowRuntimeError, ErrorType
from airflow.sdk.execution_time.comms import ErrorResponse
from airflow.sdk.execution_time.context import OutletEventAccessors

from airflow_etl_sync import IncrementalSyncOperator, table_asset
from airflow_etl_sync.core.model import Counts, CursorValue
from airflow_etl_sync.observability.assets import tell_assets
from airflow_etl_sync.observability.outcome import Outcome

OURS = table_asset("warehouse", "public.orders")
THEIRS = Asset("a_report")
COUNTS = Counts(inserted=1, updated=2, skipped=3, errors=4)
OUTCOME = Outcome(sync_key="orders", seconds=1.0, counts=COUNTS, watermark=CursorValue(type="integer", text="7"))


def sync(**changes: Any) -> IncrementalSyncOperator:
    given = {
        "task_id": "sync", "sync_key": "orders", "source_conn_id": "shop_db", "table": "public.orders",
        "cursor_field": "id", "destination_conn_id": "warehouse", "destination_table": "public.orders",
    }  # fmt: skip
    return IncrementalSyncOperator(**(given | changes))


class FullStore:
    """The state stores of assets, which Airflow's server refuses to write to."""

    def __getitem__(self, _: Asset) -> FullStore:
        return self

    def set(self, key: str, _: object) -> None:
        raise AirflowRuntimeError(ErrorResponse(error=ErrorType.GENERIC_ERROR, detail={"key": key}))


def test_a_name_is_one_part_of_the_address_whatever_is_in_it() -> None:
    odd = table_asset("team/warehouse", '"my schema"."a/b"')
    assert odd.uri == "etl-sync://team%2Fwarehouse/my%20schema/a%2Fb"
    assert odd.uri != table_asset("team", '"warehouse"."a/b"').uri


def test_an_asset_that_its_author_names_too_is_told_of_once() -> None:
    assert sync(outlets=[THEIRS, OURS]).outlets == [THEIRS, OURS]
    assert sync(outlets=[THEIRS]).outlets == [THEIRS, OURS]


def test_a_name_that_is_none_is_left_to_the_run() -> None:
    assert sync(destination_table="a.b.c.d").outlets == []


def test_only_tables_are_told_what_was_loaded_and_nothing_that_is_not_known() -> None:
    events = OutletEventAccessors()
    context: Any = {"task": sync(outlets=[THEIRS]), "outlet_events": events}
    tell_assets(context, OUTCOME)
    watermark = {"text": "7", "type": "integer"}
    assert events[OURS].extra == {"sync_key": "orders", "counts": COUNTS.to_json(), "watermark": watermark}
    assert events[THEIRS].extra == {}


def test_a_watermark_that_cannot_be_shown_fails_no_run(caplog: pytest.LogCaptureFixture) -> None:
    context: Any = {"task": sync(), "outlet_events": OutletEventAccessors(), "asset_state_store": FullStore()}
    with caplog.at_level(logging.WARNING):
        tell_assets(context, OUTCOME)
    assert "could not be shown beside the asset warehouse/public/orders" in caplog.text
    assert context["outlet_events"][OURS].extra["sync_key"] == "orders"
