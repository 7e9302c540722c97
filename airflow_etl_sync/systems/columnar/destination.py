"""What destinations share that take a chunk as one Arrow table, and whose tables are not in the state's database."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from airflow_etl_sync.core.model import TableName
from airflow_etl_sync.systems.base import StagedChunk, named_elsewhere
from airflow_etl_sync.systems.spool import spooled

if TYPE_CHECKING:
    import pyarrow as pa
    from sqlalchemy import Engine

    from airflow_etl_sync.core.model import Dataset


class ColumnarDestination:
    """Keeps staged chunks on this machine's disk until they are merged.

    :param table: the target
    :param place: where it is, without login
    :param state: where the state tables live
    """

    def __init__(self, table: TableName, place: str, state: Engine) -> None:
        self._table = table
        self._name = str(table)
        self._target = named_elsewhere(table, place)
        self._engine = state
        self._staged: dict[str, pa.Table] = {}

    @property
    def engine(self) -> Engine:
        return self._engine

    @property
    def target(self) -> str:
        return self._target

    @property
    def dataset(self) -> Dataset | None:
        """The table as lineage names it; None where it has no name for it."""
        return None

    def types(self) -> Mapping[str, str]:
        """The type of each of the table's columns; no table yet, none."""
        raise NotImplementedError

    def is_there(self) -> bool:
        """Whether there is a table."""
        return bool(self.types())

    def stage(self, name: str, schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> StagedChunk:
        """Bring the batches to this machine's disk."""
        self._staged[name] = spooled(schema, batches)
        return StagedChunk(name, schema)
