"""Changes one by one → the destination's histories."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow_etl_sync.cdc.appending import HistoryPiece, Record
from airflow_etl_sync.cdc.history import TableHistory
from airflow_etl_sync.cdc.history_target import HistoryTarget
from airflow_etl_sync.cdc.landing import Landing
from airflow_etl_sync.cdc.piece import Chunk
from airflow_etl_sync.cdc.tables import SourceTable
from airflow_etl_sync.core.changes import Lsn, Relation
from airflow_etl_sync.core.columns import ColumnTypes
from airflow_etl_sync.core.model import Counts
from airflow_etl_sync.state import failed_records
from airflow_etl_sync.systems.base import Merged, Tolerance
from airflow_etl_sync.systems.postgres.access import PostgresAccess, driver_of

if TYPE_CHECKING:
    import psycopg
    from sqlalchemy import Connection


class Appender:
    """Appends changes to histories, each in its caller's transaction.

    :param destination: where the targets and the state tables are
    :param tables: those that are histories
    :param records: from where on each target holds every change, by the table's name in the log
    :param types: tells the columns' types of a relation
    :param new_name: gives a name for a staging table that no other has
    """

    def __init__(
        self,
        destination: PostgresAccess,
        tables: Sequence[SourceTable],
        records: Mapping[str, Record],
        types: Callable[[Relation], dict[str, ColumnTypes]],
        new_name: Callable[[], str],
        landing: Landing,
    ) -> None:
        self._targets = {
            table.name: HistoryTarget(destination, table.terms.target, table.terms.key) for table in tables
        }
        self._terms = {table.name: table.terms for table in tables}
        self._records = records
        self._types = types
        self._new_name = new_name
        self._landing = landing
        self._newest: dict[str, Lsn] = {}

    def append(self, connection: Connection, told: Collection[TableHistory]) -> Counts:
        """Append changes, under pinned settings; nothing is changed unless the transaction commits.

        :returns: what became of the rows: one for each change, and two for one that changes a key
        :raises DataError: where more rows cannot be appended than are tolerated
        """
        return sum((self._append(connection, each) for each in told), Counts())

    def _append(self, connection: Connection, told: TableHistory) -> Counts:
        driver, name = driver_of(connection), str(told.relation)
        piece = HistoryPiece(
            told=told,
            target=self._targets[name],
            types=self._types(told.relation),
            record=self._records.get(name, Record()),
            new_name=self._new_name,
            failed=self._failed(connection, name),
            newest=self._newest_of(driver, name),
        )
        piece.stage(driver)
        piece.refuse_strangers(driver)
        counts = sum((self._append_chunk(connection, name, chunk) for chunk in piece.chunks), Counts())
        if counts.processed != len(told.rows):
            raise AssertionError(f"counts of {name} do not add up: {counts} of {len(told.rows)} rows")
        return counts

    def _append_chunk(self, connection: Connection, name: str, chunk: Chunk) -> Counts:
        target, rules = self._targets[name], self._terms[name].landing_rules

        def merge(tolerance: Tolerance) -> Merged:
            return target.append(connection, chunk.staged, chunk.rows, rules, tolerance)

        return self._landing.land(connection, target.destination.target, rules, chunk, target.key, merge)

    def _failed(self, connection: Connection, name: str) -> set[tuple[str | None, ...]]:
        target, key = self._targets[name].destination.target, self._terms[name].key
        return failed_records.open_values(connection, self._landing.run.sync_key, target, key)

    def _newest_of(self, driver: psycopg.Connection[Any], name: str) -> Lsn:
        """Asked once, before the run's first change comes: what it has appended itself is no stranger."""
        if name not in self._newest:
            target = self._targets[name]
            self._newest[name] = target.newest(driver) if target.columns(driver) else 0
        return self._newest[name]
