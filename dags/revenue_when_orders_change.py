"""
Revenue by day, added up whenever the orders have been synced.

Teaches: **runs on a table's asset**. Each sync makes an event of the table that it has loaded, once its watermark has
moved; a DAG that is scheduled on `table_asset` runs after it. Here `orders_hourly` loads `public.fact_orders`.

* The names are those of the sync: its `destination_conn_id` and its destination table, written in the same way.
* An event tells in its extra how many rows were inserted and updated, the window and the watermark.
* A burst of events makes one run, which sees all of them.

Needs a connection of type *Postgres*: `warehouse`.
"""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

from airflow.sdk import DAG, task

from airflow_etl_sync import table_asset

FACT_ORDERS = table_asset("warehouse", "public.fact_orders")

REVENUE = """
CREATE TABLE IF NOT EXISTS public.revenue (day date PRIMARY KEY, orders bigint NOT NULL, revenue numeric NOT NULL);
DELETE FROM public.revenue;
INSERT INTO public.revenue
SELECT order_date::date, count(*), sum(total_amount)
FROM public.fact_orders
GROUP BY 1
"""

with DAG(
    dag_id="revenue_when_orders_change",
    doc_md=__doc__,
    schedule=[FACT_ORDERS],
    start_date=datetime(2026, 1, 1, tzinfo=timezone.utc),
    catchup=False,
    max_active_runs=1,
    default_args={"retries": 3, "retry_delay": timedelta(seconds=30)},
    tags=["etl-sync"],
):

    @task(inlets=[FACT_ORDERS])
    def add_up_revenue(inlet_events: Any = None) -> dict[str, int]:
        """Add it up anew, and give the counts of the newest sync."""
        from airflow.providers.postgres.hooks.postgres import PostgresHook  # here, so that reading the file stays cheap

        PostgresHook(postgres_conn_id="warehouse").run(REVENUE, split_statements=True)
        counts: dict[str, int] = inlet_events[FACT_ORDERS][-1].extra["counts"]
        return counts

    add_up_revenue()
