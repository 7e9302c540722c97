"""Changes of tables, deletes among them, applied as the source's log tells them."""

from __future__ import annotations

import logging
from functools import partial
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator

from airflow_etl_sync.errors import ConfigurationError
from airflow_etl_sync.observability.assets import LoadsTables
from airflow_etl_sync.observability.lineage import Flow, LineageTeller, origin_of
from airflow_etl_sync.observability.links import SyncLink
from airflow_etl_sync.observability.outcome import Outcome
from airflow_etl_sync.observability.telling import tell
from airflow_etl_sync.operators import _arguments as arguments
from airflow_etl_sync.operators._capture_terms import hook_of
from airflow_etl_sync.operators._failure import failing_for_good

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from airflow.sdk import Context

    from airflow_etl_sync.cdc.tables import SourceTable
    from airflow_etl_sync.core.model import RunIdentity
    from airflow_etl_sync.hooks.cdc import PostgresCdcHook
    from airflow_etl_sync.hooks.mysql_cdc import MysqlCdcHook
    from airflow_etl_sync.journey.cdc import CdcReport
    from airflow_etl_sync.state.runs import Run
    from airflow_etl_sync.systems.postgres.access import PostgresAccess

log = logging.getLogger(__name__)


class CdcSyncOperator(LineageTeller, LoadsTables, BaseOperator):
    """Apply what a source's log tells until now, then end; the next run goes on from there.

    The log is a replication slot of PostgreSQL, or the binary log of MySQL or MariaDB: the connection's type decides.
    The first run copies the tables, unless ``copy_existing`` says no. Rows, counts and the position in the source's
    log are committed together in the destination, batch by batch; only then is a slot advanced. So a task that is
    killed anywhere is run again, and applies nothing twice and loses nothing. Returns a report with counts, position
    and the slot's health. All arguments are templated.

    :param sync_key: the unique name of the change stream
    :param source_conn_id: connection of type ``postgres_cdc``, or of type ``postgres`` where ``slot`` is given; or of
        type ``mysql_cdc`` or ``mysql``
    :param destination_conn_id: connection of type ``postgres`` to apply changes to; its schema ``etl_sync`` keeps the
        position
    :param tables: the tables, by default the connection's; a new one is copied first
    :param destination_tables: where a table goes, by its name as in ``tables``; others go into one of the same name
    :param slot: the slot's name, by default the connection's; of PostgreSQL only
    :param publication: the publication's name, by default the connection's, else the slot's name
    :param primary_key: the columns that name a row, by default each source table's own key
    :param apply: ``upsert`` keeps each target equal to its table, ``history`` appends every change to it as a row of
        its own, see docs/cdc.md
    :param delete: ``hard``, the default, deletes rows that are deleted at the source, ``soft`` sets their boolean
        ``_sync_deleted``; a history has no use for it, nor for ``conflict`` and ``conflict_field``
    :param conflict: who wins where a row is there already, see :class:`IncrementalSyncOperator`
    :param conflict_field: the column that ``latest_wins`` compares
    :param create_table: whether an absent table is created with the source's types and key
    :param synced_at_column: a ``timestamptz`` column that is set on rows which are inserted, changed or flagged
    :param schema_contract: what becomes of columns that a table lacks, or whose type cannot hold their values
    :param max_errors: how many rows of a run may be set aside as failed records
    :param max_error_percent: how many per cent of them may be
    :param copy_existing: whether rows that are there before the first run are copied
    :param resync: forget the position, begin where the slot stands, or where a binary log ends, and copy the tables
        afresh, this once; for a log that was lost
    :param batch_changes: a transaction of the destination takes so many changes, and the rest of the source's
        transaction in which that is reached
    :param piece_changes: so many changes are held in memory and merged at once
    :param warn_retained_mb: where the source keeps more of its log for the slot, the task warns
    """

    template_fields = (
        "sync_key", "source_conn_id", "destination_conn_id", "tables", "destination_tables", "slot", "publication",
        "primary_key", "apply", "delete", "conflict", "conflict_field", "create_table", "synced_at_column",
        "schema_contract", "max_errors", "max_error_percent", "copy_existing", "resync", "batch_changes",
        "piece_changes", "warn_retained_mb",
    )  # fmt: skip
    ui_color = "#d9ead3"
    operator_extra_links = (SyncLink(),)

    def __init__(
        self,
        *,
        sync_key: str,
        source_conn_id: str,
        destination_conn_id: str,
        tables: Sequence[str] | str | None = None,
        destination_tables: Mapping[str, str] | str | None = None,
        slot: str | None = None,
        publication: str | Sequence[str] | None = None,
        primary_key: str | Sequence[str] | None = None,
        apply: str = "upsert",
        delete: str | None = None,
        conflict: str = "source_wins",
        conflict_field: str | None = None,
        create_table: bool | str = True,
        synced_at_column: str | None = None,
        schema_contract: str = "evolve",
        max_errors: int | str | None = None,
        max_error_percent: float | str | None = None,
        copy_existing: bool | str = True,
        resync: bool | str = False,
        batch_changes: int | str = 500_000,
        piece_changes: int | str = 50_000,
        warn_retained_mb: int | str = 1_000,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.sync_key = sync_key
        self.source_conn_id = source_conn_id
        self.destination_conn_id = destination_conn_id
        self.tables = tables
        self.destination_tables = destination_tables
        self.slot = slot
        self.publication = publication
        self.primary_key = primary_key
        self.apply = apply
        self.delete = delete
        self.conflict = conflict
        self.conflict_field = conflict_field
        self.create_table = create_table
        self.synced_at_column = synced_at_column
        self.schema_contract = schema_contract
        self.max_errors = max_errors
        self.max_error_percent = max_error_percent
        self.copy_existing = copy_existing
        self.resync = resync
        self.batch_changes = batch_changes
        self.piece_changes = piece_changes
        self.warn_retained_mb = warn_retained_mb
        self.add_tables(destination_conn_id, _targets(tables, destination_tables))

    def execute(self, context: Context) -> dict[str, Any]:
        """Capture.

        :returns: counts, batches, the position reached, the slot's health, warnings and the seconds
        :raises AirflowFailException: where another try cannot help
        """
        with failing_for_good():
            most = arguments.as_count("warn_retained_mb", self.warn_retained_mb) * 1_000_000
            report = self._capture(context)
            retained = report.health.retained_bytes
            if retained is not None and retained > most:
                log.warning(
                    "The source keeps %.1f MB of its log for the slot, more than warn_retained_mb: run this task more "
                    "often, look for a transaction that stays open, or tear the slot down if it is not needed",
                    retained / 1_000_000,
                )
        tell(context, Outcome.of_capture(arguments.as_text("sync_key", self.sync_key), report))
        return report.to_json()

    def _capture(self, context: Context) -> CdcReport:
        from airflow_etl_sync.journey.cdc import capture
        from airflow_etl_sync.journey.cdc_pieces import CaptureLimits
        from airflow_etl_sync.operators._journey_terms import access_by, cdc_tables_of, identity_of
        from airflow_etl_sync.systems.postgres.destination import PostgresDestination

        hook = hook_of(self)
        sync_key, identity = arguments.as_text("sync_key", self.sync_key), identity_of(context)
        tables = cdc_tables_of(self, hook.tables())
        limits = CaptureLimits(
            batch_changes=arguments.as_count("batch_changes", self.batch_changes),
            piece_changes=arguments.as_count("piece_changes", self.piece_changes),
        )
        destination = access_by(self, "destination_conn_id")
        copy = partial(_copy, hook, destination, sync_key, identity)
        report = capture(
            hook.change_log(), hook.rows(), destination,
            sync_key=sync_key, tables_=tables, identity=identity, limits=limits,
            first_copy=copy if arguments.as_flag("copy_existing", self.copy_existing, default=True) else None,
            resync=arguments.as_flag("resync", self.resync),
        )  # fmt: skip
        source = hook.access()
        counts = report.counts.rows if len(tables) == 1 else None  # of several tables each one's is not known
        hasty = destination.hasty()
        self.flows = tuple(
            Flow(
                origin=origin_of(source, table.source, None), state=destination,
                target=PostgresDestination(hasty, table.target), counts=counts,
            )
            for table in tables
        )  # fmt: skip
        return report


def _targets(tables: object, destination_tables: object) -> list[str]:
    """The tables that are loaded, as far as the DAG names them."""
    try:
        targets = arguments.as_table_map("destination_tables", destination_tables)
        return [str(targets.get(table, table)) for table in arguments.as_tables("tables", tables)]
    except ConfigurationError:  # the run says so
        return []


def _copy(
    hook: PostgresCdcHook | MysqlCdcHook,
    destination: PostgresAccess,
    sync_key: str,
    identity: RunIdentity,
    tables: Sequence[SourceTable],
    run: Run,
) -> None:
    from airflow_etl_sync.journey.copying import copy_tables

    copy_tables(hook.whole_tables(), destination, sync_key, [each.terms for each in tables], identity, run)
