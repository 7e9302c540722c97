"""Woken by what a replication slot has not read yet."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_etl_sync.operators import _arguments as arguments
from airflow_etl_sync.triggers._waking import WakingTrigger

if TYPE_CHECKING:
    from airflow_etl_sync.cdc.postgres.watches import SlotWatch


class ReplicationSlotTrigger(WakingTrigger):
    """Fire when the source's log goes on behind a replication slot's confirmed position.

    The slot keeps what it has not given, so nothing is missed while nobody waits. After an event the next one waits
    until a run has come as far as the log was then, or for five minutes. The log is shared by all databases of a
    server, the sync's own included where it loads into the same one: an event may be followed by a run that finds
    nothing and only frees the log.

    A slot that is missing, or whose changes the server has thrown away, fires too, so that a run fails and says so.

    :param conn_id: connection to the database of the slot
    :param slot: the slot's name
    :param poll_seconds: how often the server is asked, which costs it next to nothing
    """

    def __init__(self, *, conn_id: str, slot: str, poll_seconds: float = 10) -> None:
        super().__init__(conn_id)
        self.slot = slot
        self.poll_seconds = poll_seconds

    def arguments(self) -> dict[str, Any]:
        return {"conn_id": self.conn_id, "slot": self.slot, "poll_seconds": self.poll_seconds}

    def checked(self) -> dict[str, Any]:
        return {
            "slot": arguments.as_text("slot", self.slot),
            "poll_seconds": arguments.as_seconds("poll_seconds", self.poll_seconds, least=0.1),
        }

    def subject(self) -> dict[str, Any]:
        return {"conn_id": self.conn_id, "slot": self.slot}

    def watch(self) -> SlotWatch:
        from airflow_etl_sync.cdc.postgres.watches import SlotWatch

        return SlotWatch(**self.checked())
