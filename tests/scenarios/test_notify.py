"""C14: a change wakes, whatever becomes of its notification and of the connection that waits for it."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import make_conninfo
from psycopg.sql import SQL, Identifier

from airflow_etl_sync import ConfigurationError, PostgresNotifyTrigger
from airflow_etl_sync.cdc.postgres import waking
from airflow_etl_sync.demo.postgres import Databases
from airflow_etl_sync.systems.postgres.access import PostgresAccess
from tests.scenarios.listening import Line, define, listeners, listening, terminate, until
from tests.scenarios.mortal import MortalPostgres

pytestmark = pytest.mark.scenario("C14")

NAMES = [
    "Orders Changed", 'a"b', "it's; DROP TABLE t; --", "ä€😀", "select", "none", " x ", "{}", "%s", "$1", "\\",
    "x" * 63,
]  # fmt: skip
SLOW = "CREATE VIEW slow AS SELECT c FROM t WHERE pg_sleep(0.7) IS NOT NULL"


@pytest.fixture(autouse=True)
def shop(source_db: str, source: psycopg.Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    """Table ``t`` with one row, and the connection ``shop`` to it."""
    source.execute("CREATE TABLE t (id bigint PRIMARY KEY, c bigint NOT NULL)")
    source.execute("INSERT INTO t VALUES (1, 1)")
    define(monkeypatch, "shop", source_db)
    monkeypatch.setattr(waking, "FIRST_WAIT_SECONDS", 0.5)


def trigger(**changes: Any) -> PostgresNotifyTrigger:
    given = {"conn_id": "shop", "channel": "t_changed", "coalesce_seconds": 0.2, **changes}
    return PostgresNotifyTrigger(**given)


def notify(source: psycopg.Connection, payload: str = "", channel: str = "t_changed") -> None:
    source.execute("SELECT pg_notify(%s, %s)", [channel, payload])


# -- nobody listened --------------------------------------------------------------------------------------


async def found_at_start(source: psycopg.Connection) -> None:
    notify(source)
    async with listening(trigger()) as listener:
        await listener.has(1)
        await listener.has_no_more_than(1, 0.5)
    assert listener.events == [{"conn_id": "shop", "channel": "t_changed", "reason": "connected", "notifications": 0}]


def test_what_was_sent_before_anybody_listened_is_found(source: psycopg.Connection) -> None:
    asyncio.run(found_at_start(source))


async def found_after_a_kill(source: psycopg.Connection) -> None:
    async with listening(trigger()) as listener:
        await listener.has(1)
        terminate(source)
        notify(source)
        assert listeners(source) == []
        await listener.has(2)
        notify(source)
        await listener.has(3)
    assert listener.reasons == ["connected", "connected", "notified"]


def test_what_was_sent_while_the_connection_was_killed_is_found(source: psycopg.Connection) -> None:
    asyncio.run(found_after_a_kill(source))


async def found_after_a_crash(server: MortalPostgres) -> None:
    async with listening(trigger(conn_id="mortal")) as listener:
        await listener.has(1)
        server.crash()
        await asyncio.sleep(1)
        server.restart()
        await listener.has(2)
    assert listener.reasons == ["connected", "connected"]


def test_a_server_that_restarts_is_waited_for(mortal: MortalPostgres, monkeypatch: pytest.MonkeyPatch) -> None:
    define(monkeypatch, "mortal", mortal.databases.admin)
    asyncio.run(found_after_a_crash(mortal))


async def heard_while_asking(source: psycopg.Connection) -> None:
    asked = trigger(table="slow", cursor_field="c", fires_at_start=False)
    async with listening(asked) as listener:
        await until(lambda: "slow" in str(source.execute("SELECT array_agg(query) FROM pg_stat_activity").fetchone()))
        await asyncio.sleep(0.2)
        notify(source)
        await listener.has(1)
        await listener.has_no_more_than(1, 1.5)
    assert listener.reasons == ["notified"]


def test_it_listens_before_it_looks(source: psycopg.Connection) -> None:
    source.execute(SLOW)
    asyncio.run(heard_while_asking(source))


# -- nothing was sent -------------------------------------------------------------------------------------


async def found_by_asking(source: psycopg.Connection) -> None:
    async with listening(trigger(table="public.t", cursor_field="c", poll_seconds=0.3)) as listener:
        await listener.has(1)
        await listener.has_no_more_than(1, 1)
        source.execute("INSERT INTO t VALUES (2, 2)")
        await listener.has(2)
        await listener.has_no_more_than(2, 1)
        source.execute("INSERT INTO t VALUES (3, 3)")
        notify(source)
        await listener.has(3)
        await listener.has_no_more_than(3, 1)
    assert listener.reasons == ["connected", "polled", "notified"]


def test_a_change_that_nothing_told_of_is_found_by_asking(source: psycopg.Connection) -> None:
    asyncio.run(found_by_asking(source))


async def woken_by_time() -> None:
    async with listening(trigger(poll_seconds=0.3)) as listener:
        await listener.has(3)
    assert listener.reasons[:3] == ["connected", "polled", "polled"]


def test_without_a_table_to_ask_time_wakes() -> None:
    asyncio.run(woken_by_time())


# -- many notifications -----------------------------------------------------------------------------------


def notify_often(source: psycopg.Connection, times: int) -> None:
    for number in range(times):
        notify(source, str(number))
        time.sleep(0.002)


async def coalesced(source: psycopg.Connection) -> None:
    async with listening(trigger(coalesce_seconds=1.5)) as listener:
        await listener.has(1)
        await asyncio.to_thread(notify_often, source, 200)
        await listener.has(2)
        await listener.has_no_more_than(2, 2)
    assert listener.events[1]["notifications"] == 200


def test_200_notifications_make_one_event(source: psycopg.Connection) -> None:
    asyncio.run(coalesced(source))


async def heard(source: psycopg.Connection, channel: str) -> None:
    async with listening(trigger(channel=channel)) as listener:
        await listener.has(1)
        source.execute(SQL("NOTIFY {}").format(Identifier(channel)))
        notify(source, channel=channel)
        await listener.has(2)
    assert listener.events[1] == {"conn_id": "shop", "channel": channel, "reason": "notified", "notifications": 2}


@pytest.mark.parametrize("channel", NAMES)
def test_a_channel_may_be_called_anything(source: psycopg.Connection, channel: str) -> None:
    asyncio.run(heard(source, channel))
    assert source.execute("SELECT count(*) FROM t").fetchone() == (1,)


@pytest.mark.parametrize("channel", ["", "a\0b", "x" * 64, "€" * 22, None])
def test_a_channel_that_cannot_be_heard_is_refused_before_it_runs(channel: Any) -> None:
    with pytest.raises(ConfigurationError, match="channel"):
        trigger(channel=channel).serialize()


# -- what is told -----------------------------------------------------------------------------------------


async def told(source: psycopg.Connection) -> str:
    async with listening(trigger()) as listener:
        await listener.has(1)
        notify(source, "card of Mary")
        await listener.has(2)
        terminate(source)
        await listener.has(3)
    return str(listener.events)


def test_payload_and_password_are_neither_in_events_nor_in_the_log(
    source: psycopg.Connection, source_db: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        events = asyncio.run(told(source))
    assert "closed the connection" in caplog.text and "Trying again in" in caplog.text
    assert "Mary" not in events + caplog.text
    assert str(psycopg.conninfo.conninfo_to_dict(source_db)["password"]) not in events + caplog.text + repr(trigger())


async def heard_as_bytes(conninfo: str) -> None:
    with psycopg.connect(conninfo, autocommit=True, client_encoding="SQL_ASCII") as plain:
        async with listening(trigger(conn_id="plain")) as listener:
            await listener.has(1)
            plain.execute(b"NOTIFY t_changed, '\xff\xfe'")
            await listener.has(2)
            plain.execute("NOTIFY t_changed")
            await listener.has(3)
    assert listener.reasons == ["connected", "notified", "notified"]


def test_a_payload_that_is_no_text_wakes_as_well(server: Databases, monkeypatch: pytest.MonkeyPatch) -> None:
    name = "plain_bytes"
    with psycopg.connect(server.admin, autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE {name} TEMPLATE template0 ENCODING 'SQL_ASCII' LC_COLLATE 'C' LC_CTYPE 'C'")
    try:
        define(monkeypatch, "plain", server.uri(name))
        asyncio.run(heard_as_bytes(server.uri(name)))
    finally:
        server.drop_database(name)


# -- the connection ---------------------------------------------------------------------------------------


async def survived_silence(source_db: str, monkeypatch: pytest.MonkeyPatch) -> None:
    line = Line(source_db)
    async with line.laid() as conninfo:
        define(monkeypatch, "line", conninfo)
        async with listening(trigger(conn_id="line", table="t", cursor_field="c", poll_seconds=0.3)) as listener:
            await listener.has(1)
            line.is_dead = True
            await listener.has(2)
    assert listener.reasons == ["connected", "connected"]
    assert line.connections == 2


def test_a_line_that_dies_silently_is_noticed(source_db: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waking, "ANSWER_SECONDS", 0.5)
    asyncio.run(survived_silence(source_db, monkeypatch))


async def options_of_the_socket(conninfo: str) -> list[int]:
    async with await PostgresAccess(conninfo).connect_async() as connection:
        with socket.socket(fileno=os.dup(connection.fileno())) as line:
            return [
                line.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE),
                line.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE),
                line.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL),
                line.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT),
                line.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT),
            ]


@pytest.mark.skipif(not hasattr(socket, "TCP_USER_TIMEOUT"), reason="this system has other names for it")
def test_the_system_looks_whether_the_other_end_lives(source_db: str) -> None:
    assert asyncio.run(options_of_the_socket(source_db)) == [1, 30, 10, 3, 60_000]
    chosen = make_conninfo(source_db, keepalives_idle="5")
    assert asyncio.run(options_of_the_socket(chosen))[1] == 5


async def left_alone(source: psycopg.Connection) -> None:
    async with listening(trigger()) as listener:
        await listener.has(1)
        await listener.has_no_more_than(1, 1)
        notify(source)
        await listener.has(2)
    assert listener.reasons == ["connected", "notified"]


def test_a_limit_on_idle_sessions_does_not_end_it(source: psycopg.Connection) -> None:
    source.execute(
        "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET idle_session_timeout = 300', current_database()); END $$"
    )
    asyncio.run(left_alone(source))


async def dropped_between_two_events(source: psycopg.Connection) -> None:
    dropped = trigger()
    events = dropped.run()
    await anext(events)
    assert len(listeners(source)) == 1
    await dropped.cleanup()
    await until(lambda: listeners(source) == [])
    await events.aclose()  # type: ignore[attr-defined]


def test_a_trigger_that_is_dropped_leaves_no_connection(source: psycopg.Connection) -> None:
    asyncio.run(dropped_between_two_events(source))


async def cancelled(source: psycopg.Connection) -> None:
    async with listening(trigger()) as listener:
        await listener.has(1)
    await until(lambda: listeners(source) == [])


def test_a_trigger_that_is_cancelled_leaves_no_connection(source: psycopg.Connection) -> None:
    asyncio.run(cancelled(source))


# -- what does not pass with time -------------------------------------------------------------------------

WRONG: dict[str, Callable[[], PostgresNotifyTrigger]] = {
    "no such connection": lambda: trigger(conn_id="nowhere"),
    "wrong password": lambda: trigger(conn_id="wrong"),
    "no such table": lambda: trigger(table="nothing", cursor_field="c"),
}


@pytest.fixture
def wrong(mortal: MortalPostgres, monkeypatch: pytest.MonkeyPatch) -> None:
    define(monkeypatch, "wrong", mortal.databases.admin, password="se cret")


async def goes_on(wrong_trigger: PostgresNotifyTrigger) -> None:
    async with listening(wrong_trigger) as listener:
        await listener.has_no_more_than(0, 2)


@pytest.mark.usefixtures("wrong")
@pytest.mark.parametrize("make", WRONG.values(), ids=WRONG)
def test_a_watcher_says_what_is_wrong_and_tries_again_later(
    make: Callable[[], PostgresNotifyTrigger], caplog: pytest.LogCaptureFixture
) -> None:
    asyncio.run(goes_on(make()))
    lines = [record.getMessage() for record in caplog.records if "Trying again" in record.getMessage()]
    assert len(lines) == 1 and lines[0].endswith("Trying again in 60.0 s (attempt 1).")
    assert "se cret" not in caplog.text


@pytest.mark.usefixtures("wrong")
@pytest.mark.parametrize("make", WRONG.values(), ids=WRONG)
def test_a_task_that_waits_fails_at_once(make: Callable[[], PostgresNotifyTrigger]) -> None:
    async def first(deferred: PostgresNotifyTrigger) -> Any:
        return await anext(deferred.run())

    deferred = make()
    deferred.task_instance = SimpleNamespace(task_id="wait", task=None)  # type: ignore[assignment]
    with pytest.raises(Exception, match=r"does not exist|authentication failed"):
        asyncio.run(first(deferred))
