"""A person's hand on a watermark, from a DAG: show, set, rewind, reset."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator

from airflow_etl_sync.observability.links import SyncLink
from airflow_etl_sync.operators import _arguments as arguments
from airflow_etl_sync.operators._failure import failing_for_good

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_etl_sync.core.watermark_change import Signature


class WatermarkSetOperator(BaseOperator):
    """Show a watermark, set it, rewind it or reset it; each change is recorded with who and why.

    The next run of the sync starts exactly at the new value. A run that is under way keeps what it loads, but does
    not move the watermark any more. A run of this task makes one change: where it is tried or cleared again, it finds
    its change and makes no other. All arguments are templated.

    :param sync_key: the name of the sync
    :param state_conn_id: connection of type ``postgres`` whose schema ``etl_sync`` keeps the watermark
    :param action: ``show``; ``set`` to a value; ``rewind`` to a lower value or by a distance; ``reset``, after which
        the next run reads everything, or starts at its ``initial_value``
    :param value: where the next run is to start; a moment without a zone is taken as UTC
    :param back: how far to rewind: a ``timedelta`` or an ISO 8601 duration (``P7D``); for a numeric cursor a number
    :param cursor_type: ``timestamptz``, ``timestamp``, ``date``, ``integer``, ``numeric`` or ``text``; needed by
        ``set`` where the sync has no watermark
    :param allow_skipping: let ``set`` pass over rows that have not been read
    :param reason: why; needed by every change
    :param by: who is recorded; by default the user who triggered the run, else the DAG's id
    """

    template_fields = (
        "sync_key", "state_conn_id", "action", "value", "back", "cursor_type", "allow_skipping", "reason", "by",
    )  # fmt: skip
    ui_color = "#fdebc8"
    operator_extra_links = (SyncLink(),)

    def __init__(
        self,
        *,
        sync_key: str,
        state_conn_id: str,
        action: str = "show",
        value: str | int | datetime | None = None,
        back: timedelta | int | str | None = None,
        cursor_type: str | None = None,
        allow_skipping: bool | str = False,
        reason: str | None = None,
        by: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.sync_key = sync_key
        self.state_conn_id = state_conn_id
        self.action = action
        self.value = value
        self.back = back
        self.cursor_type = cursor_type
        self.allow_skipping = allow_skipping
        self.reason = reason
        self.by = by

    def execute(self, context: Context) -> dict[str, Any]:
        """Do what ``action`` says.

        :returns: of a change the old and the new value, who and why; of ``show`` the value and the last changes
        :raises AirflowFailException: where the change is refused; then nothing is changed and nothing recorded
        """
        from airflow_etl_sync.journey import watermark
        from airflow_etl_sync.operators._journey_terms import access_by
        from airflow_etl_sync.operators._watermark_terms import change_request_of

        with failing_for_good():
            state = access_by(self, "state_conn_id").engine()
            if arguments.as_text("action", self.action) == "show":
                return watermark.show(state, arguments.as_text("sync_key", self.sync_key)).to_json()
            return watermark.change(state, change_request_of(self), self._signature(context)).to_json()

    def _signature(self, context: Context) -> Signature:
        from airflow_etl_sync.core.watermark_change import Signature

        task = context["ti"]
        person = getattr(context["dag_run"], "triggering_user_name", None)  # Airflow 3.1 has none yet
        return Signature(
            by=arguments.as_optional_text("by", self.by) or person or task.dag_id,
            reason=arguments.as_text("reason", self.reason),
            request=f"{task.dag_id} {task.run_id} {task.task_id} {task.map_index}",
        )
