"""
Orders that a shop puts into a bucket as CSV files, every hour, into PostgreSQL.

Teaches: **files as the source**. Each file is loaded once, and once more when it changes; of two lines of one order,
the one in the later file stays.

* `uri` names the files: `lake` is the id of a connection of type *Amazon Web Services*, `shop-exports` the bucket, and
  `*` any part of a name. A path on this machine does as well: `/data/exports/orders/*.csv`.
* `cursor_field` is `file_modified`: files are read in the order in which they were written. A file that shows up late,
  with an older time, is not passed over. `file_name` goes by names instead, and never looks at a file again.
* An object is there once it is whole. On a disk, set `lag` to how long a writer may be at a file: it is left alone so
  long.
* `file_options` say how files are written where their endings do not, and which types their first lines do not tell.
* `max_errors` lines or rows that cannot be read or loaded are kept as failed records, with file and line.

Needs `pip install 'airflow-etl-sync[s3]'` and two connections: `lake`, and `warehouse` of type *Postgres* to load into.
"""

from __future__ import annotations

from datetime import datetime, timezone

from airflow.sdk import DAG

from airflow_etl_sync import incremental_sync

with DAG(
    dag_id="orders_from_files",
    doc_md=__doc__,
    schedule="@hourly",
    start_date=datetime(2026, 1, 1, tzinfo=timezone.utc),
    catchup=False,
    max_active_runs=1,
    tags=["etl-sync"],
):
    incremental_sync(
        group_id="orders",
        sync_key="orders_from_files",
        uri="s3://lake@shop-exports/orders/*.csv.gz",
        file_options={"column_types": {"total": "numeric(12,2)"}},
        primary_key="id",
        cursor_field="file_modified",
        destination_conn_id="warehouse",
        destination_table="public.orders_from_files",
        max_errors=10,
    )
