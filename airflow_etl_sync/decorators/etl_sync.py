"""``@task.etl_sync``: a function gives records, the task upserts them."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import DecoratedOperator, determine_kwargs, task_decorator_factory

from airflow_etl_sync.core.model import Origin
from airflow_etl_sync.errors import ConfigurationError
from airflow_etl_sync.observability.assets import LoadsTables
from airflow_etl_sync.observability.lineage import Flow, LineageTeller
from airflow_etl_sync.observability.links import SyncLink
from airflow_etl_sync.observability.outcome import Outcome
from airflow_etl_sync.observability.telling import tell
from airflow_etl_sync.operators import _arguments as arguments
from airflow_etl_sync.operators._failure import failing_for_good

if TYPE_CHECKING:
    from datetime import timedelta

    from airflow.providers.common.compat.sdk import TaskDecorator
    from airflow.sdk import Context

    from airflow_etl_sync.core.model import LoadRules
    from airflow_etl_sync.core.records import RecordRules
    from airflow_etl_sync.journey.sync import SyncReport

_WATERMARK = "watermark"


class EtlSyncDecoratedOperator(LineageTeller, LoadsTables, DecoratedOperator):
    """Upsert the records that a function returns or yields, see :func:`etl_sync_task`."""

    custom_operator_name = "@task.etl_sync"
    template_fields = (
        "op_args", "op_kwargs", "sync_key", "destination_conn_id", "destination_table", "state_conn_id", "primary_key",
        "cursor_field", "columns", "column_types", "lag", "full_refresh", "conflict", "conflict_field", "create_table",
        "synced_at_column", "schema_contract", "max_errors", "max_error_percent", "chunk_rows",
    )  # fmt: skip
    ui_color = "#e3e0f3"
    operator_extra_links = (SyncLink(),)

    def __init__(
        self,
        *,
        python_callable: Callable[..., object],
        op_args: Sequence[Any],
        op_kwargs: Mapping[str, Any],
        destination_conn_id: str,
        destination_table: str,
        primary_key: str | Sequence[str],
        sync_key: str | None = None,
        state_conn_id: str | None = None,
        cursor_field: str | None = None,
        columns: str | Sequence[str] | None = None,
        column_types: Mapping[str, str] | str | None = None,
        lag: timedelta | int | str = 0,
        full_refresh: bool | str = False,
        conflict: str | None = None,
        conflict_field: str | None = None,
        create_table: bool | str = True,
        synced_at_column: str | None = None,
        schema_contract: str = "evolve",
        max_errors: int | str | None = None,
        max_error_percent: float | str | None = None,
        chunk_rows: int | str = 50_000,
        **kwargs: Any,
    ) -> None:
        is_asked = _WATERMARK in inspect.signature(python_callable).parameters
        super().__init__(
            python_callable=python_callable,
            op_args=op_args,
            op_kwargs={_WATERMARK: None, **op_kwargs} if is_asked else op_kwargs,  # the task gives it when it runs
            **kwargs,
        )
        self.destination_conn_id = destination_conn_id
        self.destination_table = destination_table
        self.primary_key = primary_key
        self.sync_key = sync_key
        self.state_conn_id = state_conn_id
        self.cursor_field = cursor_field
        self.columns = columns
        self.column_types = column_types
        self.lag = lag
        self.full_refresh = full_refresh
        self.conflict = conflict
        self.conflict_field = conflict_field
        self.create_table = create_table
        self.synced_at_column = synced_at_column
        self.schema_contract = schema_contract
        self.max_errors = max_errors
        self.max_error_percent = max_error_percent
        self.chunk_rows = chunk_rows
        self.add_tables(destination_conn_id, [destination_table])

    def execute(self, context: Context) -> dict[str, Any]:
        """Call the function and load what it gives.

        :returns: the report as JSON; no records
        :raises AirflowFailException: where another try cannot help; what the function raises goes out as it is
        """
        from airflow_etl_sync.journey.records import FunctionError

        try:
            with failing_for_good():
                report = self._load(context)
        except FunctionError as error:
            raise (error.__cause__ or error) from None
        tell(context, Outcome.of_sync(self._sync_key(context), report))
        return report.to_json(self._sync_key(context))

    def _load(self, context: Context) -> SyncReport:
        from airflow_etl_sync.journey.records import load_records
        from airflow_etl_sync.operators._journey_terms import destination_by, identity_of, note_place, table_of

        rules, load_rules = self._rules(context), self._load_rules()
        table = table_of("destination_table", self.destination_table)
        reached = destination_by(self, table)
        note_place(reached, rules.sync_key, self.dag_id)

        def give(watermark: Any) -> object:
            known = {**context, **self.op_kwargs, _WATERMARK: watermark}
            wanted = determine_kwargs(self.python_callable, self.op_args, known)
            return self.python_callable(*self.op_args, **wanted)

        report = load_records(
            give, reached.destination,
            rules=rules, load_rules=load_rules, identity=identity_of(context),
            chunk_rows=arguments.as_count("chunk_rows", self.chunk_rows), try_number=context["ti"].try_number,
        )  # fmt: skip
        self.flows = (
            Flow(origin=Origin(), state=reached.state, target=reached.destination, counts=report.counts).seen(),
        )  # fmt: skip
        return report

    def _rules(self, context: Context) -> RecordRules:
        from airflow_etl_sync.core.records import RecordRules

        return RecordRules(
            sync_key=self._sync_key(context),
            cursor_field=arguments.as_optional_text("cursor_field", self.cursor_field),
            columns=arguments.as_names("columns", self.columns),
            column_types=arguments.as_text_map("column_types", self.column_types),
            lag=arguments.as_lag("lag", self.lag),
            full_refresh=arguments.as_flag("full_refresh", self.full_refresh),
        )

    def _load_rules(self) -> LoadRules:
        """How rows land; the default of ``conflict`` makes the result the same wherever chunks end."""
        from airflow_etl_sync.operators._journey_terms import load_rules_of

        cursor = arguments.as_optional_text("cursor_field", self.cursor_field)
        given = {name: getattr(self, name) for name in self.template_fields}
        if arguments.is_absent(self.conflict):
            given["conflict"] = "latest_wins" if cursor else "source_wins"
        if arguments.is_absent(self.conflict_field):
            given["conflict_field"] = cursor
        rules = load_rules_of(SimpleNamespace(**given))
        if not rules.primary_key:
            raise ConfigurationError("primary_key is missing: name the fields by which a record is found again.")
        if rules.conflict == "latest_wins" and rules.conflict_field is None:
            raise ConfigurationError("latest_wins compares a field: name it as conflict_field or cursor_field.")
        return rules

    def _sync_key(self, context: Context) -> str:
        given, instance = arguments.as_optional_text("sync_key", self.sync_key), context["ti"]
        if given is None and instance.map_index is not None and instance.map_index >= 0:
            raise ConfigurationError(
                "sync_key is missing: each copy of a mapped task needs one of its own, as a template."
            )
        return given or f"{instance.dag_id}.{instance.task_id}"


def etl_sync_task(python_callable: Callable[..., object] | None = None, **kwargs: Any) -> TaskDecorator:
    """Make a task of a function that returns or yields records, which the task upserts into a table.

    Used as ``@task.etl_sync(destination_conn_id=…, destination_table=…, primary_key=…)``. A record is a mapping; whole
    tables of Arrow, polars or pandas do as well, and whatever speaks the Arrow C stream. A generator is read piece by
    piece, so that its records need not fit into memory. The task returns a report: counts and watermark, no records.

    With a ``cursor_field`` the function is handed, as its argument ``watermark``, the highest cursor that was loaded
    (None at first; a datetime, date, int, Decimal or str), and gives the records from there on, that cursor included.
    The watermark moves once all of them are loaded. A time ahead of the destination's clock never becomes one.

    Columns of an absent table, and new ones, get their types from the values: bool, int (``bigint``), float, Decimal
    (``numeric``), str, bytes, datetime with a zone or without, date, time, timedelta, UUID, and ``jsonb`` for lists and
    mappings; whole numbers beside floats are ``numeric``. Other mixtures are refused. Where the table has the column,
    its type decides. All arguments are templated, the function's own too.

    :param destination_conn_id: connection to load into; one of type ``postgres`` keeps the watermark as well
    :param destination_table: the table to load (``schema.table``)
    :param primary_key: the fields that name a record
    :param sync_key: the unique name of the sync, by default the DAG's and the task's id
    :param state_conn_id: connection of type ``postgres`` that keeps watermark and runs, where the destination is of
        another type
    :param cursor_field: the field that grows when a record changes; a time, date, number or text
    :param columns: the fields to load, missing ones as NULL; by default those of the first record, which all must have
    :param column_types: PostgreSQL's types of columns that the table does not have yet, by name
    :param lag: how far the watermark stays behind, for records that come late: a duration, or a number
    :param full_refresh: let the function give everything: it is handed None
    :param conflict: who wins where a row is there already: by default ``latest_wins`` with a ``cursor_field``, else
        ``source_wins``
    :param conflict_field: the field that ``latest_wins`` compares; by default the cursor field
    :param create_table: create an absent table
    :param synced_at_column: a ``timestamptz`` column that the load sets on rows it inserts or changes
    :param schema_contract: ``evolve``, ``freeze``, ``discard_column`` or ``discard_row``
    :param max_errors: how many rows of a run may be set aside as failed records
    :param max_error_percent: how many per cent of the run's rows may be
    :param chunk_rows: at most so many rows are merged in one transaction
    """
    return task_decorator_factory(
        python_callable=python_callable,
        multiple_outputs=False,
        decorated_operator_class=EtlSyncDecoratedOperator,
        **kwargs,
    )
