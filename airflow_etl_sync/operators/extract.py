"""The first step of the chain: read one window of a stream into staging."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn

from airflow.providers.common.compat.sdk import AirflowSkipException
from airflow.sdk import BaseOperator

from airflow_etl_sync.observability.lineage import Flow, LineageTeller, origin_of
from airflow_etl_sync.observability.links import SyncLink
from airflow_etl_sync.operators import _arguments as arguments
from airflow_etl_sync.operators._failure import failing_for_good

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from airflow.sdk import Context

    from airflow_etl_sync.core.model import Extraction

_MOST_PARTS = 1024
"""How many copies of a mapped task Airflow allows by default (``[core] max_map_length``)."""


class IncrementalExtractOperator(LineageTeller, BaseOperator):
    """Read what changed in a source since the watermark, and stage it as Parquet chunks.

    Returns the extraction as a list of parts, small JSON without rows, so that loads can be mapped over
    it: ``UpsertLoadOperator.partial(...).expand(extraction=extract.output)``. There is always at least
    one part, also when nothing changed, so that the steps behind it run and the watermark moves.

    A try that follows a failed one resumes after the last complete chunk. All arguments are templated.

    :param sync_key: the unique name of the sync
    :param source_conn_id: connection to read from, of type ``postgres``, ``mysql`` or ``sqlite``, or of another
        database whose hook speaks SQLAlchemy; for files, that of their storage where ``uri`` names none
    :param state_conn_id: connection of type ``postgres`` whose schema ``etl_sync`` keeps the watermark;
        normally the destination's
    :param cursor_field: the column that grows when a record changes
    :param table: the table to read (``schema.table``); exactly one of ``table``, ``sql``, ``endpoint`` and ``uri``
    :param sql: the query to read, or the name of a ``.sql`` file. Where it says ``:window(orders.updated_at)``, the
        window is applied there, else around it. What stands there is of the cursor's type, or with numbers the cursor
        itself; what the query computes from the rows there, it computes from the window's rows only
    :param endpoint: what to ask an API for, whose connection is of type ``http``: a path, or a mapping, see
        docs/sources.md
    :param primary_key: the columns that name a record; by default the table's own key
    :param columns: the columns to read; by default all
    :param where: an SQL condition that every row must meet
    :param lag: how far the watermark stays behind: a ``timedelta`` or an ISO 8601 duration (``PT5M``); for a
        numeric cursor a whole number
    :param initial_value: where the very first window starts; by default everything is read
    :param on_cursor_null: ``include``, ``exclude`` or ``raise``: what becomes of rows without a cursor
    :param range_start: lowest cursor value of a backfill, included; a backfill never moves the watermark
    :param range_end: upper cursor value of a backfill, excluded
    :param full_refresh: read everything, whatever the watermark says
    :param chunk_rows: most rows in one chunk
    :param staging_uri: where chunks are written, by default ``[etl_sync] staging_uri`` or a private
        directory in ``AIRFLOW_HOME``, which serves one machine
    :param destination_conn_id: connection of the one destination of all loads, if there is one: between two PostgreSQL
        databases rows are staged as the source packs them, which is quicker. Leave it out where loads look into rows
    :param load_parts: into how many parts the extraction is dealt at most
    :param dry_run: only tell the window, the SQL and the estimated rows, in the log and as XCom ``plan``; nothing is
        read or written, and the task and those after it are skipped
    :param uri: files to read, such as ``s3://CONN_ID@BUCKET/PREFIX/*.csv``; ``cursor_field`` is then ``file_modified``
        or ``file_name``
    :param file_options: how they are written: ``format``, ``compression``, ``delimiter``, ``quote``, ``header``,
        ``encoding``, ``null_values``, ``column_types``, ``file_columns``
    """

    template_fields = (
        "sync_key", "source_conn_id", "state_conn_id", "cursor_field", "table", "sql", "endpoint", "primary_key",
        "columns", "where", "lag", "initial_value", "on_cursor_null", "range_start", "range_end", "full_refresh",
        "chunk_rows", "staging_uri", "destination_conn_id", "load_parts", "is_dry_run", "uri", "file_options",
    )  # fmt: skip
    template_ext = (".sql",)
    template_fields_renderers: ClassVar[dict[str, str]] = {"sql": "sql"}
    ui_color = "#cfe8f3"
    operator_extra_links = (SyncLink(),)

    def __init__(
        self,
        *,
        sync_key: str,
        source_conn_id: str | None = None,
        state_conn_id: str,
        cursor_field: str,
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
        chunk_rows: int | str = 100_000,
        staging_uri: str | None = None,
        destination_conn_id: str | None = None,
        load_parts: int | str = 4,
        dry_run: bool | str = False,
        uri: str | None = None,
        file_options: Mapping[str, Any] | str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.sync_key = sync_key
        self.source_conn_id = source_conn_id
        self.state_conn_id = state_conn_id
        self.cursor_field = cursor_field
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
        self.chunk_rows = chunk_rows
        self.staging_uri = staging_uri
        self.destination_conn_id = destination_conn_id
        self.load_parts = load_parts
        self.is_dry_run = dry_run
        self.uri = uri
        self.file_options = file_options

    def execute(self, context: Context) -> list[dict[str, Any]]:
        """Read one window into staging.

        :returns: the extraction in at least one part
        :raises AirflowFailException: where another try cannot help
        """
        with failing_for_good():
            if arguments.as_flag("dry_run", self.is_dry_run):
                self._skip_with_plan(context)
            parts = min(arguments.as_count("load_parts", self.load_parts), _MOST_PARTS)
            extraction = self._extract(context)
        return [part.to_json() for part in extraction.parts(parts)]

    def _skip_with_plan(self, context: Context) -> NoReturn:
        from airflow_etl_sync.journey.planning import plan
        from airflow_etl_sync.operators._journey_terms import source_by, state_by, stream_of, window_rules_of

        stream = stream_of(self)
        source, state = source_by(self, stream), state_by(self).engine()
        found = plan(source, state, stream=stream, rules=window_rules_of(self))
        context["ti"].xcom_push(key="plan", value=found.to_json())
        raise AirflowSkipException(f"A dry run: about {found.estimated_rows} rows would be read.")

    def _extract(self, context: Context) -> Extraction:
        from airflow_etl_sync.journey.extract import extract
        from airflow_etl_sync.operators._journey_terms import (
            identity_of,
            may_stay_packed,
            source_by,
            state_by,
            stream_of,
            window_rules_of,
        )
        from airflow_etl_sync.operators._staging_place import open_staging

        stream, rules = stream_of(self), window_rules_of(self)
        chunk_rows = arguments.as_count("chunk_rows", self.chunk_rows)
        source, state = source_by(self, stream), state_by(self)
        if may_stay_packed(source, self.destination_conn_id):
            source.pack()
        staging = open_staging(arguments.as_optional_text("staging_uri", self.staging_uri))
        extraction = extract(
            source, state.engine(), staging,
            stream=stream, rules=rules, identity=identity_of(context), chunk_rows=chunk_rows,
        )  # fmt: skip
        origin = origin_of(source.access, stream.table, stream.sql)
        self.flows = (Flow(origin=origin, state=state, extraction_id=extraction.extraction_id),)
        return replace(extraction, origin=origin)
