"""Rows on their way to BigQuery: a Parquet file, loaded by a job into a table of its own."""

from __future__ import annotations

import logging
import secrets
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from airflow_etl_sync.errors import DestinationError
from airflow_etl_sync.systems.bigquery import sql
from airflow_etl_sync.systems.bigquery.faults import bigquery_fault_of
from airflow_etl_sync.systems.bigquery.session import Session
from airflow_etl_sync.systems.bigquery.types import staged_array, staged_type

if TYPE_CHECKING:
    import pyarrow as pa

log = logging.getLogger(__name__)


@contextmanager
def staged_rows(session: Session, dataset: str, rows: pa.Table) -> Iterator[str]:
    """The name of a table with the rows, each column by its place; dropped in the end.

    :param dataset: with its project
    :raises DestinationError: where not all of them have arrived
    """
    table = f"{dataset}.etl_sync_staged_{secrets.token_hex(8)}"
    session.execute(sql.create_staged(table, [staged_type(field.type) for field in rows.schema]))
    try:
        if rows.num_rows:
            _load(session, table, rows)
        yield table
    finally:
        _drop(session, table)


def _load(session: Session, table: str, rows: pa.Table) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    staged = pa.table({sql.staged_column(place): staged_array(column) for place, column in enumerate(rows.columns)})
    with tempfile.TemporaryDirectory(prefix="etl_sync_") as directory:  # for its owner only
        path = Path(directory) / "rows.parquet"
        pq.write_table(staged, path, compression="snappy")
        arrived = session.load(path, table)
    if arrived != rows.num_rows:
        raise DestinationError(
            f"{arrived} of {rows.num_rows} rows have arrived in BigQuery: a retry brings them again."
        )


def _drop(session: Session, table: str) -> None:
    """Drop it; where that fails it ends by itself, and what the merge came to stays so."""
    try:
        session.execute(sql.drop_staged(table))
    except Exception as error:
        fault = bigquery_fault_of(error)
        if fault is None:
            raise
        log.warning("The staged table %s is left for %d hours: %s", table, sql.STAGED_HOURS, fault.text)
