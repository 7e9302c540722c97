"""The keys of a table or query of any database that SQLAlchemy speaks, read in bulk and asked for again."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any
from uuid import UUID

from airflow_etl_sync.core.keys import KeyBlock, KeyStream
from airflow_etl_sync.core.model import Stream
from airflow_etl_sync.errors import ConfigurationError, SchemaError, SourceError, explaining
from airflow_etl_sync.systems.database import moments, sql
from airflow_etl_sync.systems.database.access import DatabaseAccess
from airflow_etl_sync.systems.database.described import Described, describe, dialect_of, refuse_placed
from airflow_etl_sync.systems.database.faults import fault_in
from airflow_etl_sync.systems.database.fetching import batches_of
from airflow_etl_sync.systems.database.values import Reader, UnfitError, told
from airflow_etl_sync.systems.reading import empty

if TYPE_CHECKING:
    import pyarrow as pa
    from sqlalchemy import ColumnElement, Connection

    from airflow_etl_sync.systems.database.columns import DatabaseColumn

LONGEST_QUESTION_SECONDS = 60.0
"""While the source answers, the destination's table is locked against writers."""

MOST_KEYS, MOST_VALUES = 300, 900
"""So many are asked for in one statement; some databases take no more values."""

Asked = dict[tuple[Any, ...], list[int]]
"""Keys in Python's terms, and their places in the block."""


class DatabaseKeySource:
    """Reads keys of another database, see :class:`~airflow_etl_sync.systems.base.KeySource`.

    A key is found again only in the very spelling that is asked for. The source is asked by its own equality, which
    may be coarser than PostgreSQL's (most collations of MariaDB take ``'a'``, ``'A'`` and ``'a '`` for one), and what
    it answers is compared here, value by value. So where a key is spelt anew at the source (``'a'`` becomes ``'A'``),
    the destination's row ``'a'`` counts as gone, and ``'A'`` is another row, which a sync brings once its cursor has
    grown. Where the destination's equality is the coarser one (``citext`` there), a row that came back in another
    spelling since its keys were read is not found.

    Where no column of the key is one by which ``=`` finds every writing of a value (SQLite's times and decimals, single
    floats of a database without rules of its own), all keys are read to find some.

    :param access: the database
    :param keys: whose keys
    :raises ConfigurationError: where the query places its window itself
    """

    def __init__(self, access: DatabaseAccess, keys: KeyStream) -> None:
        refuse_placed(keys.sync_key, keys.sql)
        self.access = access
        self._keys = keys

    def read_keys(self) -> Generator[pa.RecordBatch]:
        described = self._described
        with self._connect("read the keys of") as connection:
            yield empty(described.schema)
            yield from self._read(connection, [])

    def find_present(self, keys: KeyBlock) -> set[int]:
        asked = _in_python(self._described.columns, keys)
        end = time.monotonic() + LONGEST_QUESTION_SECONDS
        found: set[int] = set()
        with self._connect("ask for keys of") as connection, self._until(end):
            for condition in self._questions(list(asked)):
                self._limit_time(connection, end)
                for batch in self._read(connection, condition):
                    found.update(_places(self._described.columns, batch, asked))
                    self._refuse_late(end)
        return found

    def _read(self, connection: Connection, conditions: Sequence[ColumnElement[bool]]) -> Iterator[pa.RecordBatch]:
        described = self._described
        statement = sql.rows(self._stream, described.columns, conditions, order=())
        return batches_of(connection, described.dialect, statement, described.columns)

    def _questions(self, keys: Sequence[tuple[Any, ...]]) -> Iterator[list[ColumnElement[bool]]]:
        """Conditions that leave out no row of a key that is asked for; each is good for some of the keys."""
        dialect, columns = self._described.dialect, self._described.columns
        telling = [place for place, column in enumerate(columns) if dialect.finds_equal(column)]
        if not telling:
            yield from [[]] if keys else []
            return
        step = max(min(MOST_KEYS, MOST_VALUES // len(telling)), 1)
        for first in range(0, len(keys), step):
            values = [
                [dialect.bound(_as_bound(columns[place], key[place])) for place in telling]
                for key in keys[first : first + step]
            ]
            yield [sql.is_any_of([columns[place] for place in telling], values)]

    @contextmanager
    def _connect(self, doing: str) -> Iterator[Connection]:
        """A connection whose snapshot is taken now."""
        with explaining(SourceError, f"{doing} {self._keys.sync_key!r}", fault_in), self.access.connect() as connection:
            self._described.dialect.begin(connection)
            yield connection

    @contextmanager
    def _until(self, end: float) -> Iterator[None]:
        from sqlalchemy.exc import DBAPIError

        try:
            yield
        except DBAPIError:
            self._refuse_late(end)
            raise

    def _limit_time(self, connection: Connection, end: float) -> None:
        self._refuse_late(end)
        self._described.dialect.limit_time(connection, end - time.monotonic())

    def _refuse_late(self, end: float) -> None:
        if time.monotonic() >= end:
            raise SourceError(
                f"The source did not find a block of keys of {self._keys.sync_key!r} again within "
                f"{LONGEST_QUESTION_SECONDS:g} s, while nobody may write to the destination: see that an index serves "
                "the key."
            )

    @cached_property
    def _stream(self) -> Stream:
        return self._keys.keyed(self._keys.primary_key or self._own_key())

    @cached_property
    def _described(self) -> Described:
        stream = self._stream
        with self._explaining_look(), self.access.look() as connection:
            return describe(connection, stream)

    def _own_key(self) -> tuple[str, ...]:
        from sqlalchemy.exc import NoSuchTableError

        table = self._keys.table
        if table is None:
            raise ConfigurationError(
                f"primary_key is missing: name the columns that tell {self._keys.sync_key!r} apart."
            )
        with self._explaining_look(), self.access.look() as connection:
            try:
                found = dialect_of(connection).own_key(connection, table)
            except NoSuchTableError:
                found = ()
        if not found:
            raise SchemaError(
                f"The source has no table {str(table)!r} with a primary key that this login may see: set primary_key "
                "to the columns that tell its rows apart."
            )
        return found

    @contextmanager
    def _explaining_look(self) -> Iterator[None]:
        with explaining(SourceError, f"describe the keys of {self._keys.sync_key!r}", fault_in):
            yield


def _in_python(columns: Sequence[DatabaseColumn], keys: KeyBlock) -> Asked:
    """The keys that the source can hold at all; those with a value that it has none for are not there."""
    parsed = [_parsed(column, texts) for column, texts in zip(columns, keys.columns, strict=True)]
    asked: Asked = {}
    for place, key in enumerate(zip(*parsed, strict=True)):
        if not any(isinstance(value, UnfitError) for value in key):
            asked.setdefault(key, []).append(place)
    return asked


def _parsed(column: DatabaseColumn, texts: Sequence[str]) -> list[Any]:
    """PostgreSQL's texts in Python's terms; durations and bits stay texts, as the column's own array has them."""
    if column.kind != "interval":
        reader = Reader.of(column.field())
        parsed = [reader.parsed(text) for text in texts]
        return [each if isinstance(each, UnfitError) else told(reader.kind, each) for each in parsed]
    durations = [moments.parse_duration(text) for text in texts]
    written = iter(column.array([each for each in durations if each is not None]).to_pylist())
    return [UnfitError() if each is None else next(written) for each in durations]


def _places(columns: Sequence[DatabaseColumn], batch: pa.RecordBatch, asked: Asked) -> Iterator[int]:
    kinds = [Reader.of(column.field()).kind for column in columns]
    for key in zip(*(values.to_pylist() for values in batch.columns), strict=True):
        yield from asked.get(tuple(map(told, kinds, key)), ())


def _as_bound(column: DatabaseColumn, value: Any) -> Any:
    """A value of Python's as the driver takes it."""
    if isinstance(value, UUID):
        return str(value)
    return column.value(value) if isinstance(value, str) else value
