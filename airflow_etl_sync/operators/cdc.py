"""What has changed at a source, by its log, into the destination."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator

from airflow_etl_sync.operators import _arguments as arguments
from airflow_etl_sync.operators._failure import failing_for_good

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airflow.sdk import Context

    from airflow_etl_sync.cdc.tables import CdcTable, SourceTable
    from airflow_etl_sync.core.model import TableName
    from airflow_etl_sync.journey.cdc import CdcReport

log = logging.getLogger(__name__)


class CdcSyncOperator(BaseOperator):
    """Apply the changes that a replication slot holds, up to the source's position now, and acknowledge them.

    The first run makes publication and slot and copies the tables; each further run goes on where the last stopped,
    in batches of whole transactions, each of them one transaction of the destination together with its position.
    Inserts, updates, deletes, changes of keys and TRUNCATE arrive. Returns a report with the counts, the position, and
    how much log the slot keeps. Run it regularly, one run at a time (``max_active_runs=1``): the source keeps its log
    until it is read. All arguments are templated.

    :param sync_key: the unique name of the change stream
    :param source_conn_id: connection of type ``postgres_cdc``, or of type ``postgres`` where ``slot`` is given
    :param destination_conn_id: connection of type ``postgres`` to apply to; its schema ``etl_sync`` keeps the position
    :param tables: the tables, by default the connection's; a table that is added later is copied then
    :param destination_schema: the schema of the copies; by default each has its source's schema and name
    :param slot: the slot's name, by default the connection's
    :param publication: the publication's name, by default the connection's, else the slot's name
    :param delete: ``hard`` deletes rows that were deleted, ``soft`` sets their ``_sync_deleted``
    :param conflict: ``source_wins``, ``dest_wins``, ``latest_wins`` or ``merge_non_null``
    :param conflict_field: the column that ``latest_wins`` compares
    :param primary_key: the columns that name a row; by default each source table's own key
    :param create_table: create absent tables with the source's types and key
    :param synced_at_column: a ``timestamptz`` column that is set on rows that are inserted or changed
    :param schema_contract: ``evolve``, ``freeze``, ``discard_column`` or ``discard_row``
    :param max_errors: how many rows of a run may be set aside as failed records
    :param max_error_percent: how many per cent of the run's rows may be
    :param resync: forget the position and copy the tables afresh, after a slot was lost
    :param batch_changes: after so many changes a batch is committed, with the transaction in which it is reached
    """

    template_fields = (
        "sync_key", "source_conn_id", "destination_conn_id", "tables", "destination_schema", "slot", "publication",
        "delete", "conflict", "conflict_field", "primary_key", "create_table", "synced_at_column", "schema_contract",
        "max_errors", "max_error_percent", "resync", "batch_changes",
    )  # fmt: skip
    ui_color = "#d9ead3"

    def __init__(
        self,
        *,
        sync_key: str,
        source_conn_id: str,
        destination_conn_id: str,
        tables: Sequence[str] | str | None = None,
        destination_schema: str | None = None,
        slot: str | None = None,
        publication: str | Sequence[str] | None = None,
        delete: str = "hard",
        conflict: str = "source_wins",
        conflict_field: str | None = None,
        primary_key: str | Sequence[str] | None = None,
        create_table: bool | str = True,
        synced_at_column: str | None = None,
        schema_contract: str = "evolve",
        max_errors: int | str | None = None,
        max_error_percent: float | str | None = None,
        resync: bool | str = False,
        batch_changes: int | str = 500_000,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.sync_key = sync_key
        self.source_conn_id = source_conn_id
        self.destination_conn_id = destination_conn_id
        self.tables = tables
        self.destination_schema = destination_schema
        self.slot = slot
        self.publication = publication
        self.delete = delete
        self.conflict = conflict
        self.conflict_field = conflict_field
        self.primary_key = primary_key
        self.create_table = create_table
        self.synced_at_column = synced_at_column
        self.schema_contract = schema_contract
        self.max_errors = max_errors
        self.max_error_percent = max_error_percent
        self.resync = resync
        self.batch_changes = batch_changes

    def execute(self, context: Context) -> dict[str, Any]:
        """Capture.

        :returns: the report as JSON
        :raises AirflowFailException: where another try cannot help
        """
        with failing_for_good():
            report = self._capture(context)
        log.info("The slot keeps %d bytes of log (%s)", report.health.retained_bytes, report.health.wal_status)
        return report.to_json()

    def _capture(self, context: Context) -> CdcReport:
        from airflow_etl_sync.hooks.connections import postgres_access
        from airflow_etl_sync.journey.cdc import CaptureLimits, capture
        from airflow_etl_sync.journey.copying import CopiedTable, copy_tables
        from airflow_etl_sync.operators._journey_terms import identity_of
        from airflow_etl_sync.operators.cdc_slot import hook_of

        hook, sync_key, identity = hook_of(self), arguments.as_text("sync_key", self.sync_key), identity_of(context)
        batch_changes = arguments.as_count("batch_changes", self.batch_changes)
        resync = arguments.as_flag("resync", self.resync)
        slot, source, names = hook.slot(), hook.access(), hook.tables()
        terms = self._terms(names)
        destination = postgres_access(arguments.as_text("destination_conn_id", self.destination_conn_id))
        slot.set_up(names)

        def copy(missing: Sequence[SourceTable]) -> None:
            copied = [
                CopiedTable(source=each.terms.source, target=each.terms.target, rules=each.terms.rules)
                for each in missing
            ]
            try_number = context["ti"].try_number
            copy_tables(slot, source, destination, sync_key, copied, identity, try_number=try_number)

        return capture(
            slot, source, destination, sync_key=sync_key, tables_=terms, identity=identity,
            limits=CaptureLimits(batch_changes=batch_changes), first_copy=copy, resync=resync,
        )  # fmt: skip

    def _terms(self, names: Sequence[TableName]) -> list[CdcTable]:
        from airflow_etl_sync.cdc.tables import CdcTable
        from airflow_etl_sync.core.model import TableName
        from airflow_etl_sync.operators._journey_terms import load_rules_of

        rules, delete = load_rules_of(self), arguments.as_text("delete", self.delete)
        schema = arguments.as_optional_text("destination_schema", self.destination_schema)
        return [
            CdcTable(
                source=name,
                target=TableName(name.name, schema or name.schema),
                rules=rules,
                delete=delete,  # type: ignore[arg-type]
            )
            for name in names
        ]
