"""A stream's past in ranges, each for a mapped task of its own."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.sdk import BaseOperator

from airflow_etl_sync.operators import _arguments as arguments
from airflow_etl_sync.operators._failure import failing_for_good

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airflow.sdk import Context

FOLLOWING = "following"


class SplitRangesOperator(BaseOperator):
    """Cut what a table or query holds into ranges of its cursor, about as many rows in each.

    Returns them as ``[{"range_start": …, "range_end": …}, …]``, for ``expand_kwargs`` of an
    ``IncrementalSyncOperator`` or of the chain's extract: several workers then read the table at the same time. Where
    the last range ends is pushed as XCom ``following``: given to the sync as ``initial_value``, its first window
    begins there. Where the sync has a watermark, or there is nothing to split, there are no ranges and ``following``
    is None.

    Of a large table a sample is looked at. All arguments are templated.

    :param sync_key: the unique name of the sync
    :param source_conn_id: connection to read from, of type ``postgres``
    :param state_conn_id: connection of type ``postgres`` whose schema ``etl_sync`` keeps the sync's watermark
    :param cursor_field: the column that grows when a record changes; the ranges are of its values
    :param table: the table to read (``schema.table``); exactly one of ``table`` and ``sql``
    :param sql: the query to read, or the name of a ``.sql`` file
    :param primary_key: the columns that name a record; by default the table's own key
    :param where: an SQL condition that every row must meet
    :param lag: how far the last range stays behind, as of the sync
    :param initial_value: where the first range starts; by default at the beginning
    :param parts: how many ranges at most
    """

    template_fields = (
        "sync_key", "source_conn_id", "state_conn_id", "cursor_field", "table", "sql", "primary_key", "where", "lag",
        "initial_value", "parts",
    )  # fmt: skip
    template_ext = (".sql",)
    template_fields_renderers: ClassVar[dict[str, str]] = {"sql": "sql"}
    ui_color = "#cfe8f3"
    columns = on_cursor_null = endpoint = uri = file_options = range_start = range_end = full_refresh = None
    """What the terms of a stream and its window ask for, and a split does not need."""

    def __init__(
        self,
        *,
        sync_key: str,
        source_conn_id: str,
        state_conn_id: str,
        cursor_field: str,
        table: str | None = None,
        sql: str | None = None,
        primary_key: str | Sequence[str] | None = None,
        where: str | None = None,
        lag: timedelta | int | str = timedelta(0),
        initial_value: str | int | datetime | None = None,
        parts: int | str = 8,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.sync_key = sync_key
        self.source_conn_id = source_conn_id
        self.state_conn_id = state_conn_id
        self.cursor_field = cursor_field
        self.table = table
        self.sql = sql
        self.primary_key = primary_key
        self.where = where
        self.lag = lag
        self.initial_value = initial_value
        self.parts = parts

    def execute(self, context: Context) -> list[dict[str, str]]:
        """Look at the stream.

        :returns: the ranges
        :raises AirflowFailException: where another try cannot help
        """
        from airflow_etl_sync.journey.splitting import split
        from airflow_etl_sync.operators._journey_terms import (
            access_by,
            splitting_source_by,
            stream_of,
            window_rules_of,
        )

        with failing_for_good():
            stream, rules = stream_of(self), window_rules_of(self)
            parts = arguments.as_count("parts", self.parts)
            source, state = splitting_source_by(self, stream), access_by(self, "state_conn_id").engine()
            found = split(source, state, stream=stream, rules=rules, parts=parts)
        context["ti"].xcom_push(key=FOLLOWING, value=found.following)
        return list(found.ranges)
