"""Tables as Airflow's assets: what their loads tell of themselves, and what other DAGs are scheduled on."""

from __future__ import annotations

import logging
from dataclasses import asdict
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from airflow.sdk import Asset

from airflow_etl_sync.core.model import TableName
from airflow_etl_sync.errors import ConfigurationError
from airflow_etl_sync.observability.metrics import tag_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from airflow.sdk import Context

    from airflow_etl_sync.observability.outcome import Outcome

log = logging.getLogger(__name__)
_SCHEME = "etl-sync"


def table_asset(conn_id: str, table: str) -> Asset:
    """The asset of a table that a sync loads: each run that has loaded it makes an event of it.

    The event's extra has the sync key, counts, window and watermark. Write the names as the sync has them: an asset
    is known while DAGs are read, when no database is asked what a name stands for.

    :param conn_id: the sync's ``destination_conn_id``
    :param table: the sync's destination table (``schema.table``)
    :raises ConfigurationError: where that is no table's name
    """
    name = TableName.parse(table)
    path = "/".join(quote(part, safe="") for part in (conn_id, name.schema, name.name) if part)
    return Asset(name=path, uri=f"{_SCHEME}://{path}")


def tell_assets(context: Context, outcome: Outcome) -> None:
    """Put the outcome into the events of the task's tables, and on Airflow 3.3 the watermark beside the asset."""
    for asset in context["task"].outlets:
        if isinstance(asset, Asset) and asset.uri.startswith(f"{_SCHEME}://"):
            context["outlet_events"][asset].extra = _told(outcome)
            _mirror(context, asset, outcome)


class LoadsTables:
    """An operator whose outlets are the tables that it loads, as far as its DAG names them."""

    outlets: list[Any]

    def add_tables(self, conn_id: object, tables: Iterable[object]) -> None:
        """Add the assets of tables, but for those that only a run knows.

        The copies of a mapped task have what its ``partial`` gives them, since Airflow knows no other outlets of them.
        """
        if getattr(self, "_BaseOperator__from_mapped", False) or not _is_plain(conn_id):
            return
        for asset in _assets(str(conn_id), tables):
            if asset not in self.outlets:
                self.outlets = [*self.outlets, asset]

    def keep_tables_quiet(self) -> None:
        """Make no event of them: nothing was loaded."""
        self.outlets = [
            each for each in self.outlets if not (isinstance(each, Asset) and each.uri.startswith(f"{_SCHEME}://"))
        ]


def assets_of(conn_id: object, table: object) -> list[Asset]:
    """The asset of a table, none where only a run knows its name."""
    return _assets(str(conn_id), [table]) if _is_plain(conn_id) else []


def _assets(conn_id: str, tables: Iterable[object]) -> list[Asset]:
    found = []
    for table in tables:
        try:
            found += [table_asset(conn_id, str(table))] if _is_plain(table) else []
        except ConfigurationError:  # the run says so
            continue
    return found


def _is_plain(given: object) -> bool:
    return isinstance(given, str) and bool(given.strip()) and "{{" not in given and "{%" not in given


def _told(outcome: Outcome) -> dict[str, Any]:
    told = {
        "sync_key": outcome.sync_key,
        "counts": None if outcome.counts is None else outcome.counts.to_json(),
        "deleted": outcome.deleted,
        "window": None if outcome.window is None else asdict(outcome.window),
        "watermark": None if outcome.watermark is None else asdict(outcome.watermark),
    }
    return {name: value for name, value in told.items() if value is not None}


def _mirror(context: Context, asset: Asset, outcome: Outcome) -> None:
    """Let people see the watermark beside the asset; it is read from the state tables only."""
    stores: Any = context.get("asset_state_store")
    if stores is None or outcome.watermark is None:  # before Airflow 3.3
        return
    from airflow.sdk.exceptions import AirflowRuntimeError

    seen = {**asdict(outcome.watermark), "lag_seconds": outcome.lag_seconds}
    try:
        stores[asset].set(f"{tag_of(outcome.sync_key)}.watermark", seen)
    except AirflowRuntimeError as error:
        log.warning("The watermark could not be shown beside the asset %s: %s", asset.name, error)
