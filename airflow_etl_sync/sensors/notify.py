"""A task that waits for PostgreSQL's NOTIFY."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_etl_sync.operators import _arguments as arguments
from airflow_etl_sync.sensors._waking import WakingSensor

if TYPE_CHECKING:
    from airflow_etl_sync.triggers.notify import PostgresNotifyTrigger


class PostgresNotifySensor(WakingSensor):
    """Wait until a channel is notified, holding no worker.

    It also succeeds when the connection had to be made again, and after ``poll_seconds``: what was sent while nobody
    listened is lost, and nobody knows whether something was. The task behind it may find nothing new. All arguments
    are templated.

    :param conn_id: connection of type ``postgres``
    :param channel: the channel's name, as it was given to NOTIFY
    :param poll_seconds: at most so long is waited
    :param coalesce_seconds: so long is waited for further notifications after the first
    """

    template_fields = ("conn_id", "channel", "poll_seconds", "coalesce_seconds")

    def __init__(
        self,
        *,
        conn_id: str,
        channel: str,
        poll_seconds: float | str = 300,
        coalesce_seconds: float | str = 1,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.conn_id = conn_id
        self.channel = channel
        self.poll_seconds = poll_seconds
        self.coalesce_seconds = coalesce_seconds

    def trigger(self) -> PostgresNotifyTrigger:
        """Give what is waited for."""
        from airflow_etl_sync.triggers.notify import PostgresNotifyTrigger

        return PostgresNotifyTrigger(
            conn_id=arguments.as_text("conn_id", self.conn_id),
            channel=self.channel,
            poll_seconds=arguments.as_seconds("poll_seconds", self.poll_seconds),
            coalesce_seconds=arguments.as_seconds("coalesce_seconds", self.coalesce_seconds),
            fires_at_start=False,
        )
