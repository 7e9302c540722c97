"""A table of BigQuery as a destination."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

from airflow_etl_sync.core import dataset_names
from airflow_etl_sync.core.model import Dataset, LoadRules, TableName
from airflow_etl_sync.errors import DestinationError, explaining
from airflow_etl_sync.state.turnstile import wait_for
from airflow_etl_sync.systems import remembered
from airflow_etl_sync.systems.base import Landed, Mark, Merged, MergeKeys, StagedChunk, Tolerance
from airflow_etl_sync.systems.bigquery import sql
from airflow_etl_sync.systems.bigquery.access import BigQueryAccess
from airflow_etl_sync.systems.bigquery.faults import bigquery_fault_of
from airflow_etl_sync.systems.bigquery.memory import BigQueryMemory
from airflow_etl_sync.systems.bigquery.names import path, refuse_bad_columns
from airflow_etl_sync.systems.bigquery.session import Session
from airflow_etl_sync.systems.bigquery.staging import staged_rows
from airflow_etl_sync.systems.bigquery.types import BIGQUERY, clustered, staged_type, unstaged, wider
from airflow_etl_sync.systems.columnar.destination import ColumnarDestination
from airflow_etl_sync.systems.columnar.table import WarehouseTable
from airflow_etl_sync.systems.columnar.types import type_name
from airflow_etl_sync.systems.columnar.warehouse import Fitted, mark_of

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine


class BigQueryDestination(ColumnarDestination):
    """Merges rows into a table of BigQuery, see :class:`~airflow_etl_sync.systems.base.Destination`.

    A chunk is loaded into a table of its own and merged by one script, a transaction that also notes what has landed.
    The script runs on the server to its end whether or not its client does. Tables are made and changed before it.

    :param access: the project
    :param table: the target; its schema is a dataset, by default that of the access
    :param state: where the state tables live
    """

    def __init__(self, access: BigQueryAccess, table: TableName, state: Engine) -> None:
        super().__init__(table, access.place, state)
        self._access = access
        dataset = table.schema or access.dataset or ""
        self._there = path(access.project, dataset, table.name)
        self._dataset = f"{access.project}.{dataset}"
        self._remembering = f"{self._dataset}.etl_sync_landed_{table.name}"

    @property
    def dataset(self) -> Dataset:
        """The table as lineage names it."""
        return dataset_names.in_bigquery(*self._there.rsplit(".", 2))

    def types(self) -> Mapping[str, str]:
        """The type of each of the table's columns, as PostgreSQL calls the like; no table yet, none."""
        with self._explaining(f"look at {self._name!r}"), self._access.open() as session:
            known = WarehouseTable.of(BIGQUERY, self._name, session.columns(self._there), ()).types
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
        with self._explaining(f"merge rows into {self._name!r}"), self._access.open() as session:
            self._enter(session, mark)
            columns = session.columns(self._there)
            fitted = Fitted.of(BIGQUERY, wider, self._name, columns, chunk, rows, keys, rules, tolerance)
            refuse_bad_columns(fitted.declared)
            self._shape(session, fitted)
            with staged_rows(session, self._dataset, fitted.source) as there:
                return self._write(session, there, fitted, mark)

    def recall(self, extraction_id: str) -> Mapping[int, Landed]:
        """What is remembered of a run, beside the table."""
        with self._explaining(f"ask what has landed in {self._name!r}"), self._access.open() as session:
            is_there = bool(session.columns(self._remembering))
            return self._memory(session).landed(extraction_id) if is_there else {}

    def _enter(self, session: Session, mark: Mark) -> None:
        """Note that the sync loads the table, and stop before any work where the chunk may not land."""
        if not session.columns(self._remembering):
            session.execute(sql.create_memory(self._remembering))
        self._memory(session).refuse_landed(mark)
        session.execute(sql.enter_sync(self._remembering), [self._table.name, mark.sync_key] * 2)

    def _shape(self, session: Session, fitted: Fitted) -> None:
        """Make the table, or the columns that the contract adds or widens; each is committed at once.

        :raises SchemaError: where the dataset gives new columns a collation
        """
        shaping = fitted.shaping
        if shaping.created:
            key = {name: shaping.created[name] for name in fitted.ready.key}
            session.execute(sql.create_table(self._there, shaping.created, clustered(key)))
        for name, type_ in shaping.added.items():
            session.execute(sql.add_column(self._there, name, type_))
        for name, type_ in shaping.widened.items():
            session.execute(sql.widen_column(self._there, name, type_))
        if shaping.created or shaping.added:
            WarehouseTable.of(BIGQUERY, self._name, session.columns(self._there), fitted.declared)

    def _write(self, session: Session, there: str, fitted: Fitted, mark: Mark) -> Merged:
        """Merge and remember.

        :raises StateError: where the chunk has landed meanwhile, or a newer run of the sync has
        :raises DataError: where rows of the table share a key
        """
        ready = fitted.ready
        script = sql.script(
            self._remembering, self._there, _merging(self._there, there, fitted),
            yields=mark.yields, overtakes=mark.overtakes,
        )  # fmt: skip
        values = self._noted(mark, ready.merged(0, 0)) | {"most_rows": ready.table.num_rows}
        ((outcome, inserted, changed),) = session.run(script, values).rows
        if outcome == "several":
            raise fitted.several_of_one_key()
        if outcome != "merged":
            self._memory(session).refuse_landed(mark)
            raise DestinationError(
                f"Another load of {self._name!r} has changed what is remembered: a retry asks again."
            )
        return ready.merged(inserted, changed - inserted)

    def _noted(self, mark: Mark, merged: Merged) -> dict[str, Any]:
        """What the script writes down beside its own counts."""
        forgotten = {"oldest": mark.turn - remembered.WEEK} if mark.overtakes else {}
        return {
            "target": self._table.name, "run": mark.extraction_id, "chunk": mark.number, "sync_key": mark.sync_key,
            "turn": mark.turn, "yields": mark.yields, "content": json.dumps(remembered.to_json(merged, mark.position)),
        } | forgotten  # fmt: skip

    def _memory(self, session: Session) -> BigQueryMemory:
        return BigQueryMemory(session, sql.remembering(self._remembering), self._table.name, self._name)

    def _explaining(self, doing: str) -> AbstractContextManager[None]:
        return explaining(DestinationError, doing, bigquery_fault_of)


def _merging(table: str, staged: str, fitted: Fitted) -> str:
    declared = fitted.declared
    values = {
        name: unstaged(sql.staged_column(place), staged_type(fitted.source.schema.field(name).type), type_)
        for place, (name, type_) in enumerate(declared.items())
    }
    floats = [name for name in fitted.ready.key if declared[name] == "FLOAT64"]
    return sql.merge(table, staged, values, fitted.ready.key, fitted.ready.rules, floats)
