"""C14: what a replication slot has not read yet wakes, once for each reading."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Iterator

import psycopg
import pytest

from airflow_etl_sync import ConfigurationError, ReplicationSlotTrigger
from airflow_etl_sync.cdc.postgres import waking, watches
from airflow_etl_sync.cdc.postgres.watches import RENEW_SECONDS, SlotStanding, SlotWatch
from tests.scenarios.listening import define, listening, terminate

pytestmark = pytest.mark.scenario("C14")

FLUSHED = "SELECT pg_replication_slot_advance(%s, pg_current_wal_flush_lsn())"


@pytest.fixture
def slot(source_db: str, source: psycopg.Connection, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A slot, a table ``t``, and the connection ``shop``."""
    define(monkeypatch, "shop", source_db)
    monkeypatch.setattr(waking, "FIRST_WAIT_SECONDS", 0.2)
    source.execute("CREATE TABLE t (id int)")
    name = f"test_{secrets.token_hex(6)}"
    source.execute("SELECT pg_create_logical_replication_slot(%s, 'pgoutput')", [name])
    yield name
    source.execute("SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = %s", [name])


def trigger(slot: str) -> ReplicationSlotTrigger:
    return ReplicationSlotTrigger(conn_id="shop", slot=slot, poll_seconds=0.2)


async def one_for_each_reading(source: psycopg.Connection, slot: str) -> None:
    source.execute(FLUSHED, [slot])
    async with listening(trigger(slot)) as listener:
        source.execute("INSERT INTO t VALUES (1)")
        await listener.has(1)
        source.execute("INSERT INTO t VALUES (2)")
        await listener.has_no_more_than(1, 1)  # the first has not been read yet
        source.execute(FLUSHED, [slot])
        source.execute("INSERT INTO t VALUES (3)")
        await listener.has(2)
    assert listener.events[0] == {"conn_id": "shop", "slot": slot, "reason": "polled", "notifications": 0}


def test_changes_wake_once_for_each_reading(source: psycopg.Connection, slot: str) -> None:
    asyncio.run(one_for_each_reading(source, slot))


async def found(source: psycopg.Connection, slot: str) -> None:
    source.execute("INSERT INTO t VALUES (1)")
    async with listening(trigger(slot)) as listener:
        await listener.has(1)
        source.execute(FLUSHED, [slot])
        await asyncio.sleep(0.5)
        terminate(source)
        source.execute("INSERT INTO t VALUES (2)")
        await listener.has(2)


def test_changes_are_found_that_came_while_nobody_looked(source: psycopg.Connection, slot: str) -> None:
    asyncio.run(found(source, slot))


async def unusable(source: psycopg.Connection, slot: str) -> None:
    source.execute("SELECT pg_drop_replication_slot(%s)", [slot])
    async with listening(trigger(slot)) as listener:
        await listener.has(1)
        await listener.has_no_more_than(1, 1)
    assert listener.reasons == ["unusable"]


def test_a_missing_slot_wakes_so_that_a_run_says_so(source: psycopg.Connection, slot: str) -> None:
    asyncio.run(unusable(source, slot))


async def followed_by_nobody(source: psycopg.Connection, slot: str) -> None:
    source.execute("INSERT INTO t VALUES (1)")
    async with listening(trigger(slot)) as listener:
        await listener.has(2)


def test_an_event_that_nobody_followed_is_repeated(
    source: psycopg.Connection, slot: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watches, "RENEW_SECONDS", 0.5)
    asyncio.run(followed_by_nobody(source, slot))


LATER = RENEW_SECONDS + 1


@pytest.mark.parametrize(
    ("standings", "reasons"),
    [
        ([(0, 100, 100, False)], [None]),
        ([(0, 100, 90, False)], ["polled"]),
        ([(0, 100, 90, False), (1, 110, 90, False), (2, 110, 99, False)], ["polled", None, None]),
        ([(0, 100, 90, False), (1, 110, 100, False), (2, 110, 110, False)], ["polled", "polled", None]),
        ([(0, 100, 90, False), (LATER, 100, 90, False)], ["polled", "polled"]),
        ([(0, 100, None, False), (1, 100, None, False), (LATER, 100, None, False)], ["unusable", None, "unusable"]),
        ([(0, 100, 100, True)], ["unusable"]),
    ],
)
def test_when_a_standing_wakes(standings: list[tuple[float, int, int | None, bool]], reasons: list[str | None]) -> None:
    watch = SlotWatch("s", 1)
    wakes = [watch.wake(SlotStanding(flushed, confirmed, lost), now) for now, flushed, confirmed, lost in standings]
    assert [wake and wake.reason for wake in wakes] == reasons


@pytest.mark.parametrize("changes", [{"slot": ""}, {"poll_seconds": 0}, {"poll_seconds": "soon"}])
def test_a_wrong_argument_is_refused_before_it_runs(changes: dict[str, str]) -> None:
    given = {"conn_id": "shop", "slot": "s", **changes}
    with pytest.raises(ConfigurationError):
        ReplicationSlotTrigger(**given).serialize()  # type: ignore[arg-type]
