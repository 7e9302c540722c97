"""The DAGs that the page is tested on."""

from __future__ import annotations

from datetime import datetime, timezone

from airflow.sdk import DAG, BaseOperator

from airflow_etl_sync import CdcSetUpOperator, CdcSyncOperator, IncrementalSyncOperator
from tests.marts import MARTS

HOSTILE = "<script>document.title='owned'</script>&\"' .. sync?x=1#"


def dag(dag_id: str, schedule: str | None = None) -> DAG:
    start = datetime(2026, 1, 1, tzinfo=timezone.utc)
    return DAG(dag_id, schedule=schedule, start_date=start, catchup=False, is_paused_upon_creation=False)


def sync(sync_key: str, destination_conn_id: str = "warehouse", table: str = "public.orders") -> BaseOperator:
    return IncrementalSyncOperator(
        task_id="sync",
        sync_key=sync_key,
        source_conn_id="shop_db",
        table=table,
        cursor_field="updated_at",
        destination_conn_id=destination_conn_id,
        destination_table=table,
    )


with dag("orders"):
    sync("orders")

with dag("orders_broken"):
    sync("orders_broken", table="public.no_such_table")

with dag("users", "@monthly"):  # due long ago; of an hourly one the last due time may lie within the minutes of grace
    sync("users", table="public.users")

with dag("never", "@daily") as never:
    sync("never")
never.is_paused_upon_creation = True

with dag("hostile"):
    sync(HOSTILE)

with dag("held"):
    sync("held", table="public.users")

with dag("mended"):
    sync("mended", table="public.users")

with dag("stored"):
    sync("stored", "kept_by_airflow", table="public.users")

with dag("again"):
    sync("again", "warehouse_again")

with dag("elsewhere"):
    sync("elsewhere", "unreachable")

for system in MARTS:
    with dag(f"prices_{system}"):
        IncrementalSyncOperator(
            task_id="sync",
            sync_key=f"prices_{system}",
            source_conn_id="shop_db",
            table="public.prices",
            cursor_field="changed",
            destination_conn_id=f"mart_{system}",
            destination_table="prices",
            state_conn_id="warehouse",
            max_errors=5,
            full_refresh=True,
        )

with dag("captured"):
    set_up = CdcSetUpOperator(task_id="set_up", source_conn_id="shop_cdc")
    set_up >> CdcSyncOperator(
        task_id="capture", sync_key="captured", source_conn_id="shop_cdc", destination_conn_id="warehouse"
    )
