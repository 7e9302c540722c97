"""The front door: a whole sync as one task group."""

from __future__ import annotations

from datetime import datetime, timedelta
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, get_args

from airflow.sdk import TaskGroup

from airflow_etl_sync.core.endpoint import Endpoint
from airflow_etl_sync.core.model import ConflictStrategy, SchemaContract, refuse_not_one, refuse_unknown
from airflow_etl_sync.errors import ConfigurationError
from airflow_etl_sync.observability.assets import assets_of
from airflow_etl_sync.operators._transform_terms import check_transform
from airflow_etl_sync.operators.advance import WatermarkAdvanceOperator
from airflow_etl_sync.operators.extract import IncrementalExtractOperator
from airflow_etl_sync.operators.load import UpsertLoadOperator

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from airflow_etl_sync.operators._transform_terms import TransformGiven

PATIENCE = {
    "retries": 3,
    "retry_delay": timedelta(seconds=30),
    "retry_exponential_backoff": True,
    "max_retry_delay": timedelta(minutes=15),
}
"""Databases restart and networks break off: a sync tries again, each time after a longer pause."""

PART = "part {{ ti.map_index + 1 }}: {{ task.extraction['chunks'] | map(attribute=1) | sum }} rows"
"""What a mapped load is called in the UI, instead of its number."""

EXTRACT_DOC = """
Reads what changed since the last run, and stages it in chunks. Where a try stops, the next one goes on.

Clear this task, and those after it, to run the window again.
"""
LOAD_DOC = """
Upserts one part of the staged chunks, each exactly once: a try skips what another one has loaded.

`processed = inserted + updated + skipped + errors`
"""
ADVANCE_DOC = """
Moves the watermark once every chunk is loaded, then removes the chunks. Where one is missing it fails, and the
watermark stays: clear the load.
"""


def incremental_sync(
    *,
    group_id: str,
    sync_key: str,
    destination_conn_id: str,
    destination_table: str,
    cursor_field: str,
    source_conn_id: str | None = None,
    table: str | None = None,
    sql: str | None = None,
    endpoint: str | Mapping[str, Any] | None = None,
    state_conn_id: str | None = None,
    primary_key: str | Sequence[str] | None = None,
    columns: str | Sequence[str] | None = None,
    where: str | None = None,
    lag: timedelta | int | str = timedelta(0),
    initial_value: str | int | datetime | None = None,
    on_cursor_null: str = "include",
    range_start: str | int | datetime | None = None,
    range_end: str | int | datetime | None = None,
    full_refresh: bool | str = False,
    conflict: str = "source_wins",
    conflict_field: str | None = None,
    transform: TransformGiven = None,
    transform_sql: str | None = None,
    lookups: Mapping[str, str] | str | None = None,
    create_table: bool | str = True,
    synced_at_column: str | None = None,
    schema_contract: str = "evolve",
    max_errors: int | str | None = None,
    max_error_percent: float | str | None = None,
    chunk_rows: int | str = 100_000,
    staging_uri: str | None = None,
    load_parts: int | str = 4,
    dry_run: bool | str = False,
    uri: str | None = None,
    file_options: Mapping[str, Any] | str | None = None,
    default_args: Mapping[str, Any] | None = None,
) -> TaskGroup:
    """Make a sync as a task group: extract, then load mapped over the parts of the extraction, then advance.

    The tasks retry three times with growing pauses from 30 seconds on; ``default_args`` of the DAG, of an
    enclosing task group, or given here, in this order, say otherwise. Staged chunks are removed after the
    advance. The arguments are those of the three operators, and templated like theirs.

    :param group_id: the name of the task group
    :param sync_key: the unique name of the sync
    :param source_conn_id: connection to read from, of type ``postgres``, ``mysql`` or ``sqlite``, or of another
        database whose hook speaks SQLAlchemy; for files, that of their storage where ``uri`` names none
    :param destination_conn_id: connection to load into
    :param destination_table: the table to load (``schema.table``)
    :param cursor_field: the column that grows when a record changes
    :param table: the table to read; exactly one of ``table``, ``sql``, ``endpoint`` and ``uri``
    :param sql: the query to read, or the name of a ``.sql`` file. Where it says ``:window(orders.updated_at)``, the
        window is applied there, else around it. What stands there is of the cursor's type, or with numbers the cursor
        itself; what the query computes from the rows there, it computes from the window's rows only
    :param endpoint: what to ask an API for, whose connection is of type ``http``: a path, or a mapping, see
        docs/sources.md
    :param state_conn_id: connection of type ``postgres`` that keeps the watermark, by default the destination's; to be
        given where that is of another type
    :param primary_key: the columns that name a record; by default the source table's own key
    :param columns: the columns to read; by default all
    :param where: an SQL condition that every row must meet
    :param lag: how far the watermark stays behind
    :param initial_value: where the very first window starts
    :param on_cursor_null: ``include``, ``exclude`` or ``raise``
    :param range_start: lowest cursor value of a backfill, included
    :param range_end: upper cursor value of a backfill, excluded
    :param full_refresh: read everything, whatever the watermark says
    :param conflict: ``source_wins``, ``dest_wins``, ``latest_wins`` or ``merge_non_null``
    :param conflict_field: the column that ``latest_wins`` compares; by default the cursor field
    :param transform: a function that rows go through before they are loaded, the path it is imported by, or a list of
        these; not templated
    :param transform_sql: a query over each piece of rows (``SELECT … FROM batch``), or the name of a ``.sql`` file
    :param lookups: small tables that it joins, by name: tables of the destination, CSV or Parquet files
    :param create_table: create an absent table with the source's types and key
    :param synced_at_column: a ``timestamptz`` column that the load sets on rows it inserts or changes
    :param schema_contract: ``evolve``, ``freeze``, ``discard_column`` or ``discard_row``
    :param max_errors: how many rows of a run may be set aside as failed records
    :param max_error_percent: how many per cent of the run's rows may be
    :param chunk_rows: most rows in one chunk
    :param staging_uri: where chunks are written
    :param load_parts: how many loads run at the same time at most
    :param dry_run: only tell the window, the SQL and the estimated rows; all three tasks are skipped
    :param uri: files to read, such as ``s3://CONN_ID@BUCKET/PREFIX/*.csv``; ``cursor_field`` is then ``file_modified``
        or ``file_name``
    :param file_options: how they are written: ``format``, ``compression``, ``delimiter``, ``quote``, ``header``,
        ``encoding``, ``null_values``, ``column_types``, ``file_columns``
    :param default_args: arguments for all tasks of the group, as Airflow takes them
    :raises ConfigurationError: where a literal argument is wrong; templates are checked when they run
    """
    streams = {"table": table, "sql": sql, "endpoint": endpoint, "uri": uri}
    _check_literals(streams, source_conn_id, conflict, schema_contract)
    known = None if isinstance(lookups, str) else lookups
    check_transform(SimpleNamespace(transform=transform, transform_sql=transform_sql, lookups=known))
    state_conn_id = state_conn_id or destination_conn_id
    is_transformed = transform is not None or transform_sql is not None
    with _patient_group(group_id, default_args) as group:
        extract = IncrementalExtractOperator(
            task_id="extract", sync_key=sync_key, source_conn_id=source_conn_id, state_conn_id=state_conn_id,
            cursor_field=cursor_field, table=table, sql=sql, endpoint=endpoint, primary_key=primary_key,
            columns=columns, where=where, lag=lag, initial_value=initial_value, on_cursor_null=on_cursor_null,
            range_start=range_start, range_end=range_end, full_refresh=full_refresh, chunk_rows=chunk_rows,
            staging_uri=staging_uri, destination_conn_id=None if is_transformed else destination_conn_id,
            load_parts=load_parts, dry_run=dry_run, uri=uri, file_options=file_options, doc_md=EXTRACT_DOC,
        )  # fmt: skip
        load = UpsertLoadOperator.partial(
            task_id="load", destination_conn_id=destination_conn_id, table=destination_table,
            state_conn_id=state_conn_id, primary_key=primary_key, conflict=conflict, conflict_field=conflict_field,
            transform=transform, transform_sql=transform_sql, lookups=lookups, create_table=create_table,
            synced_at_column=synced_at_column, schema_contract=schema_contract, max_errors=max_errors,
            max_error_percent=max_error_percent, map_index_template=PART, doc_md=LOAD_DOC,
        ).expand(extraction=extract.output)  # fmt: skip
        advance = WatermarkAdvanceOperator(
            task_id="advance",
            extraction=extract.output,
            state_conn_id=state_conn_id,
            outlets=assets_of(destination_conn_id, destination_table),
            doc_md=ADVANCE_DOC,
        )
        extract >> load >> advance
    return group


def _patient_group(group_id: str, default_args: Mapping[str, Any] | None) -> TaskGroup:
    """Make a group whose own defaults give way to those of the DAG and of the groups around it."""
    group = TaskGroup(group_id)  # which takes over the defaults of the group around it
    group.default_args = {**PATIENCE, **(group.dag.default_args or {}), **group.default_args, **(default_args or {})}
    return group


def _check_literals(streams: Mapping[str, Any], source_conn_id: str | None, conflict: str, contract: str) -> None:
    """Show the author's slips when the file is parsed, not when the first window has been read."""
    if not any(isinstance(given, str) and "{{" in given for given in streams.values()):
        refuse_not_one(**streams)
    if source_conn_id is None and streams["uri"] is None:
        raise ConfigurationError("source_conn_id is missing: name the connection to read from.")
    endpoint = streams.get("endpoint")
    if endpoint is not None and "{{" not in str(endpoint) and "{%" not in str(endpoint):
        Endpoint.parse(endpoint)
    choices = {"conflict": (conflict, ConflictStrategy), "schema_contract": (contract, SchemaContract)}
    for name, (given, literal) in choices.items():
        if "{{" not in given:
            refuse_unknown(name, given, get_args(literal))
