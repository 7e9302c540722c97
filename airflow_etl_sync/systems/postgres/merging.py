"""One staged chunk on its way into the table: all rows at once, or those that can be loaded."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from airflow_etl_sync.core.failed_record import FailedRecord
from airflow_etl_sync.core.model import LoadRules
from airflow_etl_sync.errors import DataError, DestinationError
from airflow_etl_sync.systems.base import MergeKeys
from airflow_etl_sync.systems.postgres import sql
from airflow_etl_sync.systems.postgres.fitting import Fit, Refusal
from airflow_etl_sync.systems.postgres.rejects import PieceByPiece, RowError, StagedRows, Upserted, try_merge
from airflow_etl_sync.systems.postgres.target import Target
from airflow_etl_sync.systems.postgres.types import encoding_of

if TYPE_CHECKING:
    import pyarrow as pa
    from psycopg.sql import Composable, Composed


_UNIQUE_VIOLATION = "23505"


@dataclass(frozen=True, slots=True)
class Merging:
    """One chunk on its way from the staging into the table.

    :param allowed: how many of its rows may be set aside
    """

    rows: StagedRows
    target: Target
    fitted: Fit
    rules: LoadRules
    keys: MergeKeys
    allowed: int

    def run(self, rows: int) -> tuple[Upserted, list[FailedRecord]]:
        """Merge all at once, or where rows fail and some may, piece by piece.

        :param rows: how many rows must be staged
        :returns: how many rows were written, and those that were taken out
        """
        refused = self._take_out_refused(rows)
        upserted = self._insert() or try_merge(self.rows.driver, self._statement())
        if not isinstance(upserted, RowError):
            return upserted, refused
        if not self.allowed:
            raise DataError(
                f"SQLSTATE {upserted.sqlstate or 'none'}: Could not merge rows into {self._name!r}; a row breaks a "
                "rule of its table, see the server's log for which, or allow more failed records (max_errors).",
                sqlstate=upserted.sqlstate,
            )
        pieces = PieceByPiece(self.rows, self._statement, self._newest[::-1], self.allowed - len(refused))
        errors = pieces.run()
        self._refuse_too_many(
            [error.sqlstate for error in errors.values()], len(refused), is_all=not pieces.is_hopeless
        )
        return pieces.done, [*refused, *self.rows.take_out_numbers(errors)]

    def _insert(self) -> Upserted | RowError | None:
        """Insert the rows of a first load, which takes a third of a merge's time; None where some row is there."""
        import psycopg

        if not self.keys.are_new:
            return None
        written = [(field.name, self._expression(field)) for field in self._written]
        name, key = self.rows.staged.name, [each for each in written if each[0] in self.rows.key]
        try:
            with self.rows.driver.transaction():
                found = self.rows.driver.execute(sql.merging.find_any(self.target.table, name, key)).fetchone()
        except psycopg.DataError:
            return None
        if found != (False,):
            return None
        statement = sql.merging.insert(self.target.table, name, written, self.rules, has_identity=self._has_identity)
        upserted = try_merge(self.rows.driver, statement)
        is_there = isinstance(upserted, RowError) and upserted.sqlstate == _UNIQUE_VIOLATION
        return None if is_there else upserted

    def _take_out_refused(self, rows: int) -> list[FailedRecord]:
        """Take out the rows that have no key, or that the schema contract discards."""
        refusals = [Refusal(sql.rejects.has_no_key(self.rows.key), "NULL in the key"), *self.fitted.refusals]
        staged, *counts = self.rows.count([refusal.condition for refusal in refusals])
        if staged != rows:
            raise DestinationError(
                f"{staged} of {rows} rows are staged for {self._name!r}: the server lost its unlogged tables in a "
                "crash, a retry stages them again."
            )
        if counts[0] and not self.allowed:
            raise DataError(
                f"{counts[0]} rows for {self._name!r} have NULL in their key ({', '.join(self.rows.key)}): mend them "
                "at the source, leave them out with where, or allow more failed records (max_errors)."
            )
        self._refuse_too_many([None] * max(counts), 0)
        taken: list[FailedRecord] = []
        for refusal, count in zip(refusals, counts, strict=True):
            taken += self.rows.take_out(refusal.condition, RowError(refusal.reason, None)) if count else []
        self._refuse_too_many([None] * len(taken), 0)
        return taken

    def _refuse_too_many(self, sqlstates: list[str | None], before: int, *, is_all: bool = True) -> None:
        if before + len(sqlstates) <= self.allowed:
            return
        found = Counter(sqlstate or "no SQLSTATE" for sqlstate in sqlstates).most_common()
        raise DataError(
            f"{'' if is_all else 'More than '}{before + len(sqlstates)} rows of one chunk for {self._name!r} cannot "
            f"be loaded ({', '.join(f'{code}: {count}' for code, count in found)}), and only {self.allowed} more may "
            "be set aside: mend them at the source, or raise max_errors or max_error_percent. The chunk is not loaded."
        )

    @property
    def _name(self) -> str:
        return str(self.target.table)

    @property
    def _written(self) -> list[pa.Field]:
        columns = self.fitted.columns
        return [
            field
            for field in self.rows.staged.schema
            if field.name not in self.fitted.left_out and not columns[field.name].is_generated
        ]

    @property
    def _has_identity(self) -> bool:
        return any(self.fitted.columns[field.name].is_always_identity for field in self._written)

    @property
    def _newest(self) -> list[str]:
        """The columns by which the newer of two rows of one key is told, the most telling first."""
        telling = [self.keys.cursor_field]
        if self.rules.conflict == "latest_wins" and self.rules.conflict_field:
            telling.insert(0, self.rules.conflict_field)
        written = {field.name for field in self._written}
        return [name for name in dict.fromkeys(telling) if name in written]

    def _statement(self, within: Composable | None = None) -> Composed:
        return sql.merging.merge(
            self.target.table,
            self.rows.staged.name,
            [(field.name, self._expression(field)) for field in self._written],
            self.rows.key,
            self._newest,
            self.rules,
            has_identity=self._has_identity,
            is_partitioned=self.target.is_partitioned,
            within=within,
            revives=self.target.can_flag(self.rows.staged),
        )

    def _expression(self, field: pa.Field) -> Composed:
        column = self.fitted.columns[field.name]
        tested_as = self.fitted.tested.get(field.name)
        if tested_as is None:
            return sql.staging.read_staged(field.name, encoding_of(field), column.type)
        return sql.staging.read_lossless(field.name, encoding_of(field), tested_as, (column.type, column.base_declared))
