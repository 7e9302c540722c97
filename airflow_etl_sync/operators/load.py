"""The second step of the chain: upsert staged chunks into a table."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.sdk import BaseOperator

from airflow_etl_sync.core.model import Extraction
from airflow_etl_sync.observability.lineage import Flow, LineageTeller
from airflow_etl_sync.observability.links import SyncLink
from airflow_etl_sync.observability.metrics import emit_load
from airflow_etl_sync.operators import _arguments as arguments
from airflow_etl_sync.operators._failure import failing_for_good

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from airflow.sdk import Context

    from airflow_etl_sync.core.model import Counts
    from airflow_etl_sync.operators._transform_terms import TransformGiven


class UpsertLoadOperator(LineageTeller, BaseOperator):
    """Upsert the chunks of an extraction, or of one part of it, into a table, each exactly once.

    Every chunk is merged in one transaction together with its line in the ledger, or remembered by a destination that
    is no PostgreSQL in the transaction that merges it, so a try that follows a failed one skips what is loaded already
    and the counts stay exact. Returns the counts:
    ``processed = inserted + updated + skipped + errors``. All arguments but ``transform`` are templated.

    :param extraction: what the extract returned: one part, or the list of all parts
    :param destination_conn_id: connection to load into
    :param table: the table to load (``schema.table``)
    :param state_conn_id: connection of type ``postgres`` that keeps the state, the extract's; by default the
        destination's. A destination of type ``postgres`` keeps the state beside its rows, whatever is given here
    :param primary_key: the columns that name a record; by default those of the extraction
    :param conflict: who wins where a record is there already: ``source_wins``, ``dest_wins``,
        ``latest_wins`` or ``merge_non_null``
    :param conflict_field: the column that ``latest_wins`` compares; by default the cursor field
    :param transform: what rows go through before they are loaded: a function (an Arrow table in, whatever speaks the
        Arrow C stream out), the path it is imported by, or a list of these. It is called for pieces of rows and must
        not rely on seeing all of them. Not templated
    :param transform_sql: a query that DuckDB runs over each piece (``SELECT … FROM batch``), or the name of a ``.sql``
        file; before ``transform``
    :param lookups: small tables that it joins, by name: tables of the destination, CSV or Parquet files
    :param create_table: create an absent table with the source's types and key
    :param synced_at_column: a ``timestamptz`` column that the load sets on rows it inserts or changes
    :param schema_contract: ``evolve`` adds and widens columns, ``freeze`` refuses what does not fit,
        ``discard_column`` leaves it out, ``discard_row`` sets its rows aside
    :param max_errors: how many rows of a run may be set aside as failed records; by default none, or as many as
        ``max_error_percent`` allows
    :param max_error_percent: how many per cent of the run's rows may be
    """

    template_fields = (
        "extraction", "destination_conn_id", "table", "state_conn_id", "primary_key", "conflict", "conflict_field",
        "create_table", "synced_at_column", "schema_contract", "max_errors", "max_error_percent", "transform_sql",
        "lookups",
    )  # fmt: skip
    template_ext = (".sql",)
    template_fields_renderers: ClassVar[dict[str, str]] = {"extraction": "json", "transform_sql": "sql"}
    ui_color = "#d5ead0"
    operator_extra_links = (SyncLink(),)

    def __init__(
        self,
        *,
        extraction: Mapping[str, Any] | Sequence[Mapping[str, Any]] | Any,
        destination_conn_id: str,
        table: str,
        state_conn_id: str | None = None,
        primary_key: str | Sequence[str] | None = None,
        conflict: str = "source_wins",
        conflict_field: str | None = None,
        transform: TransformGiven = None,
        transform_sql: str | None = None,
        lookups: Mapping[str, str] | str | None = None,
        create_table: bool | str = True,
        synced_at_column: str | None = None,
        schema_contract: str = "evolve",
        max_errors: int | str | None = None,
        max_error_percent: float | str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.extraction = extraction
        self.destination_conn_id = destination_conn_id
        self.table = table
        self.state_conn_id = state_conn_id
        self.primary_key = primary_key
        self.conflict = conflict
        self.conflict_field = conflict_field
        self.transform = transform
        self.transform_sql = transform_sql
        self.lookups = lookups
        self.create_table = create_table
        self.synced_at_column = synced_at_column
        self.schema_contract = schema_contract
        self.max_errors = max_errors
        self.max_error_percent = max_error_percent

    def execute(self, context: Context) -> dict[str, int]:
        """Upsert the chunks.

        :returns: the counts
        :raises AirflowFailException: where another try cannot help
        """
        began = time.monotonic()
        with failing_for_good():
            extraction = Extraction.from_xcom(arguments.as_extraction("extraction", self.extraction))
            counts = self._load(extraction, context["ti"].try_number)
        emit_load(extraction.sync_key, time.monotonic() - began)
        return counts.to_json()

    def _load(self, extraction: Extraction, try_number: int) -> Counts:
        from airflow_etl_sync.journey.load import load
        from airflow_etl_sync.operators._journey_terms import destination_by, load_rules_of, note_place, table_of
        from airflow_etl_sync.operators._staging_place import open_staging
        from airflow_etl_sync.operators._transform_terms import transform_of

        rules, table = load_rules_of(self), table_of("table", self.table)
        reached = destination_by(self, table)
        note_place(reached, extraction.sync_key, self.dag_id)
        staging, transform = open_staging(extraction.staging_uri), transform_of(self, reached.state)
        counts = load(reached.destination, staging, extraction, rules, try_number, transform)
        self.flows = (
            Flow(
                origin=extraction.origin.through(transform), state=reached.state, target=reached.destination,
                extraction_id=extraction.extraction_id, counts=counts,
            ).seen(),
        )  # fmt: skip
        return counts
