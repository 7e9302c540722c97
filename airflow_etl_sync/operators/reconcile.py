"""What no cursor shows: rows that were deleted at the source."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from airflow.sdk import BaseOperator

from airflow_etl_sync.observability.lineage import Flow, LineageTeller, origin_of
from airflow_etl_sync.observability.links import SyncLink
from airflow_etl_sync.observability.outcome import Outcome
from airflow_etl_sync.observability.telling import tell
from airflow_etl_sync.operators import _arguments as arguments
from airflow_etl_sync.operators._failure import failing_for_good

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airflow.sdk import Context

    from airflow_etl_sync.journey.reconcile import ReconcileReport


class ReconcileOperator(LineageTeller, BaseOperator):
    """Delete or flag the rows of a table whose key is gone from the source.

    The source's keys are compared with the table's in the destination. What differs is asked for again at the
    source, a block at a time, while nobody can write to the table; so it may run beside the syncs that load
    the table, and takes no row that they bring meanwhile. It touches no watermark. ``source_conn_id`` must
    lead to the server that the sync reads: a standby that lags behind it would miss new rows.

    A row that is flagged and is at the source again is unflagged, here and by the next load that brings it.
    All rows of the stream count as there, also those without a cursor that a sync leaves out
    (``on_cursor_null="exclude"``): to have these removed, say so in ``where``. All arguments are templated.

    :param sync_key: the unique name of the sync whose rows are reconciled
    :param source_conn_id: connection that the sync reads from: PostgreSQL, MySQL, SQLite or another database that
        SQLAlchemy speaks; there a key is at the source only in the very spelling that the destination has
    :param destination_conn_id: connection of type ``postgres`` that it loads into
    :param destination_table: the table that it loads (``schema.table``)
    :param table: the table that it reads (``schema.table``); exactly one of ``table`` and ``sql``
    :param sql: the query that it reads, or the name of a ``.sql`` file; a ``:window(…)`` in it (PostgreSQL only) lets
        all rows pass
    :param primary_key: the columns that name a record; by default the source table's own key
    :param where: the SQL condition that the sync reads by; rows that do not meet it count as gone
    :param destination_where: an SQL condition on the destination's rows: only those that meet it are compared,
        for a table that several syncs load
    :param delete: ``hard`` deletes rows, ``soft`` sets their boolean ``_sync_deleted``
    :param max_delete_percent: where more of the compared rows are gone, the task fails and changes nothing; an
        empty source makes it 100 percent
    :param add_column: whether ``soft`` adds an absent ``_sync_deleted``
    :param synced_at_column: a ``timestamptz`` column that is set on rows which are flagged or brought back
    """

    template_fields = (
        "sync_key", "source_conn_id", "destination_conn_id", "destination_table", "table", "sql", "primary_key",
        "where", "destination_where", "delete", "max_delete_percent", "add_column", "synced_at_column",
    )  # fmt: skip
    template_ext = (".sql",)
    template_fields_renderers: ClassVar[dict[str, str]] = {"sql": "sql"}
    ui_color = "#f4d3d0"
    operator_extra_links = (SyncLink(),)

    def __init__(
        self,
        *,
        sync_key: str,
        source_conn_id: str,
        destination_conn_id: str,
        destination_table: str,
        table: str | None = None,
        sql: str | None = None,
        primary_key: str | Sequence[str] | None = None,
        where: str | None = None,
        destination_where: str | None = None,
        delete: str = "hard",
        max_delete_percent: float | str = 10,
        add_column: bool | str = True,
        synced_at_column: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.sync_key = sync_key
        self.source_conn_id = source_conn_id
        self.destination_conn_id = destination_conn_id
        self.destination_table = destination_table
        self.table = table
        self.sql = sql
        self.primary_key = primary_key
        self.where = where
        self.destination_where = destination_where
        self.delete = delete
        self.max_delete_percent = max_delete_percent
        self.add_column = add_column
        self.synced_at_column = synced_at_column

    def execute(self, context: Context) -> dict[str, Any]:
        """Reconcile.

        :returns: how many rows of the destination were compared, were absent from the source at first, were
            deleted or flagged, and were revived; and the seconds
        :raises AirflowFailException: where another try cannot help
        """
        with failing_for_good():
            report = self._reconcile(context)
        tell(context, Outcome.of_reconcile(arguments.as_text("sync_key", self.sync_key), report))
        return {
            "compared": report.numbers.compared,
            "absent": report.numbers.absent,
            "deleted": report.settled.deleted,
            "revived": report.settled.revived,
            "seconds": round(report.seconds, 3),
        }

    def _reconcile(self, context: Context) -> ReconcileReport:
        from airflow_etl_sync.hooks.sources import keys_of
        from airflow_etl_sync.journey.reconcile import reconcile
        from airflow_etl_sync.operators._journey_terms import (
            access_by,
            identity_of,
            key_stream_of,
            reconcile_rules_of,
            table_of,
        )
        from airflow_etl_sync.systems.postgres.comparison import PostgresKeyDestination
        from airflow_etl_sync.systems.postgres.destination import PostgresDestination

        keys, rules = key_stream_of(self), reconcile_rules_of(self)
        table = table_of("destination_table", self.destination_table)
        source = keys_of(arguments.as_text("source_conn_id", self.source_conn_id), keys)
        destination = access_by(self, "destination_conn_id")
        origin, target = origin_of(source.access, keys.table, keys.sql), PostgresDestination(destination.hasty(), table)
        self.flows = (Flow(origin=origin, state=destination, target=target),)
        return reconcile(
            source, PostgresKeyDestination(destination, table),
            sync_key=keys.sync_key, rules=rules, identity=identity_of(context),
        )  # fmt: skip
