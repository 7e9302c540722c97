"""A table as its database's catalogue has it, for those who look before the first run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from airflow_etl_sync.core.model import TableName
from airflow_etl_sync.systems.postgres import sql

if TYPE_CHECKING:
    import psycopg

TABLE_KINDS = ("r", "p")  # ordinary and partitioned tables


@dataclass(frozen=True, slots=True)
class ColumnFacts:
    """A column.

    :param type: as it is declared
    :param base_type: the name of the built-in type below any domain, or "enum", or ""
    :param is_required: whether a new row must bring a value for it
    :param default: the expression; empty where there is none
    :param sequence_cache: how many values a session takes at once from the column's own sequence; None without one
    """

    name: str
    type: str
    base_type: str
    is_never_null: bool
    is_required: bool
    default: str
    sequence_cache: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class TableFacts:
    """A table, or what else rows can be read from.

    :param kind: PostgreSQL's letter for it
    :param bytes: of its rows, partitions included
    :param updates: how many rows were changed since the server's statistics were reset
    :param has_update_trigger: whether a trigger looks at each row before it is changed
    :param unique_keys: the columns of each primary key and unique index
    :param indexed: the columns whose ranges an index finds
    """

    table: TableName
    kind: str
    is_readable: bool
    is_writable: bool
    bytes: int
    updates: int
    has_update_trigger: bool
    columns: dict[str, ColumnFacts]
    primary_key: tuple[str, ...]
    unique_keys: tuple[frozenset[str], ...]
    indexed: frozenset[str]

    @property
    def is_table(self) -> bool:
        return self.kind in TABLE_KINDS

    def vouches_for(self, key: tuple[str, ...]) -> bool:
        """Whether the database itself sees to it that no two rows have this key, and that each has it whole."""
        unique = any(columns <= set(key) for columns in self.unique_keys)
        return unique and all(self.columns[name].is_never_null for name in key)


def read_facts(connection: psycopg.Connection[Any], table: TableName) -> TableFacts | None:
    """Look at a table; None where there is none, or this login may not see its schema."""
    relation = {"relation": sql.names.relation_name(table)}
    row = connection.execute(sql.facts.READ_TABLE, relation).fetchone()
    if row is None:
        return None
    kind, is_readable, is_writable, size, updates, has_update_trigger = row
    columns = [ColumnFacts(*each) for each in connection.execute(sql.facts.READ_COLUMNS, relation)]
    return TableFacts(
        table=table,
        kind=kind,
        is_readable=is_readable,
        is_writable=is_writable,
        bytes=size,
        updates=updates,
        has_update_trigger=has_update_trigger,
        columns={column.name: column for column in columns},
        primary_key=tuple(name for (name,) in connection.execute(sql.streams.KEY_COLUMNS, relation)),
        unique_keys=tuple(frozenset(names) for (names,) in connection.execute(sql.target.UNIQUE_KEYS, relation)),
        indexed=frozenset(name for (name,) in connection.execute(sql.facts.FIRST_COLUMNS_OF_INDEXES, relation)),
    )


@dataclass(frozen=True, slots=True)
class ViewOfOthers:
    """What a login sees of transactions in flight.

    :param is_standby: whether the server is one, where nobody sees those of the primary
    :param sees_all: whether it sees all sessions of the server
    """

    is_standby: bool
    sees_all: bool

    @property
    def is_clear(self) -> bool:
        return self.sees_all and not self.is_standby


def read_view_of_others(connection: psycopg.Connection[Any]) -> ViewOfOthers:
    """What this login sees of others."""
    row: Any = connection.execute(sql.facts.READ_VIEW_OF_OTHERS).fetchone()
    return ViewOfOthers(*row)
