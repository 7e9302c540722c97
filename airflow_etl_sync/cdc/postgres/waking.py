"""Waiting for changes at a source for ever, over connections that break.

The promise: a change is followed by a wake, sooner or later, whatever becomes of connections, servers and the process
that waits; there may be more wakes than changes. A wake brings no data.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
import socket
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import aclosing, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

from airflow_etl_sync.cdc.postgres import notify_sql
from airflow_etl_sync.errors import EtlSyncError, SourceError, explaining

if TYPE_CHECKING:
    from psycopg import AsyncConnection
    from psycopg.rows import TupleRow

FIRST_WAIT_SECONDS, LONGEST_WAIT_SECONDS = 0.5, 60.0
ANSWER_SECONDS = 45.0
"""A server that answers a small question no sooner is taken as gone."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Wake:
    """Something has changed, or may have.

    :param reason: ``connected``: nobody listened until now; ``notified``; ``polled``: the source was asked;
        ``unusable``: changes cannot be read any more, which whoever reads them will report
    :param notifications: how many were received since the last wake
    """

    reason: Literal["connected", "notified", "polled", "unusable"]
    notifications: int = 0


class Watch(Protocol):
    """What is waited for; it lives as long as the waiting, over all connections."""

    @property
    def what(self) -> str:
        """What is watched, to end a sentence with (``the channel 'orders_changed'``)."""

    def wakes(self, connection: AsyncConnection[TupleRow]) -> AsyncGenerator[Wake, None]:
        """Wake for as long as the connection holds, and raise the driver's error when it breaks."""


class Waking:
    """One connection after another, for as long as somebody wants to be woken.

    :param connect: makes a connection in autocommit mode
    :param watch: what is waited for
    :param gives_up: whether an error that does not pass with time is raised; else it is logged and waited for
    """

    def __init__(
        self, connect: Callable[[], Awaitable[AsyncConnection[TupleRow]]], watch: Watch, *, gives_up: bool
    ) -> None:
        self._connect = connect
        self._watch = watch
        self._gives_up = gives_up
        self._connection: AsyncConnection[TupleRow] | None = None
        self._attempt = 0

    async def wakes(self) -> AsyncGenerator[Wake, None]:
        """Wake again and again; this never ends by itself.

        :raises EtlSyncError: where trying again cannot help, and nobody waits for a person to mend it
        """
        while True:
            began = time.monotonic()
            try:
                with explaining(SourceError, f"watch {self._watch.what}"):
                    self._connection = await self._connect()
                    async with self._connection as connection, aclosing(self._watch.wakes(connection)) as wakes:
                        await _make_patient(connection)
                        async for wake in wakes:
                            yield wake
            except EtlSyncError as error:
                if self._gives_up and not error.is_retryable:
                    raise
                await asyncio.sleep(self._wait(error, time.monotonic() - began))

    async def close(self) -> None:
        """Close the connection, wherever the waiting stands."""
        if self._connection is not None:
            await self._connection.close()

    def _wait(self, error: EtlSyncError, lasted_seconds: float) -> float:
        """How many seconds to wait: longer each time, unless the last connection held for a while."""
        self._attempt = 1 if lasted_seconds > LONGEST_WAIT_SECONDS else self._attempt + 1
        seconds = min(FIRST_WAIT_SECONDS * 2 ** min(self._attempt - 1, 20), LONGEST_WAIT_SECONDS)
        wait = seconds * random.uniform(0.5, 1) if error.is_retryable else LONGEST_WAIT_SECONDS  # noqa: S311
        log.log(
            logging.INFO if error.is_retryable else logging.ERROR,
            "%s. Trying again in %.1f s (attempt %d).", str(error).rstrip("."), wait, self._attempt,
        )  # fmt: skip
        return wait


@contextmanager
def answering(connection: AsyncConnection[TupleRow]) -> Iterator[None]:
    """Let what is asked inside fail where no answer comes, as over a line that has silently died.

    Giving up the statement alone would not do: the driver then waits for the server to say that it did.
    """
    timer = asyncio.get_running_loop().call_later(ANSWER_SECONDS, _cut, connection)
    try:
        yield
    finally:
        timer.cancel()


async def _make_patient(connection: AsyncConnection[TupleRow]) -> None:
    with answering(connection):
        await connection.execute(notify_sql.ASK_QUICKLY)
        await connection.execute(notify_sql.STAY_IDLE)


def _cut(connection: AsyncConnection[TupleRow]) -> None:
    with socket.socket(fileno=os.dup(connection.fileno())) as line:
        line.shutdown(socket.SHUT_RDWR)
