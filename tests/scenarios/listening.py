"""A trigger run as Airflow's triggerer runs it, and what can be done to its connection."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import psycopg
from airflow.triggers.base import BaseEventTrigger
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from tests.dags.conftest import as_connection

LISTENERS = """
SELECT pid
FROM pg_stat_activity
WHERE application_name = 'airflow-etl-sync' AND datname = current_database() AND pid <> pg_backend_pid()
"""


class Listener:
    """The events of a trigger that runs in the background."""

    def __init__(self, trigger: BaseEventTrigger) -> None:
        self.trigger = trigger
        self.events: list[dict[str, Any]] = []

    @property
    def reasons(self) -> list[str]:
        return [event["reason"] for event in self.events]

    async def run(self) -> None:
        try:
            async for event in self.trigger.run():
                self.events.append(event.payload)
        finally:
            await self.trigger.cleanup()

    async def has(self, count: int, seconds: float = 10) -> None:
        """Wait for so many events."""
        await until(lambda: len(self.events) >= count, seconds)

    async def has_no_more_than(self, count: int, seconds: float) -> None:
        await asyncio.sleep(seconds)
        assert len(self.events) == count, self.events


@asynccontextmanager
async def listening(trigger: BaseEventTrigger) -> AsyncIterator[Listener]:
    """Run a trigger for the length of a block, then cancel it."""
    listener = Listener(trigger)
    task = asyncio.create_task(listener.run())
    try:
        yield listener
        assert not task.done(), "the trigger has ended"
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def until(holds: Callable[[], bool], seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "it did not come to this"
        await asyncio.sleep(0.02)


def listeners(source: psycopg.Connection) -> list[int]:
    """The server processes that triggers are connected to."""
    return [row[0] for row in source.execute(LISTENERS)]


def terminate(source: psycopg.Connection) -> None:
    """Kill the connections of all triggers."""
    pids = listeners(source)
    assert pids
    for pid in pids:
        source.execute("SELECT pg_terminate_backend(%s, 5000)", [pid])


class Line:
    """A way to a server that can die silently: it takes what is sent and passes nothing on."""

    def __init__(self, conninfo: str) -> None:
        self._parts = conninfo_to_dict(conninfo)
        self._relays: list[asyncio.Task[None]] = []
        self.is_dead = False
        self.connections = 0

    @asynccontextmanager
    async def laid(self) -> AsyncIterator[str]:
        """The conninfo of this way."""
        server = await asyncio.start_server(self._connect, "127.0.0.1", 0)
        try:
            yield make_conninfo(**{**self._parts, "port": server.sockets[0].getsockname()[1]})
        finally:
            server.close()
            for relay in self._relays:
                relay.cancel()
            await asyncio.gather(*self._relays, return_exceptions=True)

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        there = await asyncio.open_connection(str(self._parts["host"]), int(str(self._parts["port"])))
        number = self.connections
        self._relays += [
            asyncio.create_task(self._relay(number, reader, there[1])),
            asyncio.create_task(self._relay(number, there[0], writer)),
        ]

    async def _relay(self, number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(4096):
                if not (self.is_dead and number == 1):
                    writer.write(data)
        finally:
            writer.close()


def define(monkeypatch: Any, conn_id: str, conninfo: str, **changes: Any) -> None:
    """Let Airflow know a connection."""
    monkeypatch.setenv(f"AIRFLOW_CONN_{conn_id.upper()}", as_connection(conninfo, **changes))
