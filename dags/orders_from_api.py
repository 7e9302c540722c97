"""
Orders of a shop with a JSON API, every hour, into PostgreSQL.

Teaches: **an API as the source**. `shop_api` is a connection of type *HTTP*: its host, and login and password, or
headers such as `{"Authorization": "Bearer …"}` as its extras. What is in it is sent to that host only.

* `endpoint` says what is asked for, where in the answer the list is (`records`) and how it is paged (`pages`).
* `start_param` is the query parameter that takes where the window begins. An API without one is read whole each time.
* `column_types` are the types of the table that the first run creates; those of other columns are told from the first
  records, and texts stay texts.
* `lag` is how far the watermark stays behind: more than the API takes to show a change.

Run it by hand once, then switch the DAG on.
"""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

from airflow.sdk import DAG

from airflow_etl_sync import incremental_sync

with DAG(
    dag_id="orders_from_api",
    doc_md=__doc__,
    schedule="@hourly",
    start_date=datetime(2026, 1, 1, tzinfo=timezone.utc),
    catchup=False,
    max_active_runs=1,
    tags=["etl-sync"],
):
    incremental_sync(
        group_id="orders",
        sync_key="api_orders",
        source_conn_id="shop_api",
        endpoint={
            "path": "/v1/orders",
            "params": {"status": "any"},
            "records": "data",
            "pages": {"type": "offset", "limit": 100},
            "start_param": "updated_since",
            "column_types": {"id": "bigint", "total": "numeric(12,2)", "updated_at": "timestamptz"},
        },
        cursor_field="updated_at",
        primary_key=["id"],
        lag=timedelta(minutes=10),
        destination_conn_id="warehouse",
        destination_table="public.api_orders",
    )
