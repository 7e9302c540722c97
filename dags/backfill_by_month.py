"""
Load the past again, month by month.

Teaches: **a backfill in parts**. Trigger it by hand: Airflow asks for the first and the last month. Each month is a
task of its own, two at a time, which is tried again and cleared alone. Like every run with a range they leave the
watermark of the hourly sync where it is, and `latest_wins` keeps what that has loaded meanwhile.

On Airflow 3.3 and later it is **partitioned at runtime**: the months that were loaded are noted as partitions of the
table's asset, so that a DAG scheduled by `PartitionedAssetTimetable` runs for each of them. A run that is
triggered with a partition key, such as `2026-01`, loads that month. Before 3.3 the months are loaded all the same.

Needs two connections of type *Postgres*: `shop_db` to read from and `warehouse` to load into.
"""

from __future__ import annotations

from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk import DAG, Param, task

from airflow_etl_sync import IncrementalSyncOperator, table_asset

if TYPE_CHECKING:
    from collections.abc import Mapping

try:
    from airflow.sdk import PartitionedAtRuntime
except ImportError:  # before Airflow 3.3
    SCHEDULE: Any = None
else:
    SCHEDULE = PartitionedAtRuntime()

ORDERS = table_asset("warehouse", "public.fact_orders")
MONTH: dict[str, Any] = {"type": ["null", "string"], "pattern": r"^\d{4}-(0[1-9]|1[0-2])$"}

with DAG(
    dag_id="backfill_by_month",
    doc_md=__doc__,
    schedule=SCHEDULE,
    catchup=False,
    max_active_runs=1,
    default_args={"retries": 3, "retry_delay": timedelta(seconds=30)},
    params={
        "first_month": Param(None, title="From", description="The first month, such as 2026-01.", **MONTH),
        "last_month": Param(None, title="To", description="The last month.", **MONTH),
    },
    tags=["etl-sync"],
):

    @task
    def months(params: Mapping[str, Any] | None = None, partition_key: str | None = None) -> list[dict[str, str]]:
        """List the ranges to load: each month's first day, and the one after its last."""
        given = params or {}
        first, last = (partition_key or given.get(name) for name in ("first_month", "last_month"))
        if not first or not last:
            raise ValueError("Say which months: first_month and last_month, or a partition key such as 2026-01.")
        day, ranges = date.fromisoformat(f"{first}-01"), []
        while day <= date.fromisoformat(f"{last}-01"):
            following = (day + timedelta(days=31)).replace(day=1)
            ranges.append({"range_start": day.isoformat(), "range_end": following.isoformat()})
            day = following
        return ranges

    @task(outlets=[ORDERS])
    def note_partitions(ranges: list[dict[str, str]], outlet_events: Any = None) -> None:
        """Tell the DAGs that wait for the table which months of it are new."""
        if hasattr(outlet_events[ORDERS], "add_partitions"):
            outlet_events[ORDERS].add_partitions([each["range_start"][:7] for each in ranges])

    ranges = months()
    load_month = IncrementalSyncOperator.partial(
        task_id="load_month",
        map_index_template="{{ task.range_start }}",
        max_active_tis_per_dagrun=2,
        sync_key="orders",
        source_conn_id="shop_db",
        sql="sql/orders.sql",
        primary_key=["order_id"],
        cursor_field="updated_at",
        destination_conn_id="warehouse",
        destination_table="public.fact_orders",
        conflict="latest_wins",
        synced_at_column="synced_at",
    ).expand_kwargs(ranges)
    load_month >> note_partitions(ranges)  # type: ignore[arg-type] # what months() will have given by then
