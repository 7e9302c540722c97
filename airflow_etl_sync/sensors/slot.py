"""A task that waits for what a replication slot has not read yet."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_etl_sync.operators import _arguments as arguments
from airflow_etl_sync.sensors._waking import WakingSensor

if TYPE_CHECKING:
    from airflow_etl_sync.triggers.slot import ReplicationSlotTrigger


class ReplicationSlotSensor(WakingSensor):
    """Wait until the source's log goes on behind a replication slot's confirmed position, holding no worker.

    It succeeds at once where it does so already, and also where the slot is missing or lost, so that the task behind it
    says so. That task may find nothing: the log belongs to all databases of the server. All arguments are templated.

    :param conn_id: connection of type ``postgres_cdc`` or ``postgres`` to the database of the slot
    :param slot: the slot's name
    :param poll_seconds: how often the server is asked
    """

    template_fields = ("conn_id", "slot", "poll_seconds")

    def __init__(self, *, conn_id: str, slot: str, poll_seconds: float | str = 10, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.conn_id = conn_id
        self.slot = slot
        self.poll_seconds = poll_seconds

    def trigger(self) -> ReplicationSlotTrigger:
        """Give what is waited for."""
        from airflow_etl_sync.triggers.slot import ReplicationSlotTrigger

        return ReplicationSlotTrigger(
            conn_id=arguments.as_text("conn_id", self.conn_id),
            slot=self.slot,
            poll_seconds=arguments.as_seconds("poll_seconds", self.poll_seconds),
        )
