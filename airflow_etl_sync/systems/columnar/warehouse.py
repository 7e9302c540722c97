"""What destinations share that merge a chunk into a warehouse by one MERGE, after they have shaped the table for it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from airflow_etl_sync.core.model import LoadRules
from airflow_etl_sync.errors import DataError, SchemaError, StateError
from airflow_etl_sync.systems.base import Mark, MergeKeys, StagedChunk, Tolerance
from airflow_etl_sync.systems.columnar.fitting import Widens
from airflow_etl_sync.systems.columnar.rows import Ready, make_ready, refuse_lacking
from airflow_etl_sync.systems.columnar.table import TableColumn, Warehouse, WarehouseTable

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True, slots=True, kw_only=True)
class Shaping:
    """What the table needs before the rows can go in, by the stream's names, with the warehouse's types.

    :param created: all columns, where there is no table yet
    """

    created: Mapping[str, str]
    added: Mapping[str, str]
    widened: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Fitted:
    """A chunk that fits its table, or will once the table is shaped.

    :param source: the rows that are loaded, in the types of the table's columns
    """

    target: str
    table: WarehouseTable
    ready: Ready
    source: pa.Table

    @classmethod
    def of(
        cls, warehouse: Warehouse, widens: Widens, target: str, columns: Sequence[TableColumn], chunk: pa.Table,
        rows: int, keys: MergeKeys, rules: LoadRules, tolerance: Tolerance,
    ) -> Fitted:  # fmt: skip
        """Make a chunk ready for a table of these columns.

        :raises EtlSyncError: as :func:`~airflow_etl_sync.systems.columnar.rows.make_ready` does
        """
        names = [*chunk.schema.names, *filter(None, [rules.synced_at_column])]
        table = WarehouseTable.of(warehouse, target, columns, names)
        ready = make_ready(
            target, table.types, table.required, chunk, rows, keys, rules, tolerance, widens, table.misfits
        )
        source = ready.with_time()
        refuse_lacking(target, table.types, table.demanded, source, rules)
        return cls(target, table, ready, source)

    @property
    def shaping(self) -> Shaping:
        """:raises SchemaError: where there is no table, and none is to be made"""
        types = self._new_types
        if not self.table.types and not self.ready.rules.create_table:
            raise SchemaError(f"The destination has no table {self.target!r} and create_table is off: create it first.")
        fitted = self.ready.fitted
        return Shaping(
            created={} if self.table.types else types,
            added=_chosen(types, fitted.added),
            widened=_chosen(types, fitted.widened),
        )

    @property
    def declared(self) -> dict[str, str]:
        """The types of the written columns in the table, once it is shaped."""
        widened = self.shaping.widened
        return {name: widened.get(name) or self.table.declared(name, type_) for name, type_ in self._new_types.items()}

    @property
    def _new_types(self) -> dict[str, str]:
        """The types that the written columns would get in a new table."""
        return {field.name: self.table.warehouse.declared_type(field.type) for field in self.source.schema}

    def several_of_one_key(self) -> DataError:
        """What is said where a merge has changed more rows than there are."""
        return DataError(
            f"The table {self.target!r} has several rows of one key ({', '.join(self.ready.key)}): leave one of each. "
            "The chunk is not loaded."
        )


def mark_of(staged: StagedChunk) -> Mark:
    """:raises StateError: where a chunk has none"""
    if staged.mark is None:
        raise StateError("A chunk that lands elsewhere needs a mark by which it is remembered.")
    return staged.mark


def _chosen(types: Mapping[str, str], names: Iterable[str]) -> dict[str, str]:
    return {name: types[name] for name in names}
