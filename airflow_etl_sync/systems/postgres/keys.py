"""The keys of a PostgreSQL table or query, read in bulk and asked for again."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing
from functools import cached_property
from typing import TYPE_CHECKING, Any

from airflow_etl_sync.core.keys import KeyBlock, KeyStream
from airflow_etl_sync.core.model import Stream, Window
from airflow_etl_sync.errors import ConfigurationError, SchemaError, SourceError, explaining
from airflow_etl_sync.systems.postgres import sql
from airflow_etl_sync.systems.postgres.access import PostgresAccess
from airflow_etl_sync.systems.postgres.settings import pin_settings
from airflow_etl_sync.systems.postgres.source import PostgresSource
from airflow_etl_sync.systems.postgres.types import with_whole_times

if TYPE_CHECKING:
    import psycopg
    import pyarrow as pa

LONGEST_QUESTION = "60s"
"""While the source answers, the destination's table is locked against writers."""


class PostgresKeySource:
    """Reads keys of a PostgreSQL database, see :class:`~airflow_etl_sync.systems.base.KeySource`.

    Keys are found again by the source's own equality. Where the destination's is coarser (citext there, text
    here), a row that came back in another spelling since its keys were read is not found.

    :param access: the database
    :param keys: whose keys
    """

    def __init__(self, access: PostgresAccess, keys: KeyStream) -> None:
        self.access = access
        self._keys = keys

    def read_keys(self) -> Generator[pa.RecordBatch]:
        self._types  # noqa: B018 - asked for now, so that no table is locked meanwhile
        with closing(PostgresSource(self.access, self._stream).read(Window(), None)) as batches:
            for batch in batches:
                yield with_whole_times(batch)

    def find_present(self, keys: KeyBlock) -> set[int]:
        from psycopg import RawCursor
        from psycopg.errors import QueryCanceled

        statement = sql.reconciling.find_present(self._stream, self._types)
        with (
            explaining(SourceError, f"ask for keys of {self._keys.sync_key!r} again"),
            closing(self.access.connect()) as connection,
            connection.transaction(),
        ):
            pin_settings(connection)
            connection.execute(sql.sessions.LIMIT_TIME, {"time": LONGEST_QUESTION})
            try:
                found = RawCursor(connection).execute(statement, [list(column) for column in keys.columns])
            except QueryCanceled as cancelled:
                raise SourceError(
                    f"The source did not find a block of keys of {self._keys.sync_key!r} again within "
                    f"{LONGEST_QUESTION}, while nobody may write to the destination: see that an index serves the key.",
                    sqlstate=cancelled.sqlstate,
                ) from None
            return {place - 1 for (place,) in found}

    @cached_property
    def _stream(self) -> Stream:
        return self._keys.keyed(self._keys.primary_key or self._own_key())

    def _own_key(self) -> tuple[str, ...]:
        if self._keys.table is None:
            raise ConfigurationError(
                f"primary_key is missing: name the columns that tell {self._keys.sync_key!r} apart."
            )
        relation = {"relation": sql.names.relation_name(self._keys.table)}
        with (
            explaining(SourceError, f"describe the keys of {self._keys.sync_key!r}"),
            closing(self.access.connect()) as connection,
        ):
            found = tuple(row[0] for row in connection.execute(sql.streams.KEY_COLUMNS, relation))
        if not found:
            raise SchemaError(
                f"The source has no table {str(self._keys.table)!r} with a primary key that this login may see: set "
                "primary_key to the columns that tell its rows apart."
            )
        return found

    @cached_property
    def _types(self) -> list[str]:
        declared = dict(PostgresSource(self.access, self._stream).describe().columns)
        with (
            explaining(SourceError, f"describe the keys of {self._keys.sync_key!r}"),
            closing(self.access.connect()) as connection,
        ):
            return plain_types(connection, [declared[name] for name in self._stream.primary_key])


def plain_types(connection: psycopg.Connection[Any], types: list[str]) -> list[str]:
    """The types without length or precision; text for those that this database does not have."""
    return [row[0] or "text" for row in connection.execute(sql.streams.PLAIN_TYPES, {"types": types})]
