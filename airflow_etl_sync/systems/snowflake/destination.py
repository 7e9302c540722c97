"""A table of Snowflake as a destination."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from airflow_etl_sync.core import dataset_names
from airflow_etl_sync.core.model import Dataset, LoadRules, TableName
from airflow_etl_sync.errors import DestinationError, explaining
from airflow_etl_sync.state.turnstile import wait_for
from airflow_etl_sync.systems.base import Landed, Merged, MergeKeys, StagedChunk, Tolerance
from airflow_etl_sync.systems.columnar.destination import ColumnarDestination
from airflow_etl_sync.systems.columnar.memory import Memory
from airflow_etl_sync.systems.columnar.table import WarehouseTable
from airflow_etl_sync.systems.columnar.types import type_name
from airflow_etl_sync.systems.columnar.warehouse import Fitted, Shaping, mark_of
from airflow_etl_sync.systems.snowflake import sql
from airflow_etl_sync.systems.snowflake.access import SnowflakeAccess
from airflow_etl_sync.systems.snowflake.faults import snowflake_fault_of
from airflow_etl_sync.systems.snowflake.names import folded
from airflow_etl_sync.systems.snowflake.session import Session
from airflow_etl_sync.systems.snowflake.staging import stage_rows
from airflow_etl_sync.systems.snowflake.turn import Turn
from airflow_etl_sync.systems.snowflake.types import SNOWFLAKE, declared_type, wider

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine


class SnowflakeDestination(ColumnarDestination):
    """Merges rows into a table of Snowflake, see :class:`~airflow_etl_sync.systems.base.Destination`.

    A chunk is put into a temporary table and merged by one MERGE, in a transaction that also notes what has landed.
    Tables are made and changed before it, since Snowflake commits whatever is open when it makes one.

    :param access: the database
    :param table: the target
    :param state: where the state tables live
    """

    def __init__(self, access: SnowflakeAccess, table: TableName, state: Engine) -> None:
        super().__init__(table, access.place, state)
        self._access = access
        self._schema = folded(table.schema) if table.schema else None
        self._there = folded(table.name)

    @property
    def dataset(self) -> Dataset:
        """The table as lineage names it."""
        names = ("account", "region", "database", "schema")
        account, region, database, schema = (str(self._access.options.get(name) or "") for name in names)
        located = f"{account}.{region}" if region and "." not in account else account
        return dataset_names.in_snowflake(located, folded(database), self._schema or folded(schema), self._there)

    def types(self) -> Mapping[str, str]:
        """The type of each of the table's columns, as PostgreSQL calls the like; no table yet, none."""
        with self._explaining(f"look at {self._name!r}"), self._access.open(self._schema) as session:
            known = WarehouseTable.of(SNOWFLAKE, self._name, session.columns(self._there), ()).types
            return {name: type_name(type_) for name, type_ in known.items()}

    def merge(
        self,
        connection: Connection,
        staged: StagedChunk,
        rows: int,
        keys: MergeKeys,
        rules: LoadRules,
        tolerance: Tolerance,
    ) -> Merged:
        chunk, mark = self._staged.pop(staged.name), mark_of(staged)
        wait_for(connection, self._target)
        with self._explaining(f"merge rows into {self._name!r}"), self._access.open(self._schema) as session:
            turn = Turn(session, self._memory(session), mark)
            turn.enter()
            columns = session.columns(self._there)
            fitted = Fitted.of(SNOWFLAKE, wider, self._name, columns, chunk, rows, keys, rules, tolerance)
            self._shape(session, fitted.shaping)
            stage_rows(session, fitted.source)
            with session.transaction():
                turn.begin()
                merged = self._write(session, fitted)
                turn.end(merged)
        return merged

    def recall(self, extraction_id: str) -> Mapping[int, Landed]:
        """What is remembered of a run, beside the table."""
        with (
            self._explaining(f"ask what has landed in {self._name!r}"),
            self._access.open(self._schema) as session,
        ):
            return self._memory(session).landed(extraction_id) if session.columns(sql.LANDED) else {}

    def _shape(self, session: Session, shaping: Shaping) -> None:
        """Make the table, or the columns that the contract adds or widens; each is committed at once."""
        if shaping.created:
            session.execute(sql.create_table(self._there, {folded(n): type_ for n, type_ in shaping.created.items()}))
        for name, type_ in shaping.added.items():
            session.execute(sql.add_column(self._there, folded(name), type_))
        for name, type_ in shaping.widened.items():
            session.execute(sql.widen_column(self._there, folded(name), type_))

    def _write(self, session: Session, fitted: Fitted) -> Merged:
        ready = fitted.ready
        key = [folded(name) for name in ready.key]
        told = session.told(sql.merge(self._there, _written(fitted), key, ready.rules))
        inserted, updated = told.get("number of rows inserted", 0), told.get("number of rows updated", 0)
        if inserted + updated > ready.table.num_rows:
            raise fitted.several_of_one_key()
        return ready.merged(inserted, updated)

    def _memory(self, session: Session) -> Memory:
        return Memory(session, sql.MEMORY, self._there, self._name)

    def _explaining(self, doing: str) -> AbstractContextManager[None]:
        return explaining(DestinationError, doing, snowflake_fault_of)


def _written(fitted: Fitted) -> Sequence[sql.Written]:
    staged = {field.name: declared_type(field.type) for field in fitted.source.schema}
    return [
        sql.Written(name=folded(name), staged=staged[name], declared=declared)
        for name, declared in fitted.declared.items()
    ]
