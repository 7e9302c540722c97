"""What can be waited for: a channel's notifications, and a slot's changes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from airflow_etl_sync.cdc.postgres import notify_sql
from airflow_etl_sync.cdc.postgres.waking import Wake, answering

if TYPE_CHECKING:
    from psycopg import AsyncConnection
    from psycopg.rows import TupleRow

    from airflow_etl_sync.core.channel import Probe

RENEW_SECONDS = 300.0
"""After so long a wake is repeated that nobody seems to have followed."""


@dataclass(slots=True)
class ChannelWatch:
    """Wakes when a channel is notified; and when nobody can know whether it was.

    A notification that is sent while nobody listens is lost. So each connection first listens and then wakes once, and
    from time to time the source is asked: of a table that is named its newest cursor value, else this wakes without
    asking.

    :param channel: the channel's name
    :param poll_seconds: for so long at most a change stays unnoticed that nothing told of
    :param coalesce_seconds: what arrives within that time of a first notification makes one wake with it
    :param probe: the table that is asked
    :param wakes_at_start: whether the first connection wakes too
    """

    channel: str
    poll_seconds: float
    coalesce_seconds: float
    probe: Probe | None = None
    wakes_at_start: bool = True
    _has_started: bool = False

    @property
    def what(self) -> str:
        return f"the channel {self.channel!r}"

    async def wakes(self, connection: AsyncConnection[TupleRow]) -> AsyncGenerator[Wake, None]:
        with answering(connection):
            await connection.execute(notify_sql.listen(self.channel))  # before anything is looked at
        seen = await self._newest(connection)
        is_due, self._has_started = self.wakes_at_start or self._has_started, True
        if is_due:
            yield Wake("connected")
        while True:
            notifications = await self._receive(connection)
            newest = await self._newest(connection)
            is_changed, seen = self.probe is None or newest != seen, newest
            if notifications:
                yield Wake("notified", notifications)
            elif is_changed:
                yield Wake("polled")

    async def _receive(self, connection: AsyncConnection[TupleRow]) -> int:
        """How many notifications came in one burst; none when the time to poll has come."""
        count = await _count(connection, self.poll_seconds, stop_after=1)
        if count and self.coalesce_seconds:
            count += await _count(connection, self.coalesce_seconds)
        return count

    async def _newest(self, connection: AsyncConnection[TupleRow]) -> str | None:
        """The newest cursor value of the table; without one, only whether the server still answers."""
        statement = notify_sql.newest_cursor(self.probe) if self.probe else notify_sql.IS_THERE
        with answering(connection):
            row = await (await connection.execute(statement)).fetchone()
        return row[0] if row else None


async def _count(connection: AsyncConnection[TupleRow], seconds: float, stop_after: int | None = None) -> int:
    count = 0
    try:
        async for _ in connection.notifies(timeout=seconds, stop_after=stop_after):
            count += 1
    except UnicodeDecodeError:  # a payload that is no text; nobody wants to read it
        count += 1
    return count


@dataclass(frozen=True, slots=True)
class SlotStanding:
    """How far a server and a slot have come, as bytes of its log.

    :param flushed: the end of what is written and safe
    :param confirmed: where the slot's reader stands; None where there is no such slot
    :param is_lost: whether the server has thrown away what the slot would need
    """

    flushed: int
    confirmed: int | None
    is_lost: bool


@dataclass(slots=True)
class SlotWatch:
    """Wakes when the server's log goes on behind a slot's confirmed position.

    After a wake the next one waits until that position has been reached, so that changes which arrive while they are
    being read make one more wake and not many; or until :data:`RENEW_SECONDS` have passed. The log belongs to all
    databases of a server: a wake may find nothing for this slot, and reading that nothing frees the log.

    :param slot: the slot's name
    :param poll_seconds: how often the server is asked
    """

    slot: str
    poll_seconds: float
    _told: tuple[int, float] | None = field(default=None, init=False)

    @property
    def what(self) -> str:
        return f"the replication slot {self.slot!r}"

    async def wakes(self, connection: AsyncConnection[TupleRow]) -> AsyncGenerator[Wake, None]:
        while True:
            standing = await self._standing(connection)
            wake = self.wake(standing, time.monotonic())
            if wake is not None:
                yield wake
            await asyncio.sleep(self.poll_seconds)

    def wake(self, standing: SlotStanding, now: float) -> Wake | None:
        """Whether this standing wakes; if it does, it is remembered."""
        told_position, told_at = self._told or (0, float("-inf"))
        is_old = now - told_at >= RENEW_SECONDS
        is_unusable = standing.confirmed is None or standing.is_lost
        reached = standing.flushed if standing.confirmed is None else standing.confirmed
        is_due = is_old if is_unusable else standing.flushed > reached and (reached >= told_position or is_old)
        if not is_due:
            return None
        self._told = (standing.flushed, now)
        return Wake("unusable" if is_unusable else "polled")

    async def _standing(self, connection: AsyncConnection[TupleRow]) -> SlotStanding:
        with answering(connection):
            cursor = await connection.execute(notify_sql.READ_SLOT_STANDING, {"slot": self.slot})
            row = await cursor.fetchone()
        flushed, confirmed, is_lost = row or (0, None, False)
        return SlotStanding(int(flushed), None if confirmed is None else int(confirmed), bool(is_lost))
