"""Rows into a table: looked up, written where they differ, and read back, so that none is bent on its way."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from sqlalchemy import Table, and_, bindparam, func, insert, or_, select, types, update

from airflow_etl_sync.core.model import LoadRules
from airflow_etl_sync.systems.database.columns_written import WrittenColumn
from airflow_etl_sync.systems.database.landing import Landing
from airflow_etl_sync.systems.database.target import key_of, relation

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement, Connection, Select

    from airflow_etl_sync.core.model import TableName

_BOUND = "b_"
"""Before the name of a value in an update: names of columns are its own."""

_MOST_ROWS, _MOST_VALUES = 500, 900
"""So many rows, and values of keys, are looked up at a time: databases limit how many values a statement binds."""


class Row(NamedTuple):
    """A row on its way.

    :param key: by which it is told from others, in Python's terms
    :param values: as the driver takes them
    """

    key: tuple[Any, ...]
    values: tuple[Any, ...]


class Upserted(NamedTuple):
    """How many rows were written."""

    inserted: int = 0
    updated: int = 0

    def plus(self, other: Upserted) -> Upserted:
        return Upserted(self.inserted + other.inserted, self.updated + other.updated)


class BentError(Exception):
    """Values came out of the database other than they went in.

    :param columns: whose they are
    """

    def __init__(self, columns: Sequence[str]) -> None:
        super().__init__(", ".join(columns))
        self.columns = tuple(columns)


@dataclass(slots=True)
class Upserter:
    """Writes rows of a table by the rules of a load.

    :param columns: the written columns, in the order of a row's values
    :param key: those that name a record
    :param synced_at: what is written into ``synced_at_column``
    :param is_empty: whether the table has no rows but those that are written here
    """

    landing: Landing
    name: TableName
    columns: Sequence[WrittenColumn]
    key: Sequence[str]
    rules: LoadRules
    synced_at: Any
    is_empty: bool
    table: Table = field(init=False)
    _keys: list[int] = field(init=False)
    _others: list[int] = field(init=False)
    _lookups: dict[int, Select[Any]] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        names = [column.name for column in self.columns]
        managed = [self.rules.synced_at_column] if self.rules.synced_at_column else []
        self.table = relation(self.name, [*names, *managed])
        self._keys = [names.index(name) for name in self.key]
        self._others = [place for place, name in enumerate(names) if name not in self.key]

    @property
    def rows_at_once(self) -> int:
        """How many rows are written at a time."""
        return max(1, min(_MOST_ROWS, _MOST_VALUES // len(self.key)))

    def rows(self, columns: Sequence[Sequence[Any]]) -> list[Row]:
        """Rows of the values of each column."""
        return [self._row(values) for values in zip(*columns, strict=True)]

    def upsert(self, connection: Connection, rows: Sequence[Row]) -> Upserted:
        """Write those rows, of different keys and in their order, that are new or differ and may overwrite.

        :raises BentError: where the table does not hold a value as it is
        """
        there = {} if self.is_empty else self._find(connection, rows, locks=True)
        new = [row for row in rows if row.key not in there]
        changed = [row for row in rows if row.key in there and self._overwrites(row, there[row.key])]
        if new:
            connection.execute(insert(self.table), [self._named(row) for row in new])
        if changed:
            connection.execute(self._update(), [self._named(row, _BOUND) for row in changed])
        if new or changed:
            self._verify(connection, [*new, *changed])
        return Upserted(len(new), len(changed))

    def _verify(self, connection: Connection, rows: Sequence[Row]) -> None:
        found = self._find(connection, rows)
        bent: set[str] = set()
        for row in rows:
            if row.key not in found:
                bent.update(self.key)
            else:
                bent.update(self.columns[place].name for place in self._differing(row, found[row.key]))
        if bent:
            raise BentError(sorted(bent))

    def _find(self, connection: Connection, rows: Sequence[Row], *, locks: bool = False) -> dict[Any, Sequence[Any]]:
        """What the table has of these keys, by the key; a key that it only takes for one of them is not there."""
        query = self._lookup(len(rows))
        if locks:
            query = query.with_for_update()
        asked: dict[str, Any] = {}
        if len(self._keys) == 1:
            asked["keys"] = [row.values[self._keys[0]] for row in rows]
        else:
            asked = {f"k{place}_{n}": row.values[place] for n, row in enumerate(rows) for place in self._keys}
        return {self._key(answer): answer for answer in connection.execute(query, asked)}

    def _lookup(self, rows: int) -> Select[Any]:
        """The statement that finds so many rows, built once."""
        if rows not in self._lookups:
            columns = [
                self.landing.selected(self.table.c[key_of(place)], column.target.type)
                for place, column in enumerate(self.columns)
            ]
            self._lookups[rows] = select(*columns).where(self._is_one_of(rows))
        return self._lookups[rows]

    def _is_one_of(self, rows: int) -> ColumnElement[bool]:
        keys = [(self.table.c[key_of(place)], place) for place in self._keys]
        if len(keys) == 1:
            return keys[0][0].in_(bindparam("keys", expanding=True, type_=types.NullType()))
        same = [and_(*(column == _bound(f"k{place}_{n}") for column, place in keys)) for n in range(rows)]
        return or_(*same)

    def _overwrites(self, row: Row, old: Sequence[Any]) -> bool:
        if self.rules.conflict == "dest_wins":
            return False
        if self.rules.conflict == "latest_wins":
            place = next(n for n, column in enumerate(self.columns) if column.name == self.rules.conflict_field)
            if not self.columns[place].is_as_new(row.values[place], old[place]):
                return False
        return any(True for _ in self._differing(row, old))

    def _differing(self, row: Row, other: Sequence[Any]) -> Iterator[int]:
        """The places of the columns in which a row differs from the table's, but for the key's."""
        keeps_old = self.rules.conflict == "merge_non_null"
        for place in self._others:
            value = row.values[place]
            if not (keeps_old and value is None) and not self.columns[place].is_held(value, other[place]):
                yield place

    def _update(self) -> Any:
        columns = self.table.c
        new: dict[str, Any] = {}
        for place in self._others:
            value: Any = _bound(f"{_BOUND}{key_of(place)}")
            is_kept = self.rules.conflict == "merge_non_null"
            new[key_of(place)] = func.coalesce(value, columns[key_of(place)]) if is_kept else value
        if self.rules.synced_at_column:
            new[key_of(len(self.columns))] = _bound(f"{_BOUND}{key_of(len(self.columns))}")
        same = [columns[key_of(place)] == _bound(f"{_BOUND}{key_of(place)}") for place in self._keys]
        return update(self.table).where(*same).values(new)

    def _named(self, row: Row, prefix: str = "") -> dict[str, Any]:
        named = {prefix + key_of(place): value for place, value in enumerate(row.values)}
        if self.rules.synced_at_column:
            named[prefix + key_of(len(self.columns))] = self.synced_at
        return named

    def _row(self, values: tuple[Any, ...]) -> Row:
        return Row(self._key(values), values)

    def _key(self, values: Sequence[Any]) -> tuple[Any, ...]:
        return tuple([self.columns[place].told(values[place]) for place in self._keys])


def _bound(name: str) -> Any:
    """A value that is bound as it is, whatever the database makes of it."""
    return bindparam(name, type_=types.NullType())
