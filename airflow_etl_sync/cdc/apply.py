"""Folded changes → the destination's tables, in an order that holds."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING, Any, Protocol

from airflow_etl_sync.cdc import apply_sql
from airflow_etl_sync.cdc.appender import Appender
from airflow_etl_sync.cdc.appending import Record
from airflow_etl_sync.cdc.change_log import RowsAgain
from airflow_etl_sync.cdc.fold import Fold, TableFold
from airflow_etl_sync.cdc.landing import FOREIGN_KEY_VIOLATION, Landing
from airflow_etl_sync.cdc.piece import TablePiece
from airflow_etl_sync.cdc.tables import CdcCounts, CdcTable, SourceTable
from airflow_etl_sync.cdc.targets import TargetState, empty, look_at, refer_to_each_other, with_flag
from airflow_etl_sync.core.changes import Relation
from airflow_etl_sync.core.columns import ColumnTypes
from airflow_etl_sync.core.model import Counts, TableName
from airflow_etl_sync.errors import DataError, DestinationError, explaining
from airflow_etl_sync.state import failed_records
from airflow_etl_sync.state.runs import Run
from airflow_etl_sync.systems.base import Merged, MergeKeys, Tolerance
from airflow_etl_sync.systems.postgres.access import PostgresAccess, driver_of
from airflow_etl_sync.systems.postgres.destination import PostgresDestination
from airflow_etl_sync.systems.postgres.settings import pin_settings
from airflow_etl_sync.systems.postgres.sql.staging import drop_staging

if TYPE_CHECKING:
    import psycopg
    from sqlalchemy import Connection

__all__ = ["Applier", "CdcCounts", "CdcTable"]


class TypesOfRelations(Protocol):
    """Tells the types of relations' columns, as :class:`~airflow_etl_sync.cdc.postgres.slot.ReplicationSlot` does."""

    def relation_types(self, relations: Sequence[Relation], /) -> dict[int, dict[str, ColumnTypes]]: ...


@dataclass(frozen=True, slots=True)
class StagedFold:
    """A fold of which what is whole is staged.

    :param pieces: its parts, one for each table and shape of it
    """

    fold: Fold
    pieces: Sequence[TablePiece]

    @property
    def holds_rows(self) -> bool:
        """Whether rows of it are still to be staged: of histories, and those that are not whole."""
        return bool(self.fold.histories) or any(piece.fold.upserts for piece in self.pieces)


class Applier:
    """Applies folds to the destination, each in its caller's transaction.

    What is whole in the log is staged ahead, while folds before it are applied. Within a fold, targets are emptied
    first; then what the log leaves out is found while the rows still are as they were. Rows that nothing references
    are deleted before others take their place, rows are merged parents first, and rows that may be referenced are
    deleted last, children first. Histories are appended to before all that.

    :param destination: where the targets and the state tables are
    :param tables: what is captured; changes of other tables must not be in the folds
    :param types: tells the columns' types
    :param source: gives rows that are not whole in the log
    :param run: the run that this belongs to, from which the staging tables have their names
    :param records: from where on each history holds every change, by the table's name in the log
    """

    def __init__(
        self,
        destination: PostgresAccess,
        tables: Sequence[SourceTable],
        types: TypesOfRelations,
        source: RowsAgain,
        run: Run,
        records: Mapping[str, Record] | None = None,
    ) -> None:
        self._destinations = {table.name: PostgresDestination(destination, table.terms.target) for table in tables}
        self._terms = {table.name: table.terms for table in tables}
        self._types_of = types
        self._types: dict[Relation, dict[str, ColumnTypes]] = {}
        self._source = source
        self._run = run
        self._numbers = count()
        self._names: list[str] = []
        self._landing = Landing(run)
        histories = [table for table in tables if table.terms.is_history]
        self._appender = Appender(
            destination, histories, records or {}, self._relation_types, self._new_name, self._landing
        )

    def stage(self, fold: Fold) -> StagedFold:
        """Stage what is whole of a fold, before its turn has come and outside its transaction.

        A thread of its own may do so. The rows are then held no longer.
        """
        pieces = [self._piece(each) for each in fold.tables.values()]
        for piece in pieces:
            piece.stage()
        return StagedFold(fold, pieces)

    def apply(self, connection: Connection, staged: StagedFold, *, reselect: Collection[str] = ()) -> CdcCounts:
        """Apply a fold; nothing is changed unless the transaction commits.

        :param reselect: tables (``schema.name``) whose rows may be newer here than what is applied, since they are
            being copied: a row that was moved and is not whole in the log is read again at the source
        :raises DataError: where more rows cannot be loaded than are tolerated
        """
        driver, fold = driver_of(connection), staged.fold
        with explaining(DestinationError, "apply changes"):
            for setting in apply_sql.SETTINGS:
                driver.execute(setting)
            pin_settings(driver)
            appended = self._appender.append(connection, fold.histories.values())
            emptied, truncated = self._empty(driver, fold)
            pieces = self._in_order(driver, staged.pieces, reselect)
            for piece in pieces:
                piece.fill(driver)
            deleted = sum(piece.delete(driver) for piece in pieces if not piece.target.is_referenced)
            for piece in pieces:
                piece.make_way(driver)
            merged = sum((self._merge(connection, piece) for piece in pieces), appended)
            deleted += sum(piece.delete(driver) for piece in pieces[::-1] if piece.target.is_referenced)
            self._settle_deleted(connection, pieces)
        return CdcCounts(
            changes=fold.changes,
            inserted=merged.inserted,
            updated=merged.updated,
            skipped=merged.skipped,
            errors=merged.errors,
            deleted=deleted + emptied,
            truncated=truncated,
        )

    def has_references(self, connection: Connection) -> bool:
        """Whether targets reference each other, so that a part of a transaction may break what the whole keeps."""
        with explaining(DestinationError, "look at the foreign keys"):
            return refer_to_each_other(driver_of(connection), list(self._terms.values()))

    def try_to_apply(self, connection: Connection, fold: Fold, *, reselect: Collection[str] = ()) -> CdcCounts | None:
        """Apply a fold that ends within a transaction, as :meth:`apply` does, while nothing else is staged.

        :returns: None, and nothing is changed, where a foreign key is broken that the rest of the transaction may
            mend; the fold may then grow
        """
        driver, named = driver_of(connection), len(self._names)
        try:
            with driver.transaction(), self._landing.of_a_part():
                return self.apply(connection, self.stage(fold.as_it_is()), reselect=reselect)
        except DataError as error:
            if error.sqlstate != FOREIGN_KEY_VIOLATION:
                raise
        with explaining(DestinationError, "drop what was staged"):
            for name in self._names[named:]:
                driver.execute(drop_staging(name))
        return None

    def _empty(self, driver: psycopg.Connection[Any], fold: Fold) -> tuple[int, int]:
        truncated = [self._terms[str(each.relation)] for each in fold.tables.values() if each.is_truncated]
        there = [target for target in self._look_at(driver, truncated) if target.exists]
        return (empty(driver, there) if there else 0), len(truncated)

    def _piece(self, folded: TableFold) -> TablePiece:
        name = str(folded.relation)
        return TablePiece(
            fold=folded,
            terms=self._terms[name],
            destination=self._destinations[name],
            types=self._relation_types(folded.relation),
            source=self._source,
            new_name=self._new_name,
        )

    def _new_name(self) -> str:
        name = f"stage_{self._run.extraction_id}_{next(self._numbers)}"
        self._names.append(name)
        return name

    def _in_order(
        self, driver: psycopg.Connection[Any], pieces: Sequence[TablePiece], reselect: Collection[str]
    ) -> list[TablePiece]:
        """The pieces, parents first, each with its target as it is now; those of one target stay in their order."""
        by_target: dict[TableName, list[TablePiece]] = {}
        for piece in pieces:
            by_target.setdefault(piece.terms.target, []).append(piece)
        ordered = []
        for target in self._look_at(driver, [shapes[0].terms for shapes in by_target.values()]):
            for piece in by_target[target.terms.target]:
                piece.look_at(target, has_moved=str(piece.fold.relation) not in reselect)
                ordered.append(piece)
        return ordered

    def _look_at(self, driver: psycopg.Connection[Any], tables: Sequence[CdcTable]) -> list[TargetState]:
        targets = look_at(driver, tables) if tables else []
        return [with_flag(driver, target) if target.terms.delete == "soft" else target for target in targets]

    def _relation_types(self, relation: Relation) -> dict[str, ColumnTypes]:
        if relation not in self._types:
            self._types[relation] = self._types_of.relation_types([relation])[relation.id]
        return self._types[relation]

    def _merge(self, connection: Connection, piece: TablePiece) -> Counts:
        rows = sum((self._merge_chunk(connection, piece, place) for place in range(len(piece.chunks))), Counts())
        anew = min(piece.rekeyed, rows.inserted)
        return rows + Counts(inserted=-anew, updated=anew, skipped=piece.left)

    def _merge_chunk(self, connection: Connection, piece: TablePiece, place: int) -> Counts:
        chunk, rules = piece.chunks[place], piece.terms.rules
        keys = MergeKeys(piece.terms.key, "")

        def merge(tolerance: Tolerance) -> Merged:
            return piece.destination.merge(connection, chunk.staged, chunk.rows, keys, rules, tolerance)

        return self._landing.land(connection, piece.destination.target, rules, chunk, piece.terms.key, merge)

    def _settle_deleted(self, connection: Connection, pieces: Sequence[TablePiece]) -> None:
        """Close the failed records of rows that are deleted: nobody needs to load them any more."""
        for piece in pieces:
            if piece.deletes is not None:
                target = piece.destination.target
                gone = piece.deleted_among(failed_records.open_keys(connection, self._run.sync_key, target))
                failed_records.settle(connection, self._run, target, gone)
