"""Before the first capture of changes, and after the last."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator

from airflow_etl_sync.operators._capture_terms import hook_of
from airflow_etl_sync.operators._failure import failing_for_good

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airflow.sdk import Context


log = logging.getLogger(__name__)


class CdcSetUpOperator(BaseOperator):
    """Make the publication and the replication slot from which changes are captured; may be run again at any time.

    Of MySQL and MariaDB it makes nothing, and says what is amiss.

    From then on the source keeps its log until it has been read: capture changes regularly, or run
    :class:`CdcTearDownOperator`, else the log fills the source's disk. All arguments are templated.

    :param source_conn_id: connection of type ``postgres_cdc``, or of type ``postgres`` where ``slot`` is given
    :param tables: the tables, by default the connection's; those that the publication lacks are added
    :param slot: the slot's name, by default the connection's
    :param publication: the publication's name, by default the connection's, else the slot's name
    """

    template_fields = ("source_conn_id", "tables", "slot", "publication")
    ui_color = "#d9ead3"

    def __init__(
        self,
        *,
        source_conn_id: str,
        tables: Sequence[str] | str | None = None,
        slot: str | None = None,
        publication: str | Sequence[str] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.source_conn_id = source_conn_id
        self.tables = tables
        self.slot = slot
        self.publication = publication

    def execute(self, context: Context) -> dict[str, Any]:  # noqa: ARG002 - Airflow's signature
        """Make what is not there yet.

        :returns: slot, publications, tables, and the position from which on changes are given
        :raises AirflowFailException: where something stands in the way, with how to mend it; then nothing is made
        """
        with failing_for_good():
            hook = hook_of(self)
            changes, tables = hook.change_log(), hook.tables()
            position = changes.set_up(tables)
            for finding in changes.preflight(tables):
                log.warning("%s", finding)
            name = changes.name
        log.info("The log %s gives changes of %d tables from position %d on", name, len(tables), position)
        return {
            "slot": name,
            "publications": list(changes.publications),
            "tables": [str(table) for table in tables],
            "position": position,
        }


class CdcTearDownOperator(BaseOperator):
    """Drop the replication slot, so that the source keeps its log no longer, and the publication.

    A publication that somebody else made is left. What is gone already is no error; of MySQL and MariaDB there is
    nothing to drop. Changes that were not captured
    before are lost. All arguments are templated.

    :param source_conn_id: connection of type ``postgres_cdc``, or of type ``postgres`` where ``slot`` is given
    :param slot: the slot's name, by default the connection's
    :param publication: the publication's name, by default the connection's, else the slot's name
    """

    template_fields = ("source_conn_id", "slot", "publication")
    ui_color = "#d9ead3"

    def __init__(
        self,
        *,
        source_conn_id: str,
        slot: str | None = None,
        publication: str | Sequence[str] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.source_conn_id = source_conn_id
        self.slot = slot
        self.publication = publication

    def execute(self, context: Context) -> dict[str, Any]:  # noqa: ARG002 - Airflow's signature
        """Drop what is there.

        :returns: slot and publications, and which of the two was dropped
        :raises AirflowFailException: where the slot belongs to something else
        """
        with failing_for_good():
            changes = hook_of(self).change_log()
            torn, name = changes.tear_down(), changes.name
        log.info(
            "Slot %s: %s; publication: %s",
            name,
            "dropped" if torn.has_dropped_slot else "was not there",
            "dropped" if torn.has_dropped_publication else "left, since it is gone or somebody else's",
        )
        return {
            "slot": name,
            "publications": list(changes.publications),
            "has_dropped_slot": torn.has_dropped_slot,
            "has_dropped_publication": torn.has_dropped_publication,
        }
