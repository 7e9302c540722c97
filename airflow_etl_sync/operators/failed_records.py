"""Look after the rows that could not be loaded."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator

from airflow_etl_sync.observability.links import SyncLink
from airflow_etl_sync.operators import _arguments as arguments
from airflow_etl_sync.operators._failure import failing_for_good

if TYPE_CHECKING:
    from airflow.sdk import Context

_ACTIONS = ("list", "replay")


class FailedRecordsOperator(BaseOperator):
    """List or replay the failed records of a sync.

    ``list`` returns how many are open for each table and SQLSTATE, and never a value of theirs. ``replay``
    loads the open records by the rules they were to be loaded by, each once, and returns the counts; those
    that fail again stay open. A record whose key a newer row has loaded is closed by then and is not replayed.
    All arguments are templated.

    :param sync_key: the sync whose records are meant
    :param destination_conn_id: connection to the tables that they are for; where it is of type ``postgres``, its
        schema ``etl_sync`` keeps them
    :param state_conn_id: connection of type ``postgres`` whose schema ``etl_sync`` keeps them, where the destination is
        of another type
    :param action: ``list`` or ``replay``
    """

    template_fields = ("sync_key", "destination_conn_id", "state_conn_id", "action")
    ui_color = "#f3d0d0"
    operator_extra_links = (SyncLink(),)

    def __init__(
        self,
        *,
        sync_key: str,
        destination_conn_id: str,
        state_conn_id: str | None = None,
        action: str = "replay",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.sync_key = sync_key
        self.destination_conn_id = destination_conn_id
        self.state_conn_id = state_conn_id
        self.action = action

    def execute(self, context: Context) -> Any:
        """List or replay.

        :returns: for ``list`` a list of ``{"table", "sqlstate", "records"}``; for ``replay`` the counts
        :raises AirflowFailException: where another try cannot help
        """
        with failing_for_good():
            return self._act(context)

    def _act(self, context: Context) -> Any:
        from airflow_etl_sync.core.model import refuse_unknown
        from airflow_etl_sync.journey.failed_records import replay_all, summarise
        from airflow_etl_sync.operators._journey_terms import destination_by, identity_of, state_by
        from airflow_etl_sync.systems.base import table_in

        action = arguments.as_text("action", self.action)
        refuse_unknown("action", action, _ACTIONS)
        sync_key = arguments.as_text("sync_key", self.sync_key)
        state = state_by(self).engine()
        if action == "list":
            return summarise(state, sync_key)
        return replay_all(
            lambda target: destination_by(self, table_in(target)).destination, state, sync_key, identity_of(context)
        ).to_json()
