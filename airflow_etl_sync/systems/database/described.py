"""What a stream is in its database: its columns, its key, and what is special about the database."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from airflow_etl_sync.core.model import Stream
from airflow_etl_sync.errors import ConfigurationError, SchemaError
from airflow_etl_sync.systems.database import sql
from airflow_etl_sync.systems.database.columns import DatabaseColumn
from airflow_etl_sync.systems.database.dialect import Dialect, Found
from airflow_etl_sync.systems.database.faults import syntax_error_in
from airflow_etl_sync.systems.database.mysql import MySql
from airflow_etl_sync.systems.database.sqlite import Sqlite
from airflow_etl_sync.systems.database.telling import told_columns
from airflow_etl_sync.systems.postgres.placement import is_placed
from airflow_etl_sync.systems.reading import refuse_missing_columns, refuse_missing_key, refuse_missing_table

if TYPE_CHECKING:
    import pyarrow as pa
    from sqlalchemy import Connection


@dataclass(frozen=True, slots=True, kw_only=True)
class Described:
    """The stream, its columns resolved against the database.

    :param dialect: what is special about it
    """

    dialect: Dialect
    columns: tuple[DatabaseColumn, ...]
    primary_key: tuple[str, ...]
    is_key_unique: bool
    is_cursor_never_null: bool

    def column(self, name: str) -> DatabaseColumn:
        return next(column for column in self.columns if column.name == name)

    @property
    def schema(self) -> pa.Schema:
        """What every batch of it has."""
        import pyarrow as pa

        return pa.schema([column.field() for column in self.columns])


def refuse_placed(sync_key: str, query: str | None) -> None:
    """:raises ConfigurationError: where a query places its window itself"""
    if is_placed(query or ""):
        raise ConfigurationError(
            f"The query of {sync_key!r} has a :window, which goes with PostgreSQL only: leave it "
            "out, and the window is put around the query."
        )


def describe(connection: Connection, stream: Stream) -> Described:
    """Look at a stream.

    :raises EtlSyncError: where it is not there, or cannot be read
    """
    from sqlalchemy import inspect

    if stream.table is not None:
        name, schema = stream.table.name, stream.table.schema
        refuse_missing_table(stream, is_there=inspect(connection).has_table(name, schema=schema))
    dialect = dialect_of(connection)
    names, found = _look_at(connection, dialect, stream)
    key = stream.primary_key or found.own_key
    refuse_missing_columns(stream, (stream.cursor_field, *stream.primary_key), names)
    refuse_missing_key(stream, key)
    columns = found.columns if found.columns is not None else told_columns(connection, stream, names)
    return Described(
        dialect=dialect,
        columns=columns,
        primary_key=key,
        is_key_unique=bool(found.own_key) and set(key) == set(found.own_key),
        is_cursor_never_null=stream.cursor_field in found.never_null,
    )


def _look_at(connection: Connection, dialect: Dialect, stream: Stream) -> tuple[list[str], Found]:
    try:
        described = connection.execute(sql.describe(stream))
    except Exception as error:
        said = syntax_error_in(error)
        if said is None:
            raise
        raise ConfigurationError(f"The source cannot read the SQL of {stream.sync_key!r}: {said}") from None
    names = [each[0] for each in described.cursor.description]  # as the database says them
    try:
        found = dialect.find(connection, stream, names, described.cursor)
    except KeyError:  # between the two looks
        raise SchemaError(f"A column of {stream.sync_key!r} has changed its name just now: run again.") from None
    if not stream.primary_key and not set(found.own_key) <= set(names):  # columns are named, and the key is not
        return _look_at(connection, dialect, replace(stream, primary_key=found.own_key))
    return names, found


def dialect_of(connection: Connection) -> Dialect:
    """What is special about the database that a connection leads to."""
    known: dict[tuple[str, str], Dialect] = {("mysql", "pymysql"): MySql(), ("mariadb", "pymysql"): MySql()}
    if connection.dialect.name == "sqlite":
        return Sqlite()
    return known.get((connection.dialect.name, connection.dialect.driver), Dialect())
