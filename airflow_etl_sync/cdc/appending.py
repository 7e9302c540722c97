"""The part of a piece that belongs to one history: staged, filled up, appended."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from airflow_etl_sync.cdc import history_sql
from airflow_etl_sync.cdc.apply_sql import MOVED
from airflow_etl_sync.cdc.history import Fill, HistoryRow, TableHistory
from airflow_etl_sync.cdc.history_target import HistoryTarget, refuse_reserved
from airflow_etl_sync.cdc.piece import Chunk
from airflow_etl_sync.cdc.unstorable import without_nul
from airflow_etl_sync.core.changes import UNCHANGED, Lsn
from airflow_etl_sync.core.columns import ColumnTypes, noted, types_of
from airflow_etl_sync.core.history import HISTORY_COLUMNS, HISTORY_KEY, SEQUENCE
from airflow_etl_sync.errors import StateError
from airflow_etl_sync.systems.base import StagedChunk
from airflow_etl_sync.systems.postgres.target import TargetColumn
from airflow_etl_sync.systems.postgres.types import array_element

if TYPE_CHECKING:
    import psycopg
    import pyarrow as pa

_FILLS = {Fill.COLUMNS: history_sql.fill_columns, Fill.ROW: history_sql.fill_rows}


@dataclass(frozen=True, slots=True)
class Record:
    """From where on a history can be trusted to hold every change.

    :param since: the position behind which no change is missing
    :param copied_until: the position up to which rows of the first copy may be newer than changes
    """

    since: Lsn = 0
    copied_until: Lsn = 0


@dataclass(slots=True)
class HistoryPiece:
    """The rows of one history on their way.

    :param types: of the relation's columns, at the source
    :param new_name: gives a name for a staging table that no other has
    :param failed: the keys of rows that could not be appended: what came before them is not the last word
    :param newest: the last position in the target when the run began
    """

    told: TableHistory
    target: HistoryTarget
    types: dict[str, ColumnTypes]
    record: Record
    new_name: Callable[[], str]
    failed: Collection[tuple[str | None, ...]]
    newest: Lsn
    chunks: list[Chunk] = field(default_factory=list)

    def stage(self, driver: psycopg.Connection[Any]) -> None:
        """Stage all rows, and fill in what the log leaves out, before any of them is appended."""
        names = [column.name for column in self.told.relation.columns]
        refuse_reserved(self.target.destination.target, names)
        columns = self.target.columns(driver)
        rows: dict[Fill, list[HistoryRow]] = {fill: [] for fill in Fill}
        for row in self.told.rows:
            can_fill = bool(columns) and row.fill and row.looked_up not in self.failed
            rows[row.fill if can_fill else Fill.NOTHING].append(row)
        for fill, each in rows.items():
            if each:
                chunk, left_out = self._stage(names, each, with_former_key=bool(fill))
                self.chunks.append(chunk)
                for columns_left_out in left_out if fill else ():
                    self._fill(driver, columns, fill, chunk.staged.name, columns_left_out)

    def refuse_strangers(self, driver: psycopg.Connection[Any]) -> None:
        """Refuse to take changes for those that are there, where they are others.

        :raises StateError: where the history belongs to another server, or to a state that it has left
        """
        if self.told.first > self.newest:
            return
        for chunk in self.chunks:
            row: Any = driver.execute(history_sql.find_strangers(self.target.table, chunk.staged.name)).fetchone()
            if row[0]:
                raise another_log(self.target.destination.target)

    def _fill(
        self,
        driver: psycopg.Connection[Any],
        columns: dict[str, TargetColumn],
        fill: Fill,
        staging: str,
        names: tuple[str, ...],
    ) -> None:
        there = [name for name in names if name in columns]
        if not there or any(name not in columns for name in self.target.key):
            return
        key = [(name, columns[name].type) for name in self.target.key]
        record = self.record
        statement = _FILLS[fill](
            self.target.table, staging, key, there, record.since, record.copied_until, _array(names)
        )
        driver.execute(statement)

    def _stage(
        self, names: list[str], rows: Sequence[HistoryRow], *, with_former_key: bool
    ) -> tuple[Chunk, set[tuple[str, ...]]]:
        """Stage rows; which columns the log leaves out in them."""
        import pyarrow as pa

        left_out = [_left_out(names, row) for row in rows]
        columns: list[Sequence[Any]] = list(zip(*(row.values for row in rows), strict=True))
        columns = [[None if value is UNCHANGED else value for value in column] for column in columns]
        columns += [list(column) for column in zip(*(row[:4] for row in rows), strict=True)]
        columns.append([_array(each) if each else None for each in left_out])
        fields = [*names, *HISTORY_COLUMNS]
        schema = self._schema(fields)
        if with_former_key:
            columns += [list(column) for column in zip(*(row.looked_up or () for row in rows), strict=True)]
            fields += [MOVED + name for name in self.target.key]
        whole = self._schema(fields)
        arrays = {each.name: pa.array(column, each.type) for column, each in zip(columns, whole, strict=True)}
        storable, unstorable = without_nul(arrays, HISTORY_KEY, {each.name: types_of(each) for each in schema})
        batch = pa.RecordBatch.from_arrays(storable, schema=whole)
        staged = self.target.destination.stage(self.new_name(), whole, [batch])
        return Chunk(StagedChunk(staged.name, schema), batch.num_rows, unstorable), {each for each in left_out if each}

    def _schema(self, names: Iterable[str]) -> pa.Schema:
        import pyarrow as pa

        types = {**self.types, **HISTORY_COLUMNS}
        text = ColumnTypes("text", "text")
        return pa.schema(
            [noted(name, pa.int64() if name == SEQUENCE else pa.string(), types.get(name, text)) for name in names]
        )


def another_log(target: str) -> StateError:
    """The error for a history whose positions are not those of the source's log."""
    return StateError(
        f"The history {target!r} holds positions at which the source's log has other changes, or none yet: it was "
        "made from another server, or the source has been set back. Let the changes go into a new table "
        "(destination_tables) with resync, so that the order of the rows stays true."
    )


def _left_out(names: Sequence[str], row: HistoryRow) -> tuple[str, ...]:
    if UNCHANGED not in row.values:
        return ()
    return tuple([name for name, value in zip(names, row.values, strict=True) if value is UNCHANGED])


def _array(names: Sequence[str]) -> str:
    """Names as the text of an array."""
    return "{" + ",".join(map(array_element, names)) + "}"
