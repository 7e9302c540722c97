"""
A score for each order, computed in Python, every 10 minutes.

Teaches: **`@task.etl_sync`**. The function gives records, the task upserts them: a record that is there already is
updated by its key, a try that is repeated changes nothing, and the watermark moves once everything is loaded.

* `watermark` is the highest `updated_at` that was loaded, None in the first run. The function asks its source for what
  has changed from there on, here a database, as well an API.
* Records may be yielded one by one, so that they need not fit into memory; or whole tables of Arrow, polars or pandas.
* The first run creates the table, with types told from the values.
* `lag` lets each run ask for the last hour again: a transaction may commit later than its `updated_at` says.

Needs two connections of type *Postgres*: `shop_db` to ask and `warehouse` to load into.
"""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

from airflow.sdk import DAG, task

if TYPE_CHECKING:
    from collections.abc import Iterator

with DAG(
    dag_id="order_scores",
    doc_md=__doc__,
    schedule="*/10 * * * *",
    start_date=datetime(2026, 1, 1, tzinfo=timezone.utc),
    catchup=False,
    max_active_runs=1,
    default_args={"retries": 3, "retry_delay": timedelta(seconds=30)},
    tags=["etl-sync"],
):

    @task.etl_sync(
        sync_key="order_scores",
        destination_conn_id="warehouse",
        destination_table="public.order_scores",
        primary_key=["order_id"],
        cursor_field="updated_at",
        lag=timedelta(hours=1),
    )
    def score_orders(watermark: datetime | None = None) -> Iterator[dict[str, Any]]:
        """Give each order that has changed a score."""
        from airflow.providers.postgres.hooks.postgres import PostgresHook

        query = """
            SELECT id, status, updated_at
            FROM public.orders
            WHERE updated_at >= coalesce(%s::timestamptz, '-infinity')
        """
        for order_id, status, updated_at in PostgresHook("shop_db").get_records(query, [watermark]):
            details = {"status": status, "letters": len(status)}
            yield {"order_id": order_id, "score": len(status) / 10, "details": details, "updated_at": updated_at}

    score_orders()
