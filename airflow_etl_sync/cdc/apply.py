"""Folded changes → the destination's tables, in an order that holds."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from itertools import count
from typing import TYPE_CHECKING, Any, Protocol

from airflow_etl_sync.cdc.appender import Appender
from airflow_etl_sync.cdc.appending import Record
from airflow_etl_sync.cdc.apply_sql import LET_IT_WAIT
from airflow_etl_sync.cdc.fold import Fold, TableFold
from airflow_etl_sync.cdc.landing import Landing
from airflow_etl_sync.cdc.piece import TablePiece
from airflow_etl_sync.cdc.reselect import SourceRows
from airflow_etl_sync.cdc.tables import CdcCounts, CdcTable, SourceTable
from airflow_etl_sync.cdc.targets import TargetState, empty, look_at, with_flag
from airflow_etl_sync.core.changes import Relation
from airflow_etl_sync.core.columns import ColumnTypes
from airflow_etl_sync.core.model import Counts
from airflow_etl_sync.errors import DestinationError, explaining
from airflow_etl_sync.state import failed_records
from airflow_etl_sync.state.runs import Run
from airflow_etl_sync.systems.base import Merged, MergeKeys, Tolerance
from airflow_etl_sync.systems.postgres.access import PostgresAccess, driver_of
from airflow_etl_sync.systems.postgres.destination import PostgresDestination
from airflow_etl_sync.systems.postgres.keys import pin_settings

if TYPE_CHECKING:
    import psycopg
    from sqlalchemy import Connection

__all__ = ["Applier", "CdcCounts", "CdcTable"]


class TypesOfRelations(Protocol):
    """Tells the types of relations' columns, as :class:`~airflow_etl_sync.cdc.slot.ReplicationSlot` does."""

    def relation_types(self, relations: Sequence[Relation], /) -> dict[int, dict[str, ColumnTypes]]: ...


class Applier:
    """Applies folds to the destination, each in its caller's transaction.

    Within a fold, targets are emptied first; then everything is staged, and what the log leaves out is found while
    the rows still are as they were. Rows that nothing references are deleted before others take their place, rows
    are merged parents first, and rows that may be referenced are deleted last, children first. Histories are appended
    to before all that.

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
        source: SourceRows,
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
        self._landing = Landing(run)
        histories = [table for table in tables if table.terms.is_history]
        self._appender = Appender(
            destination, histories, records or {}, self._relation_types, self._new_name, self._landing
        )

    def apply(self, connection: Connection, fold: Fold, *, reselect: Collection[str] = ()) -> CdcCounts:
        """Apply a fold; nothing is changed unless the transaction commits.

        :param reselect: tables (``schema.name``) whose rows may be newer here than what is applied, since they are
            being copied: a row that was moved and is not whole in the log is read again at the source
        :raises DataError: where more rows cannot be loaded than are tolerated
        """
        driver = driver_of(connection)
        with explaining(DestinationError, "apply changes"):
            driver.execute(LET_IT_WAIT)
            pin_settings(driver)
            appended = self._appender.append(connection, fold.histories.values())
            emptied, truncated = self._empty(driver, fold)
            pieces = self._pieces(driver, fold, reselect)
            for piece in pieces:
                piece.stage(driver)
            deleted = sum(piece.delete(driver) for piece in pieces if not piece.target.is_referenced)
            for piece in pieces:
                piece.make_way(driver)
            merged = sum((self._merge(connection, piece) for piece in pieces), appended)
            deleted += sum(piece.delete(driver) for piece in pieces[::-1] if piece.target.is_referenced)
            self._settle_deleted(connection, fold)
        return CdcCounts(
            changes=fold.changes,
            inserted=merged.inserted,
            updated=merged.updated,
            skipped=merged.skipped,
            errors=merged.errors,
            deleted=deleted + emptied,
            truncated=truncated,
        )

    def _empty(self, driver: psycopg.Connection[Any], fold: Fold) -> tuple[int, int]:
        truncated = [self._terms[str(each.relation)] for each in fold.tables.values() if each.is_truncated]
        there = [target for target in self._look_at(driver, truncated) if target.exists]
        return (empty(driver, there) if there else 0), len(truncated)

    def _pieces(self, driver: psycopg.Connection[Any], fold: Fold, reselect: Collection[str]) -> list[TablePiece]:
        by_target = {self._terms[str(each.relation)].target: each for each in fold.tables.values()}
        targets = self._look_at(driver, [self._terms[str(each.relation)] for each in by_target.values()])
        folded = [(by_target[target.terms.target], target) for target in targets]
        return [self._piece(each, target, reselect) for each, target in folded]

    def _piece(self, folded: TableFold, target: TargetState, reselect: Collection[str]) -> TablePiece:
        name = str(folded.relation)
        return TablePiece(
            fold=folded,
            target=target,
            destination=self._destinations[name],
            types=self._relation_types(folded.relation),
            source=self._source,
            new_name=self._new_name,
            has_moved=name not in reselect,
        )

    def _new_name(self) -> str:
        return f"stage_{self._run.extraction_id}_{next(self._numbers)}"

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
        chunk, rules = piece.chunks[place], piece.target.terms.rules
        keys = MergeKeys(piece.target.terms.key, "")

        def merge(tolerance: Tolerance) -> Merged:
            return piece.destination.merge(connection, chunk.staged, chunk.rows, keys, rules, tolerance)

        return self._landing.land(connection, piece.destination.target, rules, chunk.rows, merge)

    def _settle_deleted(self, connection: Connection, fold: Fold) -> None:
        """Close the failed records of rows that are deleted: nobody needs to load them any more."""
        for each in fold.tables.values():
            target = self._destinations[str(each.relation)].target
            if each.deletes:
                open_keys = failed_records.open_keys(connection, self._run.sync_key, target)
                gone = [key for key in open_keys if key in each.deletes]
                failed_records.settle(connection, self._run, target, gone)
