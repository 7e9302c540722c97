"""The whole journey in one task, for small or frequent syncs."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.sdk import BaseOperator

from airflow_etl_sync.errors import ConfigurationError
from airflow_etl_sync.observability.assets import LoadsTables
from airflow_etl_sync.observability.lineage import Flow, LineageTeller, origin_of
from airflow_etl_sync.observability.links import SyncLink
from airflow_etl_sync.observability.outcome import Outcome
from airflow_etl_sync.observability.telling import tell
from airflow_etl_sync.operators import _arguments as arguments
from airflow_etl_sync.operators._failure import failing_for_good

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from airflow.sdk import Context

    from airflow_etl_sync.journey.sync import SyncReport
    from airflow_etl_sync.operators._transform_terms import TransformGiven


class IncrementalSyncOperator(LineageTeller, LoadsTables, BaseOperator):
    """Read what changed, upsert it and move the watermark in one task, without staging in between.

    Rows, ledger and watermark are committed together in the destination database, which also keeps the
    state. A destination that is no PostgreSQL remembers itself what it has loaded, and ``state_conn_id`` names the
    database of the state. Returns a report with the window, the counts and the seconds. All arguments
    but ``transform`` are templated.

    :param sync_key: the unique name of the sync
    :param source_conn_id: connection to read from, of type ``postgres``, ``mysql`` or ``sqlite``, or of another
        database whose hook speaks SQLAlchemy; for files, that of their storage where ``uri`` names none
    :param destination_conn_id: connection to load into; where it is of type ``postgres``, its schema ``etl_sync``
        keeps the watermark
    :param cursor_field: the column that grows when a record changes
    :param destination_table: the table to load (``schema.table``)
    :param state_conn_id: connection of type ``postgres`` whose schema ``etl_sync`` keeps the watermark, where the
        destination is of another type
    :param table: the table to read (``schema.table``); exactly one of ``table``, ``sql``, ``endpoint`` and ``uri``
    :param sql: the query to read, or the name of a ``.sql`` file. Where it says ``:window(orders.updated_at)``, the
        window is applied there, else around it. What stands there is of the cursor's type, or with numbers the cursor
        itself; what the query computes from the rows there, it computes from the window's rows only
    :param endpoint: what to ask an API for, whose connection is of type ``http``: a path, or a mapping, see
        docs/sources.md
    :param primary_key: the columns that name a record; by default the source table's own key
    :param columns: the columns to read; by default all
    :param where: an SQL condition that every row must meet
    :param lag: how far the watermark stays behind: a ``timedelta`` or an ISO 8601 duration (``PT5M``); for a
        numeric cursor a whole number
    :param initial_value: where the very first window starts; by default everything is read
    :param on_cursor_null: ``include``, ``exclude`` or ``raise``: what becomes of rows without a cursor
    :param range_start: lowest cursor value of a backfill, included; a backfill never moves the watermark
    :param range_end: upper cursor value of a backfill, excluded
    :param full_refresh: read everything, whatever the watermark says
    :param conflict: ``source_wins``, ``dest_wins``, ``latest_wins`` or ``merge_non_null``
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
    :param chunk_rows: how many rows are loaded at most before the next checkpoint
    :param dry_run: only tell the window, the SQL and the estimated rows, in the log and as the result; nothing is read
        or written
    :param uri: files to read, such as ``s3://CONN_ID@BUCKET/PREFIX/*.csv``; ``cursor_field`` is then ``file_modified``
        or ``file_name``
    :param file_options: how they are written: ``format``, ``compression``, ``delimiter``, ``quote``, ``header``,
        ``encoding``, ``null_values``, ``column_types``, ``file_columns``
    """

    template_fields = (
        "sync_key", "source_conn_id", "destination_conn_id", "cursor_field", "destination_table", "state_conn_id",
        "table", "sql", "endpoint", "primary_key", "columns", "where", "lag", "initial_value", "on_cursor_null",
        "range_start", "range_end", "full_refresh", "conflict", "conflict_field", "create_table", "synced_at_column",
        "schema_contract", "max_errors", "max_error_percent", "chunk_rows", "is_dry_run", "transform_sql", "lookups",
        "uri", "file_options",
    )  # fmt: skip
    template_ext = (".sql",)
    template_fields_renderers: ClassVar[dict[str, str]] = {"sql": "sql", "transform_sql": "sql"}
    ui_color = "#dcd6ee"
    operator_extra_links = (SyncLink(),)

    def __init__(
        self,
        *,
        sync_key: str,
        source_conn_id: str | None = None,
        destination_conn_id: str,
        cursor_field: str,
        destination_table: str,
        state_conn_id: str | None = None,
        table: str | None = None,
        sql: str | None = None,
        endpoint: str | Mapping[str, Any] | None = None,
        primary_key: str | Sequence[str] | None = None,
        columns: str | Sequence[str] | None = None,
        where: str | None = None,
        lag: timedelta | int | str = timedelta(0),
        initial_value: str | int | datetime | None = None,
        on_cursor_null: str = "include",
        range_start: str | int | datetime | None = None,
        range_end: str | int | datetime | None = None,
        full_refresh: bool | str = False,
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
        chunk_rows: int | str = 50_000,
        dry_run: bool | str = False,
        uri: str | None = None,
        file_options: Mapping[str, Any] | str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.sync_key = sync_key
        self.source_conn_id = source_conn_id
        self.destination_conn_id = destination_conn_id
        self.cursor_field = cursor_field
        self.destination_table = destination_table
        self.state_conn_id = state_conn_id
        self.table = table
        self.sql = sql
        self.endpoint = endpoint
        self.primary_key = primary_key
        self.columns = columns
        self.where = where
        self.lag = lag
        self.initial_value = initial_value
        self.on_cursor_null = on_cursor_null
        self.range_start = range_start
        self.range_end = range_end
        self.full_refresh = full_refresh
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
        self.chunk_rows = chunk_rows
        self.is_dry_run = dry_run
        self.uri = uri
        self.file_options = file_options
        self.add_tables(destination_conn_id, [destination_table])

    def execute(self, context: Context) -> dict[str, Any]:
        """Run the journey.

        :returns: the report as JSON
        :raises AirflowFailException: where another try cannot help
        """
        with failing_for_good():
            if arguments.as_flag("dry_run", self.is_dry_run):
                self.keep_tables_quiet()
                return self._plan()
            report = self._sync(context)
        tell(context, Outcome.of_sync(arguments.as_text("sync_key", self.sync_key), report))
        return report.to_json(self.sync_key)

    def _plan(self) -> dict[str, Any]:
        from airflow_etl_sync.journey.planning import plan
        from airflow_etl_sync.operators._journey_terms import source_by, state_by, stream_of, window_rules_of

        stream, state = stream_of(self), state_by(self).engine()
        return plan(source_by(self, stream), state, stream=stream, rules=window_rules_of(self)).to_json()

    def _sync(self, context: Context) -> SyncReport:
        from airflow_etl_sync.journey.sync import sync
        from airflow_etl_sync.operators._journey_terms import (
            destination_by,
            identity_of,
            load_rules_of,
            note_place,
            source_by,
            stream_of,
            table_of,
            window_rules_of,
        )
        from airflow_etl_sync.operators._transform_terms import transform_of

        stream, window_rules, load_rules = stream_of(self), window_rules_of(self), load_rules_of(self)
        table, chunk_rows = table_of("destination_table", self.destination_table), self.chunk_rows
        source, reached = source_by(self, stream), destination_by(self, table)
        self._refuse_state_apart(is_beside=reached.table_beside_state is not None)
        note_place(reached, stream.sync_key, self.dag_id)
        transform = transform_of(self, reached.state)
        report = sync(
            source, reached.destination,
            stream=stream, window_rules=window_rules, load_rules=load_rules, identity=identity_of(context),
            chunk_rows=arguments.as_count("chunk_rows", chunk_rows), try_number=context["ti"].try_number,
            transform=transform,
        )  # fmt: skip
        origin = origin_of(source.access, stream.table, stream.sql).through(transform)
        self.flows = (
            Flow(
                origin=origin, state=reached.state, target=reached.destination,
                extraction_id=report.extraction_id, counts=report.counts,
            ).seen(),
        )  # fmt: skip
        return report

    def _refuse_state_apart(self, *, is_beside: bool) -> None:
        """A destination that is PostgreSQL keeps its state; what is said to the contrary would be passed over."""
        named = arguments.as_optional_text("state_conn_id", self.state_conn_id)
        if is_beside and named not in (None, self.destination_conn_id):
            raise ConfigurationError(
                f"The destination {self.destination_conn_id!r} is PostgreSQL and keeps the state beside the rows, so "
                "that both are committed together: leave out state_conn_id."
            )
