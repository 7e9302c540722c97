"""Two queries compared row by row: exact, and in bounded memory."""

from __future__ import annotations

import math
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import psycopg
from psycopg import sql

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

BATCH_ROWS = 5_000
SHOWN_DIFFERENCES = 10

Row: TypeAlias = "tuple[float, tuple[str | None, ...]]"  # a key, which is an integer, and the row's values
END: Row = (math.inf, ())


@dataclass(frozen=True, slots=True)
class Difference:
    """One row that is not the same on both sides; it names columns, never values."""

    kind: Literal["missing", "extra", "different"]
    key: int
    columns: tuple[str, ...] = ()

    def __str__(self) -> str:
        if self.kind == "different":
            return f"row {self.key} differs in {', '.join(self.columns)}"
        return f"row {self.key} is {'missing in' if self.kind == 'missing' else 'only in'} the destination"


@dataclass(frozen=True, slots=True)
class Comparison:
    """What a comparison found: how many rows each side has, and the first differences."""

    source_rows: int
    destination_rows: int
    difference_count: int
    differences: tuple[Difference, ...]

    @property
    def is_equal(self) -> bool:
        """Whether every row is there on both sides, and the same."""
        return self.difference_count == 0

    def complaints(self) -> list[str]:
        """Name the first differences, and how many more there are."""
        untold = self.difference_count - len(self.differences)
        return [*map(str, self.differences), *([f"and {untold:,} more rows differ"] if untold else [])]


def compare(
    source: str, destination: str, *, source_query: str, destination_table: tuple[str, str], key: str, leave_out: str
) -> Comparison:
    """Compare a query on the source with a table of the destination.

    Values are compared as the text that PostgreSQL gives them, under the same settings on both sides, so
    that 1.0 and 1.00, or NULL and an empty string, are different.

    :param source: conninfo.
    :param destination: conninfo.
    :param source_query: a SELECT whose columns the table must have, by name.
    :param destination_table: schema and name.
    :param key: integer column that is unique on both sides.
    :param leave_out: column that is not compared (the time of loading).
    """
    query = sql.SQL("SELECT * FROM ({}\n) AS source").format(sql.SQL(source_query))
    table = sql.SQL("SELECT * FROM {}").format(sql.Identifier(*destination_table))
    with _session(source) as left, _session(destination) as right:
        columns = [name for name in _column_names(left, query) if name != leave_out]
        return compare_rows(_rows(left, query, key, columns), _rows(right, table, key, columns), columns)


def compare_rows(source: Iterable[Row], destination: Iterable[Row], columns: Sequence[str]) -> Comparison:
    """Walk two sides that are ordered by key, side by side.

    :param source: pairs of a key and the row's values, ascending by key without repeats.
    :param destination: as ``source``.
    :param columns: the names of the values.
    """
    left, right = _Side(source), _Side(destination)
    total = 0
    shown: list[Difference] = []
    for difference in _differences(left, right, columns):
        total += 1
        if len(shown) < SHOWN_DIFFERENCES:
            shown.append(difference)
    return Comparison(left.rows, right.rows, total, tuple(shown))


class _Side:
    """One side's rows with the next one in view, counted as they pass."""

    def __init__(self, rows: Iterable[Row]) -> None:
        self._iterator = iter(rows)
        self.rows = -1
        self.key: float = -math.inf
        self.values: tuple[str | None, ...] = ()
        self.advance()

    def advance(self) -> None:
        previous = self.key
        self.rows += 1
        self.key, self.values = next(self._iterator, END)
        if self.key <= previous:
            raise LookupError(f"Key {self.key} stands twice on one side, or out of order: it must be unique.")


def _differences(left: _Side, right: _Side, columns: Sequence[str]) -> Iterator[Difference]:
    while (key := min(left.key, right.key)) != math.inf:
        if left.key > key:
            yield Difference("extra", int(key))
        elif right.key > key:
            yield Difference("missing", int(key))
        elif left.values != right.values:
            yield Difference("different", int(key), _unequal(left.values, right.values, columns))
        for side in (left, right):
            if side.key == key:
                side.advance()


def _unequal(left: Sequence[str | None], right: Sequence[str | None], columns: Sequence[str]) -> tuple[str, ...]:
    return tuple(name for name, ours, theirs in zip(columns, left, right, strict=True) if ours != theirs)


@contextmanager
def _session(conninfo: str) -> Iterator[psycopg.Connection]:
    with psycopg.connect(conninfo) as connection:
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
        connection.execute("SET LOCAL TimeZone = 'UTC'")
        connection.execute("SET LOCAL DateStyle = 'ISO'")
        connection.execute("SET LOCAL IntervalStyle = 'postgres'")
        connection.execute("SET LOCAL extra_float_digits = 1")
        yield connection


def _column_names(connection: psycopg.Connection, query: sql.Composable) -> list[str]:
    cursor = connection.execute(sql.SQL("SELECT * FROM ({}) AS columns LIMIT 0").format(query))
    return [column.name for column in cursor.description or ()]


def _rows(connection: psycopg.Connection, query: sql.Composable, key: str, columns: Sequence[str]) -> Iterator[Row]:
    values = sql.SQL(", ").join(sql.SQL("{}::text").format(sql.Identifier(name)) for name in columns)
    statement = sql.SQL("SELECT compared.{key}, {values} FROM ({query}) AS compared ORDER BY compared.{key}").format(
        key=sql.Identifier(key), values=values, query=query
    )
    with connection.cursor(name="compared") as cursor:
        cursor.itersize = BATCH_ROWS
        cursor.execute(statement)
        yield from (_row(record) for record in cursor)


def _row(record: tuple[Any, ...]) -> Row:
    return int(record[0]), record[1:]
