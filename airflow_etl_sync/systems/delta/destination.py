"""A Delta Lake table as a destination."""

from __future__ import annotations

import random
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

from airflow_etl_sync.core import dataset_names
from airflow_etl_sync.core.model import Dataset, LoadRules, TableName
from airflow_etl_sync.errors import DestinationError, SchemaError, explaining
from airflow_etl_sync.state.turnstile import wait_for
from airflow_etl_sync.systems.base import Landed, Mark, Merged, MergeKeys, StagedChunk, Tolerance
from airflow_etl_sync.systems.columnar.destination import ColumnarDestination
from airflow_etl_sync.systems.columnar.fitting import never_widens
from airflow_etl_sync.systems.columnar.rows import make_ready, refuse_lacking
from airflow_etl_sync.systems.columnar.types import type_name
from airflow_etl_sync.systems.delta import log, merging
from airflow_etl_sync.systems.delta.access import DeltaAccess
from airflow_etl_sync.systems.delta.faults import delta_fault_of

if TYPE_CHECKING:
    import pyarrow as pa
    from deltalake import DeltaTable
    from sqlalchemy import Connection, Engine

_ATTEMPTS = 6


class DeltaDestination(ColumnarDestination):
    """Merges rows into a Delta table, see :class:`~airflow_etl_sync.systems.base.Destination`.

    A chunk is one commit, or none at all: it fails where anybody has committed since it looked at the table, and is
    then made anew.

    :param access: the lake
    :param table: the target
    :param state: where the state tables live
    """

    def __init__(self, access: DeltaAccess, table: TableName, state: Engine) -> None:
        super().__init__(table, access.root, state)
        self._access = access
        self._uri = access.uri(table)

    @property
    def dataset(self) -> Dataset:
        """The table as lineage names it."""
        return dataset_names.in_folder(self._uri)

    def types(self) -> dict[str, str]:
        """The type of each of the table's columns, as PostgreSQL calls the like; no table yet, none."""
        with explaining(DestinationError, f"look at {self._name!r}", delta_fault_of):
            table = self._open()
            return {} if table is None else {name: type_name(type_) for name, type_ in _columns(table).items()}

    def merge(
        self,
        connection: Connection,
        staged: StagedChunk,
        rows: int,
        keys: MergeKeys,
        rules: LoadRules,
        tolerance: Tolerance,
    ) -> Merged:
        from deltalake.exceptions import CommitFailedError

        chunk = self._staged.pop(staged.name)
        wait_for(connection, self._uri)
        with explaining(DestinationError, f"merge rows into {self._name!r}", delta_fault_of):
            for attempt in range(_ATTEMPTS):
                time.sleep(attempt * random.uniform(0.1, 0.5))  # noqa: S311 - so that two writers do not keep step
                try:
                    return self._merge(chunk, staged.mark, rows, keys, rules, tolerance)
                except CommitFailedError:
                    continue
        raise DestinationError(
            f"Others have committed to {self._name!r} each time that a chunk was merged: a retry begins anew."
        )

    def recall(self, extraction_id: str) -> Mapping[int, Landed]:
        """What the table's log tells of a run."""
        with explaining(DestinationError, f"read the log of {self._name!r}", delta_fault_of):
            table = self._open()
            return {} if table is None else log.landed(table, extraction_id)

    def _merge(
        self, chunk: pa.Table, mark: Mark | None, rows: int, keys: MergeKeys, rules: LoadRules, tolerance: Tolerance
    ) -> Merged:
        from deltalake import CommitProperties

        table = self._open()
        if table is not None and mark is not None:
            log.refuse_landed(table, mark, self._name)
        columns, required = ({}, []) if table is None else (_columns(table), _required(table))
        ready = make_ready(self._name, columns, required, chunk, rows, keys, rules, tolerance, never_widens)
        source = ready.with_time()
        if table is None:
            table = self._create(source.schema, rules)
        refuse_lacking(self._name, columns, required, source, rules)
        unwritten = ready.merged(0, 0)
        properties = CommitProperties(max_commit_retries=0) if mark is None else log.properties(table, mark, unwritten)
        before = table.version()
        metrics = merging.merge(table, source, ready.key, ready.fitted.added, ready.rules, properties)
        if table.version() == before and mark is not None:  # nothing was written, which is remembered all the same
            table.create_write_transaction([], "append", table.schema(), commit_properties=properties)
        return ready.merged(*log.written(metrics))

    def _open(self) -> DeltaTable | None:
        from deltalake import DeltaTable
        from deltalake.exceptions import TableNotFoundError

        try:
            return DeltaTable(self._uri, storage_options=dict(self._access.options()))
        except TableNotFoundError:
            return None

    def _create(self, schema: pa.Schema, rules: LoadRules) -> DeltaTable:
        from deltalake import CommitProperties, DeltaTable

        if not rules.create_table:
            raise SchemaError(f"The destination has no table {self._name!r} and create_table is off: create it first.")
        return DeltaTable.create(
            self._uri,
            schema,
            storage_options=dict(self._access.options()),
            partition_by=list(self._access.partitions.get(self._name, ())),
            commit_properties=CommitProperties(max_commit_retries=0),
        )


def _columns(table: DeltaTable) -> dict[str, pa.DataType]:
    import pyarrow as pa

    schema = pa.schema(table.schema())
    return {field.name: _plain(field.type) for field in schema}


def _plain(kind: pa.DataType) -> pa.DataType:
    import pyarrow as pa

    names = {pa.large_string(): pa.string(), pa.string_view(): pa.string(), pa.large_binary(): pa.binary()}
    return names.get(kind, kind)


def _required(table: DeltaTable) -> list[str]:
    return [field.name for field in table.schema().fields if not field.nullable]
