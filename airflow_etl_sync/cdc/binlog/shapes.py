"""The tables of a binary log's events, and how the rows of each are read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import count
from typing import TYPE_CHECKING
from zlib import crc32

from airflow_etl_sync.cdc.binlog.codecs import CHARACTER_TYPES, WORD_TYPES, codec_of
from airflow_etl_sync.cdc.binlog.rows import Shape
from airflow_etl_sync.cdc.binlog.texts import Codec
from airflow_etl_sync.core.changes import Relation, RelationColumn
from airflow_etl_sync.core.columns import ColumnTypes
from airflow_etl_sync.errors import ConfigurationError, StateError
from airflow_etl_sync.systems.database.columns import DatabaseColumn

if TYPE_CHECKING:
    from pymysqlreplication.column import Column
    from pymysqlreplication.row_event import TableMapEvent

TablesNow = Mapping[str, Mapping[str, DatabaseColumn]]
"""The columns of tables as they are now, by ``schema.table`` and name."""

_HEADER = 1 + 19
"""In front of an event: a byte of the protocol, and what all events begin with."""
_NUMBER = 8
"""In front of what a table is: its number, another after each restart, and flags."""


@dataclass(slots=True)
class Shapes:
    """The shapes that tables have had so far.

    :param charsets: character sets by the numbers of their collations
    """

    charsets: Mapping[int, str]
    now: TablesNow
    _known: dict[bytes, Shape] = field(default_factory=dict)
    _by_id: dict[int, Shape] = field(default_factory=dict)
    _ids: Iterator[int] = field(default_factory=lambda: count(1))

    def of(self, event: TableMapEvent) -> Shape:
        """The shape of the table that an event tells.

        :raises StateError: where the event does not name the table's columns
        :raises ConfigurationError: where a column's values cannot be read
        """
        told = event.packet.get_all_data()[_HEADER + _NUMBER : _HEADER + event.event_size]
        shape = self._known.get(told)
        if shape is None:
            shape = self._known[told] = self._new(event)
        return shape

    def untold(self, table: str) -> Relation:
        """A table of which no event has told a shape."""
        schema, _, name = table.partition(".")
        columns = tuple(RelationColumn(each, True, 0, 0) for each in self.now[table])
        relation = Relation(next(self._ids), schema, name, "f", columns)
        self._by_id[relation.id] = Shape(relation, ())
        return relation

    def types(self, relations: Iterable[Relation]) -> dict[int, dict[str, ColumnTypes]]:
        """The types of PostgreSQL for the columns of tables, by the relation's id and the column's name."""
        return {relation.id: self._types(relation) for relation in relations}

    def _types(self, relation: Relation) -> dict[str, ColumnTypes]:
        now = self.now.get(str(relation), {})
        told = [codec.type for codec in self._by_id[relation.id].codecs] or ["text"] * len(relation.columns)
        names = [column.name for column in relation.columns]
        types = [now[name].type if name in now else type_ for name, type_ in zip(names, told, strict=True)]
        return {name: ColumnTypes(type_, type_) for name, type_ in zip(names, types, strict=True)}

    def _new(self, event: TableMapEvent) -> Shape:
        table = f"{event.schema}.{event.table}"
        if any(not column.name for column in event.columns):
            raise StateError(
                f"A change of {table} was logged without the names of its columns: SET GLOBAL binlog_row_metadata = "
                "'FULL', let the writers connect anew, then run once with resync."
            )
        columns = tuple(RelationColumn(each.name, True, each.type, _modifier(each)) for each in event.columns)
        codecs = [self._codec(table, column, charset) for column, charset in self._with_charsets(event)]
        shape = Shape(Relation(next(self._ids), event.schema, event.table, "f", columns), codecs)
        self._by_id[shape.relation.id] = shape
        return shape

    def _with_charsets(self, event: TableMapEvent) -> Iterator[tuple[Column, str]]:
        """The columns, each with its character set, if it has one: the event lists those of such columns only."""
        told = event.optional_metadata
        of_characters, of_words = iter(told.charset_collation_list or ()), iter(told.enum_and_set_collation_list or ())
        for column in event.columns:
            numbers: Iterator[int] = iter(())
            if column.type in CHARACTER_TYPES[event.dbms]:
                numbers = of_characters
            elif column.type in WORD_TYPES:
                numbers = of_words
            yield column, self.charsets.get(next(numbers, 0), "")

    def _codec(self, table: str, column: Column, charset: str) -> Codec:
        now = self.now.get(table, {}).get(column.name)
        try:
            return codec_of(column, charset, "" if now is None else now.declared)
        except LookupError:
            raise ConfigurationError(
                f"The column {column.name!r} of {table} has a type or a character set whose values cannot be read from "
                "the log: change it, or leave the table out."
            ) from None


def _modifier(column: Column) -> int:
    """A number that is another one where the column's length, precision or words are others."""
    return crc32(repr(sorted(column.data.items())).encode()) >> 1
