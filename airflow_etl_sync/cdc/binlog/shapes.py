"""The tables of a binary log's events, and how the rows of each are read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import count
from zlib import crc32

from airflow_etl_sync.cdc.binlog.codecs import codec_of
from airflow_etl_sync.cdc.binlog.rows import Shape
from airflow_etl_sync.cdc.binlog.table_maps import ToldColumn, ToldTable, name_of, table_of
from airflow_etl_sync.cdc.binlog.texts import Codec
from airflow_etl_sync.core.changes import Identity, Relation, RelationColumn
from airflow_etl_sync.core.columns import ColumnTypes
from airflow_etl_sync.errors import ConfigurationError, StateError
from airflow_etl_sync.systems.database.columns import DatabaseColumn

TablesNow = Mapping[str, Mapping[str, DatabaseColumn]]
"""The columns of tables as they are now, by ``schema.table`` and name."""

_FULL: Identity = "f"
_IS_KEY = True
"""Rows are told whole, so every column is part of what tells them apart."""


@dataclass(slots=True)
class Shapes:
    """The shapes that the captured tables have had so far.

    :param charsets: character sets by the numbers of their collations
    :param now: the captured tables
    """

    is_mariadb: bool
    charsets: Mapping[int, str]
    now: TablesNow
    _known: dict[bytes, Shape | None] = field(default_factory=dict)
    _by_id: dict[int, Shape] = field(default_factory=dict)
    _ids: Iterator[int] = field(default_factory=lambda: count(1))

    def of(self, told: bytes) -> Shape | None:
        """The shape of the table that an event tells; None where it is not captured.

        :param told: the event behind its number and flags: the same for all changes of a table until it is altered
        :raises StateError: where the event does not name the table's columns
        :raises ConfigurationError: where a column's values cannot be read
        """
        if told not in self._known:
            self._known[told] = self._new(told) if name_of(told) in self.now else None
        return self._known[told]

    def untold(self, table: str) -> Relation:
        """A table of which no event has told a shape."""
        schema, _, name = table.partition(".")
        columns = tuple(RelationColumn(each, _IS_KEY, 0, 0) for each in self.now[table])
        return self._remember(Relation(next(self._ids), schema, name, _FULL, columns), ()).relation

    def types(self, relations: Iterable[Relation]) -> dict[int, dict[str, ColumnTypes]]:
        """The types of PostgreSQL for the columns of tables, by the relation's id and the column's name.

        They are those of the first copy, as far as the table still has the column.
        """
        return {relation.id: self._types(relation) for relation in relations}

    def _types(self, relation: Relation) -> dict[str, ColumnTypes]:
        now = self.now.get(str(relation), {})
        told = [codec.type for codec in self._by_id[relation.id].codecs] or ["text"] * len(relation.columns)
        names = [column.name for column in relation.columns]
        types = [now[name].type if name in now else type_ for name, type_ in zip(names, told, strict=True)]
        return {name: ColumnTypes(type_, type_) for name, type_ in zip(names, types, strict=True)}

    def _new(self, told: bytes) -> Shape:
        table = table_of(told, is_mariadb=self.is_mariadb)
        if not all(column.name for column in table.columns):
            raise StateError(
                f"A change of {table} was logged without the names of its columns: SET GLOBAL binlog_row_metadata = "
                "'FULL', let the writers connect anew, then run once with resync."
            )
        columns = tuple(RelationColumn(each.name, _IS_KEY, each.kind, _modifier(each)) for each in table.columns)
        relation = Relation(next(self._ids), table.schema, table.name, _FULL, columns)
        return self._remember(relation, [self._codec(table, column) for column in table.columns])

    def _remember(self, relation: Relation, codecs: Iterable[Codec]) -> Shape:
        shape = self._by_id[relation.id] = Shape(relation, tuple(codecs))
        return shape

    def _codec(self, table: ToldTable, column: ToldColumn) -> Codec:
        now = self.now[str(table)].get(column.name)
        try:
            return codec_of(column, self.charsets.get(column.collation, ""), "" if now is None else now.declared)
        except LookupError:
            raise ConfigurationError(
                f"The column {column.name!r} of {table} has a type or a character set whose values cannot be read from "
                "the log: change it, or leave the table out."
            ) from None


def _modifier(column: ToldColumn) -> int:
    """A number that is another one where the column's length, precision or words are others."""
    return crc32(repr(column).encode()) >> 1
