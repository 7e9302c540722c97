"""Jobs of BigQuery, one after another; each ends by itself, whatever becomes of the client."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow_etl_sync.systems.columnar.table import TableColumn

if TYPE_CHECKING:
    from google.api_core.retry import Retry
    from google.cloud.bigquery import Client, SchemaField
    from google.cloud.bigquery.query import ScalarQueryParameter

PATIENCE_SECONDS = 60.0
"""So long a server is asked again that cannot be reached, or is not well."""
REQUEST_SECONDS = 30.0
"""So long one answer is waited for."""
UPLOAD_SECONDS = 300.0
"""The same of a file; a broken upload is taken up again six times, which takes a minute."""

_LABELS = {"application": "airflow-etl-sync"}
_NAMES = {"BOOLEAN": "BOOL", "FLOAT": "FLOAT64", "INTEGER": "INT64", "RECORD": "STRUCT"}


@dataclass(frozen=True, slots=True)
class Answer:
    """The rows that a job has given."""

    rows: list[tuple[Any, ...]]

    def fetchall(self) -> list[tuple[Any, ...]]:
        return self.rows


class Session:
    """What jobs are sent through.

    :param patience_seconds: for so long a request is made again
    """

    def __init__(self, client: Client, patience_seconds: float = PATIENCE_SECONDS) -> None:
        self._client = client
        self._patience_seconds = patience_seconds

    def execute(self, statement: str, parameters: Sequence[Any] = (), /) -> Answer:
        """Run a statement with values bound by their place."""
        return self._query(statement, [(None, value) for value in parameters])

    def run(self, script: str, values: Mapping[str, Any]) -> Answer:
        """Run statements as one job, with values bound by name; the rows of the last."""
        return self._query(script, list(values.items()))

    def load(self, path: Path, table: str) -> int:
        """Load a Parquet file into a table that is there; how many rows have arrived."""
        from google.cloud.bigquery import LoadJobConfig

        config = LoadJobConfig(
            source_format="PARQUET",
            create_disposition="CREATE_NEVER",
            write_disposition="WRITE_EMPTY",
            decimal_target_types=["NUMERIC", "BIGNUMERIC", "STRING"],
            labels=_LABELS,
        )
        with path.open("rb") as file:
            job = self._client.load_table_from_file(file, table, job_config=config, timeout=UPLOAD_SECONDS)
        job.result(retry=self._retry())
        return int(job.output_rows or 0)

    def columns(self, table: str) -> list[TableColumn]:
        """The columns of a table; none where it is absent."""
        from google.api_core.exceptions import NotFound

        try:
            found = self._client.get_table(table, retry=self._retry(), timeout=REQUEST_SECONDS)
        except NotFound:
            return []
        return [_column(field) for field in found.schema]

    def _query(self, statement: str, values: Sequence[tuple[str | None, Any]]) -> Answer:
        from google.cloud.bigquery import QueryJobConfig

        config = QueryJobConfig(query_parameters=[_parameter(*value) for value in values], labels=_LABELS)
        job = self._client.query(
            statement, config, retry=self._retry(), timeout=REQUEST_SECONDS, job_retry=None
        )  # a job that has failed is not sent again here: the next try looks for what has landed
        return Answer([tuple(row) for row in job.result(retry=self._retry(), job_retry=None)])

    def _retry(self) -> Retry:
        from google.cloud.bigquery.retry import DEFAULT_RETRY

        return DEFAULT_RETRY.with_timeout(self._patience_seconds)


def _parameter(name: str | None, value: Any) -> ScalarQueryParameter:
    from google.cloud.bigquery import ScalarQueryParameter

    type_ = "BOOL" if isinstance(value, bool) else "INT64" if isinstance(value, int) else "STRING"
    return ScalarQueryParameter(name, type_, value)


def _column(field: SchemaField) -> TableColumn:
    return TableColumn(
        field.name,
        _declared(field),
        takes_null=field.mode != "REQUIRED",
        has_default=field.default_value_expression is not None,
    )


def _declared(field: SchemaField) -> str:
    """The type as a statement has it; what compares otherwise than by its values tells so."""
    base = _NAMES.get(field.field_type, field.field_type)
    limits = [limit for limit in (field.precision, field.scale, field.max_length) if limit is not None]
    type_ = f"{base}({','.join(map(str, limits))})" if limits else base
    if field.mode == "REPEATED":
        return f"ARRAY<{type_}>"
    collation = field.to_api_repr().get("collation")
    return f"{type_} COLLATE {collation}" if collation else type_
