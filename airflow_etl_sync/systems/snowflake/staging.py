"""Rows on their way to Snowflake: a Parquet file, put and copied into a temporary table."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from airflow_etl_sync.errors import DestinationError
from airflow_etl_sync.systems.snowflake import sql
from airflow_etl_sync.systems.snowflake.session import Session
from airflow_etl_sync.systems.snowflake.types import declared_type

if TYPE_CHECKING:
    import pyarrow as pa


def stage_rows(session: Session, rows: pa.Table) -> None:
    """Bring rows into the session's temporary table, each column by its place.

    :raises DestinationError: where not all of them have arrived
    """
    import pyarrow.parquet as pq

    session.execute(sql.create_staged([declared_type(field.type) for field in rows.schema]))
    if rows.num_rows == 0:
        return
    session.execute(sql.CREATE_FILES)
    named = rows.rename_columns([sql.staged_column(place) for place in range(rows.num_columns)])
    with tempfile.TemporaryDirectory(prefix="etl_sync_") as directory:  # for its owner only
        path = Path(directory) / "rows.parquet"
        pq.write_table(named, path, compression="snappy")
        session.execute(sql.put_staged(str(path)))
    session.execute(sql.COPY_STAGED)
    (staged,) = session.told(sql.COUNT_STAGED).values()
    if staged != rows.num_rows:
        raise DestinationError(
            f"{staged} of {rows.num_rows} rows have arrived in Snowflake: a retry brings them again."
        )
