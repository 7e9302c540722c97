"""The part of a piece that belongs to one table: staged, filled up, merged, deleted."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Any

from airflow_etl_sync.cdc import apply_sql
from airflow_etl_sync.cdc.change_log import RowsAgain
from airflow_etl_sync.cdc.columns import last_words
from airflow_etl_sync.cdc.fold import TableFold, Upsert
from airflow_etl_sync.cdc.keyed import Key
from airflow_etl_sync.cdc.tables import CdcTable
from airflow_etl_sync.cdc.targets import TargetState
from airflow_etl_sync.cdc.unstorable import Unstorable, without_nul
from airflow_etl_sync.core.changes import UNCHANGED, Value
from airflow_etl_sync.core.columns import ColumnTypes, noted, types_of
from airflow_etl_sync.core.failed_record import Key as FailedKey
from airflow_etl_sync.errors import DataError
from airflow_etl_sync.systems.base import StagedChunk
from airflow_etl_sync.systems.postgres import sql
from airflow_etl_sync.systems.postgres.destination import PostgresDestination

if TYPE_CHECKING:
    import psycopg
    import pyarrow as pa
    from psycopg.sql import Composed

RESELECTED_ROWS = 500
"""So many rows are asked for at once: their values may be large."""
BATCH_BYTES = 1_000_000
"""About so much is given to the destination at once, which copies it in memory more than once."""

Row = tuple[Key, Upsert]


@dataclass(frozen=True, slots=True)
class Chunk:
    """Staged rows, and how many there are.

    :param unstorable: rows that belong to them, and could not be staged
    """

    staged: StagedChunk
    rows: int
    unstorable: Unstorable = field(default_factory=Unstorable)

    @property
    def all_rows(self) -> int:
        return self.rows + len(self.unstorable.failed)


@dataclass(slots=True)
class TablePiece:
    """The changes of one table on their way.

    What is whole in the log is staged ahead of its turn, while pieces before this one are merged; then the target is
    looked at, and what follows happens in its transaction.

    :param terms: where the changes go
    :param types: of the relation's columns, at the source
    :param new_name: gives a name for a staging table that no other has
    :param has_moved: whether a moved row's former self can be trusted to be in the destination
    :param left: how many rows were left to a later change, since the source has them no more
    """

    fold: TableFold
    terms: CdcTable
    destination: PostgresDestination
    types: dict[str, ColumnTypes]
    source: RowsAgain
    new_name: Callable[[], str]
    has_moved: bool = True
    chunks: list[Chunk] = field(default_factory=list)
    deletes: StagedChunk | None = None
    rekeyed: int = 0
    left: int = 0
    _target: TargetState | None = None
    _gone: Sequence[pa.Array] = ()

    @property
    def target(self) -> TargetState:
        """The target as it was before the piece."""
        if self._target is None:
            raise RuntimeError("The target is looked at before rows are written to it.")
        return self._target

    @property
    def names(self) -> list[str]:
        return [column.name for column in self.fold.relation.columns]

    def stage(self) -> None:
        """Stage the rows that are whole, which are then held no longer, and the keys that are gone."""
        if self.fold.columns:
            self._stage_last_words()
            return
        partial = {key: row for key, row in self.fold.upserts.items() if not row.is_whole}
        whole = [row.values for key, row in self.fold.upserts.items() if key not in partial]
        self.fold.upserts = partial
        self._stage_whole(whole)
        if self.fold.deletes:
            self._stage_deletes(_columns(list(self.fold.deletes)))

    def deleted_among(self, keys: Sequence[FailedKey]) -> list[FailedKey]:
        """Those of the keys whose rows had to go."""
        if not keys:
            return []
        gone: set[FailedKey] = {*self.fold.deletes, *zip(*(column.to_pylist() for column in self._gone), strict=True)}
        return [key for key in keys if key in gone]

    def look_at(self, target: TargetState, *, has_moved: bool) -> None:
        """Take note of what the target is now that the piece has its turn."""
        self._target, self.has_moved = target, has_moved

    def fill(self, driver: psycopg.Connection[Any]) -> None:
        """Stage the other rows, and find the values that the log leaves out, before any row is changed."""
        partial: dict[tuple[tuple[int, ...], bool, bool], list[Row]] = {}
        for key, row in self.fold.upserts.items():
            unknown = tuple(place for place, value in enumerate(row.values) if value is UNCHANGED)
            partial.setdefault((unknown, row.moved_from is not None, row.is_new), []).append((key, row))
        for (unknown, is_moved, _), rows in partial.items():
            self._stage_partial(driver, unknown, rows, is_moved=is_moved)

    def delete(self, driver: psycopg.Connection[Any]) -> int:
        """Delete or flag the rows whose keys are gone; how many there were."""
        import psycopg

        if self.deletes is None:
            return 0
        table, name = self.terms.target, self.deletes.name
        try:
            rows = driver.execute(self._delete_staged(name)).rowcount if self.target.exists else 0
            driver.execute(sql.merging.CHECK_CONSTRAINTS)
        except psycopg.errors.ForeignKeyViolation as violation:
            raise DataError(
                f"Rows of {str(table)!r} that were deleted at the source are still referenced by "
                f"{violation.diag.table_name!r} (constraint {violation.diag.constraint_name!r}): capture that table "
                "too, give its foreign key ON DELETE CASCADE, or use delete='soft'.",
                sqlstate=violation.sqlstate,
            ) from None
        driver.execute(sql.staging.drop_staging(name))
        return rows

    def _delete_staged(self, name: str) -> Composed:
        if self.terms.delete == "soft":
            synced_at = self.terms.rules.synced_at_column
            return apply_sql.flag_staged(self.terms.target, name, self.target.key, synced_at)
        return apply_sql.delete_staged(self.terms.target, name, self.target.key)

    def make_way(self, driver: psycopg.Connection[Any]) -> None:
        """Delete the rows that are to change in what else is unique: they are inserted anew."""
        further = self.target.further_keys
        for chunk in self.chunks:
            staged = chunk.staged.schema.names
            known = [columns for columns in further if all(name in staged for name, _ in columns)]
            if known:
                statement = apply_sql.delete_rekeyed(self.terms.target, chunk.staged.name, self.target.key, known)
                self.rekeyed += driver.execute(statement).rowcount

    def _stage_whole(self, rows: Sequence[Sequence[Value]]) -> None:
        if rows:
            self._stage_rows(_columns(rows))

    def _stage_partial(
        self, driver: psycopg.Connection[Any], unknown: tuple[int, ...], rows: list[Row], *, is_moved: bool
    ) -> None:
        """Stage rows of which some values are not known: these stay as they are, or are taken from elsewhere."""
        names = [self.names[place] for place in unknown]
        is_there = self.target.exists and all(name in self.target.columns for name in names)
        if not is_there or (is_moved and not self.has_moved) or any(row.is_new for _, row in rows):
            self._stage_reselected(driver, unknown, rows, is_moved=is_moved)
            return
        staged = self._stage_with_former_keys(rows, is_moved=is_moved)
        table, key = self.terms.target, self.target.key
        absent = set(driver.execute(apply_sql.take_out_absent(table, staged.name, key, is_moved=is_moved)).fetchall())
        if is_moved or self.target.further_keys or any(self.target.columns[name].is_required for name in names):
            driver.execute(apply_sql.fill_from_target(table, staged.name, key, names, is_moved=is_moved))
            names = []
        schema = self._schema([name for name in self.names if name not in names])
        if len(absent) < len(rows):
            self.chunks.append(Chunk(StagedChunk(staged.name, schema), len(rows) - len(absent)))
        else:
            driver.execute(sql.staging.drop_staging(staged.name))
        gone = [row for row in rows if row[0] in absent]
        self._stage_reselected(driver, unknown, gone, is_moved=is_moved)

    def _stage_with_former_keys(self, rows: list[Row], *, is_moved: bool) -> StagedChunk:
        values = [[None if value is UNCHANGED else value for value in row.values] for _, row in rows]
        names = self.names
        if is_moved:
            names = [*names, *(apply_sql.MOVED + name for name in self.terms.key)]
            values = [[*known, *(row.moved_from or ())] for known, (_, row) in zip(values, rows, strict=True)]
        return self._stage(names, values)

    def _stage_reselected(
        self, driver: psycopg.Connection[Any], unknown: tuple[int, ...], rows: list[Row], *, is_moved: bool
    ) -> None:
        """Take what is not known from the source; a row that is gone there is left to the change that says so."""
        names = [self.names[place] for place in unknown]
        for block in _blocks(rows, RESELECTED_ROWS):
            keys = [key for key, _ in block]
            relation, key_names = self.fold.relation, self.terms.key
            found = self.source.read(relation, self.types, key_names, names, keys)
            whole = [_completed(row.values, unknown, found[key]) for key, row in block if key in found]
            self._stage_whole(whole)
            gone = [row for row in block if row[0] not in found]
            staged = self._stage_gone(driver, names, gone, is_moved=is_moved) if gone else 0
            self.left += len(gone) - staged

    def _stage_gone(
        self, driver: psycopg.Connection[Any], names: Sequence[str], rows: list[Row], *, is_moved: bool
    ) -> int:
        """Stage rows that are gone at the source as far as they are known, where others may reference them.

        Until the change comes that removes or moves them, they stand in for what they were. That change reads its row
        again, since the source was asked. How many there are.
        """
        if not self.target.is_referenced or any(name not in self.target.columns for name in names):
            return 0
        staged, known = self._stage_with_former_keys(rows, is_moved=is_moved), len(rows)
        table, key = self.terms.target, self.target.key
        if any(self.target.columns[name].is_required for name in names):
            known -= driver.execute(apply_sql.take_out_absent(table, staged.name, key, is_moved=is_moved)).rowcount
        driver.execute(apply_sql.fill_from_target(table, staged.name, key, names, is_moved=is_moved))
        self.chunks.append(Chunk(StagedChunk(staged.name, self._schema(self.names)), known))
        return known

    def _stage_last_words(self) -> None:
        columns, self.fold.columns = self.fold.columns, []
        last = last_words(columns, self.fold.key_places)
        if len(last.rows[0]):
            self._stage_rows(last.rows)
        if len(last.deleted[0]):
            self._gone = last.deleted
            self._stage_deletes(last.deleted)

    def _stage_rows(self, columns: Sequence[pa.Array]) -> None:
        types = {field.name: types_of(field) for field in self._schema(self.names)}
        named = dict(zip(self.names, columns, strict=True))
        storable, unstorable = without_nul(named, self.terms.key, types)
        self.chunks.append(Chunk(self._stage_columns(self.names, storable), len(storable[0]), unstorable))

    def _stage_deletes(self, keys: Sequence[pa.Array]) -> None:
        """Stage the keys that are gone; one with NUL was never there."""
        text = ColumnTypes("text", "text")
        named = dict(zip(self.terms.key, keys, strict=True))
        storable, _ = without_nul(named, self.terms.key, dict.fromkeys(self.terms.key, text))
        self.deletes = self._stage_columns(self.terms.key, storable)

    def _stage(self, names: Sequence[str], rows: Sequence[Sequence[Value]]) -> StagedChunk:
        return self._stage_columns(names, _columns(rows))

    def _stage_columns(self, names: Sequence[str], arrays: Sequence[pa.Array]) -> StagedChunk:
        import pyarrow as pa

        schema = self._schema(names)
        table = pa.Table.from_arrays(arrays, schema=schema)
        rows = max(1, table.num_rows * BATCH_BYTES // max(1, table.nbytes))
        return self.destination.stage(self.new_name(), schema, table.to_batches(rows))

    def _schema(self, names: Iterable[str]) -> pa.Schema:
        import pyarrow as pa

        text = ColumnTypes("text", "text")
        return pa.schema([noted(name, pa.string(), self.types.get(name, text)) for name in names])


def _columns(rows: Sequence[Sequence[Value]]) -> list[pa.Array]:
    import pyarrow as pa

    return [pa.array(column, pa.string()) for column in zip(*rows, strict=True)]


def _completed(values: Sequence[Value], unknown: tuple[int, ...], found: Sequence[str | None]) -> list[Value]:
    completed = list(values)
    for place, value in zip(unknown, found, strict=True):
        completed[place] = value
    return completed


def _blocks(rows: Sequence[Row], size: int) -> Iterator[list[Row]]:
    rest = iter(rows)
    while block := list(islice(rest, size)):
        yield block
