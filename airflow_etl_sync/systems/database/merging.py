"""One staged chunk on its way into the table: piece by piece, and row by row where some cannot be loaded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

from sqlalchemy.exc import SQLAlchemyError

from airflow_etl_sync.core.columns import types_of
from airflow_etl_sync.core.failed_record import FailedRecord, Key
from airflow_etl_sync.errors import DataError, EtlSyncError
from airflow_etl_sync.systems.database.columns_written import WrittenColumn
from airflow_etl_sync.systems.database.faults import fault_in
from airflow_etl_sync.systems.database.spool import Spool
from airflow_etl_sync.systems.database.upserting import BentError, Row, Upserted, Upserter
from airflow_etl_sync.systems.database.values import Reader, UnfitError

if TYPE_CHECKING:
    from sqlalchemy import Connection

_PROBED_AT_MOST = 1_000


class RowError(NamedTuple):
    """Why a row could not be loaded.

    :param text: what is stored with it; it may quote the row
    :param advice: what is said where no row may be set aside
    :param sqlstate: the database's, where it gave one
    """

    text: str
    advice: str
    sqlstate: str | None = None


@dataclass(slots=True)
class Merging:
    """A chunk's rows, and those of them that fail.

    :param newest: the columns by which the newer of two rows of one key is told, the most telling first
    :param discarding: columns in which no row may have a value
    :param allowed: how many rows may be set aside
    """

    connection: Connection
    spool: Spool
    upserter: Upserter
    key: tuple[str, ...]
    newest: Sequence[str]
    discarding: Sequence[str]
    allowed: int
    done: Upserted = field(default_factory=Upserted)
    errors: dict[int, RowError] = field(default_factory=dict)

    def run(self) -> Upserted:
        """Merge all rows that can be; :attr:`errors` has the others by their place.

        :raises DataError: where more fail than may
        """
        refused = self._refused()
        groups = (
            [place for place in group if place not in refused]
            for group in self.spool.groups(self.key, self.newest)
        )  # fmt: skip
        whole = filter(None, groups)
        while piece := list(islice(whole, self.upserter.rows_at_once)):
            self._merge(piece)
        while self.errors and self._merge_again():
            pass
        self.errors |= refused
        self._refuse_too_many()
        return self.done

    def failed(self) -> list[FailedRecord]:
        """The rows that failed, as they were staged."""
        readers = [Reader.of(each) for each in self.spool.schema]
        types = {each.name: types_of(each) for each in self.spool.schema}
        found = []
        for place, why in sorted(self.errors.items()):
            row = self.spool.take([place])
            payload = {reader.field.name: reader.text(row[n][0]) for n, reader in enumerate(readers)}
            key = tuple(payload[name] for name in self.key)
            found.append(FailedRecord(key=key, payload=payload, types=types, error=why.text, sqlstate=why.sqlstate))
        return found

    def settled(self, watched: Sequence[Key]) -> tuple[Key, ...]:
        """Those of the watched keys of which a row has been loaded, or has lost to a better one."""
        if not watched:
            return ()
        readers = [Reader.of(self.spool.schema.field(name)) for name in self.key]
        columns = [[reader.text(scalar) for scalar in self.spool.table[reader.field.name]] for reader in readers]
        staged = set(zip(*columns, strict=True))
        failing = {tuple(columns[n][place] for n in range(len(readers))) for place in self.errors}
        return tuple(key for key in watched if key in staged and key not in failing)

    def _refused(self) -> dict[int, RowError]:
        """The rows that have no key, or that the schema contract discards."""
        keyless = self.spool.without_key(self.key)
        if keyless and not self.allowed:
            raise DataError(
                f"{len(keyless)} rows for {self._name!r} have NULL in their key ({', '.join(self.key)}): mend them "
                "at the source, leave them out with where, or allow more failed records (max_errors)."
            )
        refused = dict.fromkeys(keyless, RowError("NULL in the key", ""))
        for name in self.discarding:
            reason = f"column {name} is not in the table, and schema_contract is 'discard_row'"
            refused |= dict.fromkeys(self.spool.with_value(name), RowError(reason, reason))
        return refused

    def _merge(self, piece: list[list[int]]) -> None:
        """Merge the newest row of each key; where one fails, each key alone."""
        rows = self._rows([group[-1] for group in piece])
        error = self._try(rows)
        if error is not None and self.upserter.is_empty:  # somebody else has put rows in
            self.upserter.is_empty = False
            error = self._try(rows)
        if error is None:
            return
        if not self.allowed:
            raise DataError(error.advice, sqlstate=error.sqlstate)
        for group in piece:
            self._merge_newest(group)
            if len(self.errors) > self.allowed + _PROBED_AT_MOST:
                self._refuse_too_many(is_all=False)

    def _merge_newest(self, group: list[int]) -> None:
        """Merge the newest row of a key that can be merged; those that are newer have failed."""
        for place in reversed(group):
            error = self._try(self._rows([place]))
            if error is None:
                return
            self.errors[place] = error

    def _merge_again(self) -> bool:
        """Try the failed rows again: what they missed may be there by now. Whether any has been merged."""
        before = len(self.errors)
        for place in sorted(self.errors):
            if self._try(self._rows([place])) is None:
                del self.errors[place]
        return len(self.errors) < before

    def _rows(self, places: list[int]) -> list[Row]:
        batch = self.spool.take(places)
        return self.upserter.rows([column.values(batch[column.name]) for column in self._columns])

    def _try(self, rows: Sequence[Row]) -> RowError | None:
        """Merge rows inside a savepoint; where one breaks it, nothing of it stays."""
        unfit = next((value for row in rows for value in row.values if isinstance(value, UnfitError)), None)
        if unfit is not None:
            return RowError(str(unfit), f"A row for {self._name!r} cannot be loaded: {unfit}. {_ADVICE}")
        try:
            with self.connection.begin_nested():
                done = self.upserter.upsert(self.connection, rows)
        except BentError as bent:
            columns = ", ".join(bent.columns)
            return RowError(
                f"the table does not hold the value of {columns} as it is",
                f"Values of column {columns} do not fit the type that {self._name!r} has for it, and would be rounded, "
                f"cut or changed: widen the column, convert the values at the source, or {_ALLOW}.",
            )
        except EtlSyncError:
            raise
        except (SQLAlchemyError, OverflowError) as error:
            fault = fault_in(error)
            if fault is not None and fault.blame != "row":
                raise
            said = fault.text if fault else type(error).__name__
            return RowError(
                str(getattr(error, "orig", None) or error).partition("\n")[0],
                f"Could not merge rows into {self._name!r}; a row breaks a rule of its table ({said}): mend it, or "
                f"{_ALLOW}.",
                fault.sqlstate if fault else None,
            )
        self.done = self.done.plus(done)
        return None

    def _refuse_too_many(self, *, is_all: bool = True) -> None:
        if len(self.errors) > self.allowed:
            raise DataError(
                f"{'' if is_all else 'More than '}{len(self.errors)} rows of one chunk for {self._name!r} cannot be "
                f"loaded, and only {self.allowed} more may be set aside: mend them at the source, or raise max_errors "
                "or max_error_percent. The chunk is not loaded."
            )

    @property
    def _columns(self) -> Sequence[WrittenColumn]:
        return self.upserter.columns

    @property
    def _name(self) -> str:
        return str(self.upserter.name)


_ALLOW = "allow more failed records (max_errors)"
_ADVICE = f"Mend it at the source, leave it out, or {_ALLOW}."
