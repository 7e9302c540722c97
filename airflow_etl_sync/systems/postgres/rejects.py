"""Rows that cannot be loaded: found, read and taken out, so that the others can.

A chunk is merged as a whole first. Only where a row breaks that, the chunk is cut in two and each half tried,
down to single rows: three bad rows of 250,000 cost about a hundred statements. What has been merged stays, so
rows that depend on each other find each other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from airflow_etl_sync.core.columns import types_of
from airflow_etl_sync.core.failed_record import FailedRecord
from airflow_etl_sync.faults import is_row_at_fault, sqlstate_of
from airflow_etl_sync.systems.base import StagedChunk
from airflow_etl_sync.systems.postgres import sql
from airflow_etl_sync.systems.postgres.types import encoding_of

if TYPE_CHECKING:
    import psycopg
    from psycopg.sql import Composable, Composed

_PROBED_AT_MOST = 1_000


class Upserted(NamedTuple):
    """How many rows a merge has written."""

    inserted: int = 0
    updated: int = 0

    def plus(self, other: Upserted) -> Upserted:
        return Upserted(self.inserted + other.inserted, self.updated + other.updated)


class RowError(NamedTuple):
    """Why a row could not be merged."""

    error: str
    sqlstate: str | None


MergeStatement = Callable[["Composable | None"], "Composed"]


@dataclass(frozen=True, slots=True)
class StagedRows:
    """The rows of a staged chunk, which can be read one by one as text."""

    driver: psycopg.Connection[Any]
    staged: StagedChunk
    key: tuple[str, ...]

    def count(self, conditions: Sequence[Composable]) -> list[int]:
        """How many rows are staged, and how many of them meet each condition."""
        return list(self.driver.execute(sql.staging.count_staged(self.staged.name, conditions)).fetchone() or ())

    def take_out(self, condition: Composable, why: RowError) -> list[FailedRecord]:
        """Take the rows that meet a condition out of the staging."""
        statement = sql.rejects.take_out(self.staged.name, condition, self._texts())
        return [self._record(row, why) for row in self.driver.execute(statement)]

    def take_out_numbers(self, errors: dict[int, RowError]) -> list[FailedRecord]:
        """Take rows out by their numbers, of one key's the newest last."""
        taken: list[FailedRecord] = []
        for number, why in sorted(errors.items()):
            taken += self.take_out(sql.rejects.is_within(self.staged.name, "number", number, number), why)
        return taken

    def settled(self, watched: Sequence[tuple[str | None, ...]]) -> list[tuple[str | None, ...]]:
        """Those of the watched keys of which a row is staged."""
        fitting = [key for key in watched if len(key) == len(self.key)]
        if not fitting:
            return []
        statement = sql.rejects.find_watched(self.staged.name, self._key_texts())
        return self.driver.execute(statement, [list(column) for column in zip(*fitting, strict=True)]).fetchall()

    def _key_texts(self) -> list[Composed]:
        fields = {field.name: field for field in self.staged.schema}
        return [sql.staging.staged_text(name, encoding_of(fields[name])) for name in self.key]

    def _texts(self) -> list[Composed]:
        payload = [sql.staging.staged_text(field.name, encoding_of(field)) for field in self.staged.schema]
        return [*self._key_texts(), *payload]

    def _record(self, row: Sequence[str | None], why: RowError) -> FailedRecord:
        payload = dict(zip(self.staged.schema.names, row[len(self.key) :], strict=True))
        return FailedRecord(
            key=tuple(row[: len(self.key)]),
            payload=payload,
            types={field.name: types_of(field) for field in self.staged.schema},
            error=why.error,
            sqlstate=why.sqlstate,
        )


@dataclass(slots=True)
class PieceByPiece:
    """A merge that goes on past rows that fail.

    :param statement: builds the merge of those staged rows that meet a condition
    :param oldest_first: the columns that tell the newer of two rows of one key
    :param allowed: how many rows may fail
    """

    rows: StagedRows
    statement: MergeStatement
    oldest_first: Sequence[str]
    allowed: int
    done: Upserted = field(default_factory=Upserted)
    errors: dict[int, RowError] = field(default_factory=dict)

    @property
    def is_hopeless(self) -> bool:
        """Whether so many rows fail that looking for more is idle."""
        return len(self.errors) > self.allowed + _PROBED_AT_MOST

    def run(self) -> dict[int, RowError]:
        """Merge all rows that can be merged; the others by their number, with what is wrong with each."""
        with self._numbered() as pieces:
            self._merge_pieces(1, pieces)
            while self.errors and self._merge_again():
                pass
        return self.errors

    @contextmanager
    def _numbered(self) -> Iterator[int]:
        driver, name = self.rows.driver, self.rows.staged.name
        driver.execute(sql.rejects.number_staged(name, self.rows.key, self.oldest_first))
        for column in ("piece", "number"):
            driver.execute(sql.rejects.index_numbers(name, column))
        row = driver.execute(sql.rejects.count_pieces(name)).fetchone()
        yield int((row and row[0]) or 0)

    def _merge_pieces(self, first: int, last: int) -> None:
        """Merge a range of pieces; one that fails is cut in two, and a single piece into its rows."""
        if first > last or self.is_hopeless:
            return
        if self._try("piece", first, last) is None:
            return
        if first == last:
            self._merge_newest(first)
            return
        middle = (first + last) // 2
        self._merge_pieces(first, middle)
        self._merge_pieces(middle + 1, last)

    def _merge_newest(self, piece: int) -> None:
        """Merge the newest row of a key that can be merged; those that are newer have failed."""
        statement = sql.rejects.numbers_of_piece(self.rows.staged.name, piece)
        for (number,) in self.rows.driver.execute(statement).fetchall():
            error = self._try("number", number, number)
            if error is None:
                return
            self.errors[number] = error

    def _merge_again(self) -> bool:
        """Try the failed rows again: what they missed may be there by now. Whether any has been merged."""
        before = len(self.errors)
        for number in sorted(self.errors):
            error = self._try("number", number, number)
            if error is None:
                del self.errors[number]
        return len(self.errors) < before

    def _try(self, column: str, first: int, last: int) -> RowError | None:
        statement = self.statement(sql.rejects.is_within(self.rows.staged.name, column, first, last))
        upserted = try_merge(self.rows.driver, statement)
        if isinstance(upserted, RowError):
            return upserted
        self.done = self.done.plus(upserted)
        return None


def try_merge(driver: psycopg.Connection[Any], statement: Composed) -> Upserted | RowError:
    """Run a merge inside a savepoint; where a row breaks it, nothing of it stays."""
    import psycopg

    try:
        with driver.transaction():
            row = driver.execute(statement).fetchone()
            driver.execute(sql.merging.CHECK_CONSTRAINTS)
    except psycopg.Error as error:
        if not is_row_at_fault(error):
            raise
        return RowError(_first_line(error), sqlstate_of(error))
    return Upserted(*(row or ()))


def _first_line(error: psycopg.Error) -> str:
    text = error.diag.message_primary or str(error) or type(error).__name__
    constraint = error.diag.constraint_name
    return f"{text.splitlines()[0]} (constraint {constraint})" if constraint else text.splitlines()[0]
