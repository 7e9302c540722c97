"""From an operator's arguments to the terms of the journey: stream, window rules, load rules, identity."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, TypeGuard, cast

from airflow_etl_sync.core.files import FileSet
from airflow_etl_sync.core.keys import KeyStream, ReconcileRules
from airflow_etl_sync.core.model import LoadRules, RunIdentity, Stream, TableName, WindowRules
from airflow_etl_sync.errors import ConfigurationError
from airflow_etl_sync.operators import _arguments as arguments

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airflow.sdk import Context

    from airflow_etl_sync.cdc.tables import CdcTable
    from airflow_etl_sync.core.history import ApplyMode
    from airflow_etl_sync.core.keys import DeleteMode
    from airflow_etl_sync.core.model import ConflictStrategy, OnCursorNull, SchemaContract
    from airflow_etl_sync.hooks.destinations import Reached
    from airflow_etl_sync.systems.database.source import DatabaseSource
    from airflow_etl_sync.systems.files.source import FileSource
    from airflow_etl_sync.systems.http.source import HttpSource
    from airflow_etl_sync.systems.postgres.access import PostgresAccess
    from airflow_etl_sync.systems.postgres.source import PostgresSource


class StreamArguments(Protocol):
    """What says which rows are read."""

    sync_key: Any
    cursor_field: Any
    table: Any
    sql: Any
    endpoint: Any
    primary_key: Any
    columns: Any
    where: Any
    on_cursor_null: Any
    uri: Any
    file_options: Any


class WindowArguments(Protocol):
    """What says which slice of them."""

    lag: Any
    initial_value: Any
    range_start: Any
    range_end: Any
    full_refresh: Any


class LoadArguments(Protocol):
    """What says how they land."""

    primary_key: Any
    conflict: Any
    conflict_field: Any
    create_table: Any
    synced_at_column: Any
    schema_contract: Any
    max_errors: Any
    max_error_percent: Any


class CdcArguments(LoadArguments, Protocol):
    """What says where captured changes go."""

    destination_tables: Any
    apply: Any
    delete: Any


class KeyArguments(Protocol):
    """What says whose keys are compared."""

    sync_key: Any
    table: Any
    sql: Any
    primary_key: Any
    where: Any


class ReconcileArguments(Protocol):
    """What says what becomes of rows that are gone from the source."""

    delete: Any
    max_delete_percent: Any
    destination_where: Any
    add_column: Any
    synced_at_column: Any


def stream_of(given: StreamArguments) -> Stream:
    """Give the stream that the arguments describe.

    :raises ConfigurationError: naming the argument that is missing or wrong
    """
    table = arguments.as_optional_text("table", given.table)
    on_cursor_null = arguments.as_optional_text("on_cursor_null", given.on_cursor_null)
    return Stream(
        sync_key=arguments.as_text("sync_key", given.sync_key),
        cursor_field=arguments.as_text("cursor_field", given.cursor_field),
        table=None if table is None else TableName.parse(table),
        sql=_query(arguments.as_optional_text("sql", given.sql)),
        endpoint=arguments.as_endpoint("endpoint", given.endpoint),
        primary_key=arguments.as_names("primary_key", given.primary_key),
        columns=arguments.as_names("columns", given.columns),
        where=arguments.as_optional_text("where", given.where),
        on_cursor_null=cast("OnCursorNull", on_cursor_null or "include"),
        files=_files_of(given),
    )


def window_rules_of(given: WindowArguments) -> WindowRules:
    """Give the window rules that the arguments describe.

    :raises ConfigurationError: naming the argument that is wrong
    """
    return WindowRules(
        lag=arguments.as_lag("lag", given.lag),
        initial_value=arguments.as_cursor_text("initial_value", given.initial_value),
        range_start=arguments.as_cursor_text("range_start", given.range_start),
        range_end=arguments.as_cursor_text("range_end", given.range_end),
        full_refresh=arguments.as_flag("full_refresh", given.full_refresh),
    )


def load_rules_of(given: LoadArguments) -> LoadRules:
    """Give the load rules that the arguments describe.

    :raises ConfigurationError: naming the argument that is wrong
    """
    conflict = arguments.as_optional_text("conflict", given.conflict)
    contract = arguments.as_optional_text("schema_contract", given.schema_contract)
    return LoadRules(
        primary_key=arguments.as_names("primary_key", given.primary_key),
        conflict=cast("ConflictStrategy", conflict or "source_wins"),
        conflict_field=arguments.as_optional_text("conflict_field", given.conflict_field),
        create_table=arguments.as_flag("create_table", given.create_table, default=True),
        synced_at_column=arguments.as_optional_text("synced_at_column", given.synced_at_column),
        schema_contract=cast("SchemaContract", contract or "evolve"),
        max_errors=arguments.as_optional_number("max_errors", given.max_errors),
        max_error_percent=arguments.as_percent("max_error_percent", given.max_error_percent),
    )


def cdc_tables_of(given: CdcArguments, tables: Sequence[TableName]) -> list[CdcTable]:
    """Give the captured tables that the arguments describe.

    :raises ConfigurationError: naming the argument that is missing or wrong
    """
    from airflow_etl_sync.cdc.tables import CdcTable

    if not tables:
        raise ConfigurationError("tables is missing: name the tables whose changes are captured, here or there.")
    targets = arguments.as_table_map("destination_tables", given.destination_tables)
    strange = [str(table) for table in targets if table not in tables]
    if strange:
        raise ConfigurationError(f"destination_tables names {', '.join(strange)}, which tables does not.")
    rules = load_rules_of(given)
    apply = cast("ApplyMode", arguments.as_optional_text("apply", given.apply) or "upsert")
    delete = cast("DeleteMode | None", arguments.as_optional_text("delete", given.delete))
    if delete and apply == "history":
        raise ConfigurationError(
            "apply='history' appends deletes as rows and never deletes or flags any: leave out delete."
        )
    return [
        CdcTable(source=table, target=targets.get(table, table), rules=rules, delete=delete or "hard", apply=apply)
        for table in tables
    ]


def key_stream_of(given: KeyArguments) -> KeyStream:
    """Give the stream whose keys the arguments name.

    :raises ConfigurationError: naming the argument that is missing or wrong
    """
    table = arguments.as_optional_text("table", given.table)
    return KeyStream(
        sync_key=arguments.as_text("sync_key", given.sync_key),
        table=None if table is None else TableName.parse(table),
        sql=_query(arguments.as_optional_text("sql", given.sql)),
        primary_key=arguments.as_names("primary_key", given.primary_key),
        where=arguments.as_optional_text("where", given.where),
    )


def reconcile_rules_of(given: ReconcileArguments) -> ReconcileRules:
    """Give the reconcile rules that the arguments describe.

    :raises ConfigurationError: naming the argument that is wrong
    """
    delete = arguments.as_optional_text("delete", given.delete)
    percent = arguments.as_percent("max_delete_percent", given.max_delete_percent)
    return ReconcileRules(
        delete=cast("DeleteMode", delete or "hard"),
        max_delete_percent=10 if percent is None else percent,
        where=arguments.as_optional_text("destination_where", given.destination_where),
        add_column=arguments.as_flag("add_column", given.add_column, default=True),
        synced_at_column=arguments.as_optional_text("synced_at_column", given.synced_at_column),
    )


def access_by(given: Any, name: str) -> PostgresAccess:
    """Give the way into the database whose connection an argument names.

    :raises ConfigurationError: where it names none, or there is no such connection
    """
    from airflow_etl_sync.hooks.connections import postgres_access

    return postgres_access(arguments.as_text(name, getattr(given, name)))


def state_by(given: Any) -> PostgresAccess:
    """Give the way into the database that keeps the state: ``state_conn_id``'s, or the destination's own.

    :raises ConfigurationError: where neither is named, there is no such connection, or it is none to PostgreSQL
    """
    from airflow_etl_sync.hooks.destinations import state_access

    named = arguments.as_optional_text("state_conn_id", given.state_conn_id)
    return state_access(named or arguments.as_text("destination_conn_id", getattr(given, "destination_conn_id", None)))


def destination_by(given: Any, table: TableName) -> Reached:
    """Give the destination whose connection ``destination_conn_id`` names, of whichever system that is.

    :raises ConfigurationError: where it names none, there is no such connection, or nothing says where the state is
        kept
    """
    from airflow_etl_sync.hooks.destinations import destination_of

    state_conn_id = arguments.as_optional_text("state_conn_id", given.state_conn_id)
    return destination_of(arguments.as_text("destination_conn_id", given.destination_conn_id), table, state_conn_id)


def note_place(reached: Reached, sync_key: str, dag_id: str) -> None:
    """Note by which connection a table away from the state is loaded, for those who replay its failed records."""
    from airflow_etl_sync.errors import DestinationError, explaining
    from airflow_etl_sync.state import loaded_places, tables

    if reached.table_beside_state is not None:
        return
    place = loaded_places.LoadedPlace(reached.destination.target, reached.conn_id, dag_id)
    tables.ensure(reached.destination.engine)
    with explaining(DestinationError, "note the connection"), reached.destination.engine.begin() as connection:
        loaded_places.note(connection, sync_key, place)


def source_by(given: Any, stream: Stream) -> PostgresSource | DatabaseSource | HttpSource | FileSource:
    """Give the source whose connection ``source_conn_id`` names, of whichever system that is.

    :raises ConfigurationError: where it names none, or there is no such connection
    """
    from airflow_etl_sync.hooks.sources import files_of, source_of

    if stream.files is not None:
        conn_id, lag = arguments.as_optional_text("source_conn_id", given.source_conn_id), given.lag
        return files_of(conn_id, stream, stream.files, arguments.as_lag("lag", lag))
    return source_of(arguments.as_text("source_conn_id", given.source_conn_id), stream)


def may_stay_packed(source: Any, destination_conn_id: Any) -> TypeGuard[PostgresSource]:
    """Whether the rows of a source go to where they are understood as the source packs them.

    :raises ConfigurationError: where there is no such connection
    """
    from airflow_etl_sync.hooks.connections import is_postgres
    from airflow_etl_sync.systems.postgres.source import PostgresSource

    conn_id = arguments.as_optional_text("destination_conn_id", destination_conn_id)
    return conn_id is not None and isinstance(source, PostgresSource) and is_postgres(conn_id)


def splitting_source_by(given: Any, stream: Stream) -> PostgresSource:
    """Give the source whose connection ``source_conn_id`` names, which must be one that can be split.

    :raises ConfigurationError: where it names none, or one of a system that cannot be
    """
    from airflow_etl_sync.systems.postgres.source import PostgresSource

    source = source_by(given, stream)
    if not isinstance(source, PostgresSource):
        raise ConfigurationError(
            "Only streams of PostgreSQL are split by themselves: for others give range_start and range_end by hand."
        )
    return source


def _files_of(given: StreamArguments) -> FileSet | None:
    uri, options = (
        arguments.as_optional_text("uri", given.uri),
        arguments.as_options("file_options", given.file_options),
    )
    if uri is None and options:
        raise ConfigurationError("file_options says how files are read: give their uri too, or leave it out.")
    return None if uri is None else FileSet.parse(uri, options)


def table_of(name: str, value: object) -> TableName:
    """Give the table that an argument names.

    :raises ConfigurationError: where it is missing or no table name
    """
    return TableName.parse(arguments.as_text(name, value))


def identity_of(context: Context) -> RunIdentity:
    """Tell whose run this is, as Airflow names it."""
    instance = context["ti"]
    map_index = -1 if instance.map_index is None else instance.map_index
    return RunIdentity(instance.dag_id, instance.task_id, instance.run_id, map_index)


def _query(sql: str | None) -> str | None:
    if sql is not None and not sql.strip("; \t\r\n"):
        raise ConfigurationError("sql is empty: give the query to read.")
    return sql
