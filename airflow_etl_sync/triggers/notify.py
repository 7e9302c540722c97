"""Woken by PostgreSQL's NOTIFY."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_etl_sync.core.channel import checked_channel, probe_of
from airflow_etl_sync.operators import _arguments as arguments
from airflow_etl_sync.triggers._waking import WakingTrigger

if TYPE_CHECKING:
    from airflow_etl_sync.cdc.postgres.watches import ChannelWatch


class PostgresNotifyTrigger(WakingTrigger):
    """Fire when a channel is notified, for an ``AssetWatcher`` or a task that waits.

    NOTIFY wakes, it never carries the data: payloads are dropped unread. Every connection listens first and then fires
    once, since what was sent while nobody listened is lost; so a run may find nothing new, and none is missing.

    LISTEN does not work through a pooler that lends connections by transaction: there only the polling wakes.

    :param conn_id: connection of type ``postgres``
    :param channel: the channel's name, as it was given to NOTIFY
    :param table: a table (``schema.table``) that is asked for its newest ``cursor_field`` when nothing was notified
        for ``poll_seconds``; without one, that time alone fires
    :param cursor_field: the column that grows when a record changes; it needs an index
    :param poll_seconds: for so long at most a change stays unnoticed that nothing notified of
    :param coalesce_seconds: notifications that arrive within that time of a first one make one event with it
    :param fires_at_start: whether the first connection fires an event too
    """

    def __init__(
        self,
        *,
        conn_id: str,
        channel: str,
        table: str | None = None,
        cursor_field: str | None = None,
        poll_seconds: float = 300,
        coalesce_seconds: float = 1,
        fires_at_start: bool = True,
    ) -> None:
        super().__init__(conn_id)
        self.channel = channel
        self.table = table
        self.cursor_field = cursor_field
        self.poll_seconds = poll_seconds
        self.coalesce_seconds = coalesce_seconds
        self.fires_at_start = fires_at_start

    def arguments(self) -> dict[str, Any]:
        return {
            "conn_id": self.conn_id,
            "channel": self.channel,
            "table": self.table,
            "cursor_field": self.cursor_field,
            "poll_seconds": self.poll_seconds,
            "coalesce_seconds": self.coalesce_seconds,
            "fires_at_start": self.fires_at_start,
        }

    def checked(self) -> dict[str, Any]:
        return {
            "channel": checked_channel(self.channel),
            "poll_seconds": arguments.as_seconds("poll_seconds", self.poll_seconds, least=0.1),
            "coalesce_seconds": arguments.as_seconds("coalesce_seconds", self.coalesce_seconds),
            "probe": probe_of(self.table, self.cursor_field),
            "wakes_at_start": arguments.as_flag("fires_at_start", self.fires_at_start),
        }

    def subject(self) -> dict[str, Any]:
        return {"conn_id": self.conn_id, "channel": self.channel}

    def watch(self) -> ChannelWatch:
        from airflow_etl_sync.cdc.postgres.watches import ChannelWatch

        return ChannelWatch(**self.checked())
