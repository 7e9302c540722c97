"""What a run read and wrote, as OpenLineage tells it: tables, columns and numbers of rows, never a value.

Without the OpenLineage provider (extra ``openlineage``) nothing here runs.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from threading import Thread
from typing import TYPE_CHECKING, Any, Protocol

from airflow_etl_sync.core.dataset_names import in_folder
from airflow_etl_sync.core.model import Counts, Dataset, Origin, TableName
from airflow_etl_sync.errors import DestinationError, EtlSyncError, explaining

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from airflow.providers.openlineage.extractors import OperatorLineage

    from airflow_etl_sync.systems.database.access import DatabaseAccess
    from airflow_etl_sync.systems.files.place import FilePlace
    from airflow_etl_sync.systems.http.access import HttpAccess
    from airflow_etl_sync.systems.postgres.access import PostgresAccess

_ANSWER_SECONDS = 5.0
"""So long a destination is waited for to tell its columns; Airflow gives lineage 10 seconds in all by default."""


class Written(Protocol):
    """A table that was written: a destination."""

    @property
    def dataset(self) -> Dataset | None:
        """Its name; None where lineage has none for it."""

    def types(self) -> Mapping[str, str]:
        """The type of each of its columns; an empty text for one of texts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Flow:
    """What a task brought from where to where.

    :param origin: what was read
    :param state: the database that recorded the run
    :param extraction_id: the run
    :param target: the table that was written, wherever it is; None for a step that writes none
    :param counts: what became of its rows
    :param columns: of the target, by name the type; None where they are asked for when lineage is told
    """

    origin: Origin
    state: PostgresAccess
    extraction_id: str | None = None
    target: Written | None = None
    counts: Counts | None = None
    columns: Mapping[str, str | None] | None = None

    def seen(self) -> Flow:
        """The same with the target's columns, where lineage is told at all.

        It is told by a fork of the task's process, in which libraries with threads of their own, such as Delta's,
        answer nothing.
        """
        if self.target is None or not _is_told():
            return self
        return replace(self, columns=_columns_of(self.target))


class LineageTeller:
    """An operator that remembers what it brought where, and tells OpenLineage when the listener asks."""

    flows: tuple[Flow, ...] = ()

    def get_openlineage_facets_on_complete(self, _task_instance: Any) -> OperatorLineage[Any, Any] | None:
        """The datasets of the run, as OpenLineage's listener asks for them."""
        return lineage_of(*self.flows) if self.flows else None


def origin_of(
    access: PostgresAccess | DatabaseAccess | HttpAccess | FilePlace, table: TableName | None, query: str | None
) -> Origin:
    """What a stream reads: its table, the tables that OpenLineage's parser finds in its query, or its files' folder.

    Nothing where lineage has no name for it: it has one for tables of PostgreSQL, MySQL and SQLite.
    """
    from airflow_etl_sync.systems.database import naming as other_naming
    from airflow_etl_sync.systems.files.place import FilePlace
    from airflow_etl_sync.systems.http.access import HttpAccess
    from airflow_etl_sync.systems.postgres import naming
    from airflow_etl_sync.systems.postgres.access import PostgresAccess

    if isinstance(access, HttpAccess):
        return Origin()
    if isinstance(access, FilePlace):
        return Origin((_dataset_of_files(access),), is_table=True)
    name: Callable[[TableName], Dataset | None]
    if isinstance(access, PostgresAccess):
        dialect, name = "postgres", partial(naming.dataset_of, access)
    elif access.dialect_name in _DIALECTS:
        dialect, name = _DIALECTS[access.dialect_name], partial(other_naming.dataset_of, access)
    else:
        return Origin()
    tables = _tables_in(query or "", dialect) if table is None else [table]
    named = [dataset for dataset in map(name, tables) if dataset is not None]
    return Origin(tuple(named), is_table=table is not None and bool(named))


_DIALECTS = {"mariadb": "mysql", "mysql": "mysql", "postgresql": "postgres", "sqlite": "sqlite"}
"""What OpenLineage's parser of queries calls the databases that SQLAlchemy reaches."""


def _dataset_of_files(place: FilePlace) -> Dataset:
    if place.protocol == "file":
        return Dataset("file", place.folder)
    return in_folder(f"{place.protocol}://{place.folder}")


def lineage_of(*flows: Flow) -> OperatorLineage[Any, Any]:
    """Inputs and outputs, with their columns and, for one output, how many rows were written."""
    from airflow.providers.openlineage.extractors import OperatorLineage

    inputs, outputs = [], []
    for flow in flows:
        read = _columns_read(flow) if flow.origin.is_table else {}
        inputs += [_input(dataset, read) for dataset in flow.origin.datasets]
        if flow.target is not None and (written := flow.target.dataset) is not None:
            outputs.append(_output(flow, flow.target, written, read))
    return OperatorLineage(inputs=inputs, outputs=outputs)


def _tables_in(query: str, dialect: str) -> list[TableName]:
    try:
        from openlineage_sql import parse
    except ImportError:
        return []
    found = parse([query.replace(":window(", "sync_window(")], dialect=dialect)
    return [] if found is None else [TableName(table.name, table.schema) for table in found.in_tables]


def _columns_read(flow: Flow) -> Mapping[str, str]:
    from airflow_etl_sync.state import runs

    if flow.extraction_id is None:
        return {}
    try:
        with explaining(DestinationError, "read a run's columns"), flow.state.hasty().engine().connect() as connection:
            return runs.columns_of(connection, flow.extraction_id)
    except EtlSyncError:
        return {}


def _is_told() -> bool:
    try:
        from airflow.providers.openlineage.conf import is_disabled
    except ImportError:
        return False
    return not is_disabled()


def _columns_written(flow: Flow, target: Written, read: Mapping[str, str]) -> Mapping[str, str | None]:
    """The table's columns and their types; where each file has its own, the columns that were read."""
    from airflow_etl_sync.systems.parquet.destination import ParquetDestination

    if isinstance(target, ParquetDestination):
        return dict.fromkeys(read)
    return _columns_of(target) if flow.columns is None else flow.columns


def _columns_of(target: Written) -> Mapping[str, str | None]:
    from airflow_etl_sync.systems.database.destination import DatabaseDestination

    ask = target.declared_types if isinstance(target, DatabaseDestination) else target.types
    answers: list[Mapping[str, str]] = []

    def answer() -> None:
        with suppress(EtlSyncError):
            answers.append(ask())

    asking = Thread(target=answer, daemon=True)
    asking.start()
    asking.join(_ANSWER_SECONDS)
    return {name: type_ or "text" for name, type_ in answers[0].items()} if answers else {}


def _input(dataset: Dataset, columns: Mapping[str, str]) -> Any:
    from airflow.providers.common.compat.openlineage.facet import InputDataset

    return InputDataset(namespace=dataset.namespace, name=dataset.name, facets=_schema(columns))


def _output(flow: Flow, target: Written, dataset: Dataset, read: Mapping[str, str]) -> Any:
    from airflow.providers.common.compat.openlineage.facet import OutputDataset, OutputStatisticsOutputDatasetFacet

    columns = _columns_written(flow, target, read)
    facets = {**_schema(columns), **_column_lineage(flow.origin, [name for name in columns if name in read])}
    statistics: dict[str, Any] = {}
    if flow.counts is not None:
        written = flow.counts.inserted + flow.counts.updated
        statistics["outputStatistics"] = OutputStatisticsOutputDatasetFacet(rowCount=written)
    return OutputDataset(
        namespace=dataset.namespace, name=dataset.name, facets=facets, outputFacets=statistics
    )  # fmt: skip


def _schema(columns: Mapping[str, str] | Mapping[str, str | None]) -> dict[str, Any]:
    from airflow.providers.common.compat.openlineage.facet import SchemaDatasetFacet, SchemaDatasetFacetFields

    fields = [SchemaDatasetFacetFields(name=name, type=type_) for name, type_ in columns.items()]
    return {"schema": SchemaDatasetFacet(fields=fields)} if fields else {}


def _column_lineage(origin: Origin, names: list[str]) -> dict[str, Any]:
    """Each column of a table is what it was there; what a query computes is not known."""
    from airflow.providers.common.compat.openlineage.facet import ColumnLineageDatasetFacet, Fields, InputField

    if not (origin.is_table and names):
        return {}
    [source] = origin.datasets
    fields = {
        name: Fields(
            inputFields=[InputField(namespace=source.namespace, name=source.name, field=name)],
            transformationDescription="as it is",
            transformationType="IDENTITY",
        )
        for name in names
    }
    return {"columnLineage": ColumnLineageDatasetFacet(fields=fields)}
