"""What a run read and wrote, as OpenLineage tells it: tables, columns and numbers of rows, never a value.

Without the OpenLineage provider (extra ``openlineage``) nothing here runs.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from airflow_etl_sync.core.model import Counts, Dataset, Origin, TableName
from airflow_etl_sync.errors import DestinationError, EtlSyncError, explaining

if TYPE_CHECKING:
    from collections.abc import Mapping

    from airflow.providers.openlineage.extractors import OperatorLineage
    from sqlalchemy import URL

    from airflow_etl_sync.systems.database.access import DatabaseAccess
    from airflow_etl_sync.systems.files.place import FilePlace
    from airflow_etl_sync.systems.http.access import HttpAccess
    from airflow_etl_sync.systems.postgres.access import PostgresAccess

_DEFAULT_SCHEMA = "public"
"""That of a table whose name has none, as Airflow's own hook for PostgreSQL takes it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Flow:
    """What a task brought from where to where.

    :param origin: what was read
    :param state: the database that recorded the run
    :param extraction_id: the run
    :param target: the table that was written, in ``state``'s database; None for a step that writes none
    :param counts: what became of its rows
    """

    origin: Origin
    state: PostgresAccess
    extraction_id: str | None = None
    target: TableName | None = None
    counts: Counts | None = None


class LineageTeller:
    """An operator that remembers what it brought where, and tells OpenLineage when the listener asks."""

    flows: tuple[Flow, ...] = ()

    def get_openlineage_facets_on_complete(self, _task_instance: Any) -> OperatorLineage[Any, Any] | None:
        """The datasets of the run, as OpenLineage's listener asks for them."""
        return lineage_of(*self.flows) if self.flows else None


def dataset_of(access: PostgresAccess, table: TableName) -> Dataset:
    """A table's name in OpenLineage: ``postgres://host:port`` and ``database.schema.table``."""
    from psycopg.conninfo import conninfo_to_dict

    options = conninfo_to_dict(access.conninfo)
    host, port = (str(options.get(name) or "").split(",")[0].lower() for name in ("host", "port"))
    database = options.get("dbname") or options.get("user")
    namespace = f"postgres://{host or 'localhost'}:{port or 5432}"
    return Dataset(namespace, f"{database}.{table.schema or _DEFAULT_SCHEMA}.{table.name}")


def origin_of(
    access: PostgresAccess | DatabaseAccess | HttpAccess | FilePlace, table: TableName | None, query: str | None
) -> Origin:
    """What a stream reads: its table, the tables that OpenLineage's parser finds in its query, or its files' folder.

    Nothing where OpenLineage has no name for it: it has one for tables of PostgreSQL and MySQL.
    """
    from airflow_etl_sync.systems.files.place import FilePlace
    from airflow_etl_sync.systems.http.access import HttpAccess
    from airflow_etl_sync.systems.postgres.access import PostgresAccess

    if isinstance(access, HttpAccess):
        return Origin()
    if isinstance(access, FilePlace):
        return Origin((_dataset_of_files(access),), is_table=True)
    if isinstance(access, PostgresAccess):
        dialect, named = "postgres", partial(dataset_of, access)
    elif (url := access.make_engine().url).get_backend_name() in ("mysql", "mariadb"):
        dialect, named = "mysql", partial(_dataset_of_mysql, url)
    else:
        return Origin()
    if table is not None:
        return Origin((named(table),), is_table=True)
    return Origin(tuple(map(named, _tables_in(query or "", dialect))), is_table=False)


def _dataset_of_mysql(url: URL, table: TableName) -> Dataset:
    namespace = f"mysql://{(url.host or 'localhost').lower()}:{url.port or 3306}"
    return Dataset(namespace, f"{table.schema or url.database}.{table.name}")


def _dataset_of_files(place: FilePlace) -> Dataset:
    if place.protocol == "file":
        return Dataset("file", place.folder)
    bucket, _, prefix = place.folder.partition("/")
    return Dataset(f"{place.protocol}://{bucket}", prefix.rstrip("/") or "/")


def lineage_of(*flows: Flow) -> OperatorLineage[Any, Any]:
    """Inputs and outputs, with their columns and, for one output, how many rows were written."""
    from airflow.providers.openlineage.extractors import OperatorLineage

    inputs, outputs = [], []
    for flow in flows:
        read = _columns_read(flow) if flow.origin.is_table else {}
        inputs += [_input(dataset, read) for dataset in flow.origin.datasets]
        if flow.target is not None:
            outputs.append(_output(flow, flow.target, read))
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


def _columns_written(flow: Flow, target: TableName) -> Mapping[str, str]:
    from airflow_etl_sync.systems.postgres.destination import PostgresDestination

    try:
        return PostgresDestination(flow.state.hasty(), target).types()
    except EtlSyncError:
        return {}


def _input(dataset: Dataset, columns: Mapping[str, str]) -> Any:
    from airflow.providers.common.compat.openlineage.facet import InputDataset

    return InputDataset(namespace=dataset.namespace, name=dataset.name, facets=_schema(columns))


def _output(flow: Flow, target: TableName, read: Mapping[str, str]) -> Any:
    from airflow.providers.common.compat.openlineage.facet import OutputDataset, OutputStatisticsOutputDatasetFacet

    dataset, columns = dataset_of(flow.state, target), _columns_written(flow, target)
    facets = {**_schema(columns), **_column_lineage(flow.origin, [name for name in columns if name in read])}
    statistics: dict[str, Any] = {}
    if flow.counts is not None:
        written = flow.counts.inserted + flow.counts.updated
        statistics["outputStatistics"] = OutputStatisticsOutputDatasetFacet(rowCount=written)
    return OutputDataset(
        namespace=dataset.namespace, name=dataset.name, facets=facets, outputFacets=statistics
    )  # fmt: skip


def _schema(columns: Mapping[str, str]) -> dict[str, Any]:
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
