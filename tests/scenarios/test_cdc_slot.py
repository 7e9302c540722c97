"""The source's replication slot: what stands in its way, and that it never holds the log back for nothing."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing

import psycopg
import pytest

from airflow_etl_sync.cdc.slot import ReplicationSlot
from airflow_etl_sync.core.model import TableName
from airflow_etl_sync.systems.postgres.access import PostgresAccess

T = TableName("t")


@pytest.fixture
def t(source: psycopg.Connection) -> psycopg.Connection:
    """The source with a table ``t``."""
    source.execute("CREATE TABLE t (id integer PRIMARY KEY, v text)")
    return source


@pytest.fixture
def slot(t: psycopg.Connection, source_db: str, slots: Callable[[str], str]) -> ReplicationSlot:
    """A slot that is not there yet."""
    name = slots(source_db)
    return ReplicationSlot(PostgresAccess(source_db), name, f"of {name}")


def messages(slot: ReplicationSlot, changes: int = 1_000_000) -> list[bytes]:
    with closing(slot.peek(slot.flushed(), changes)) as peeked:
        return [data for _, data in peeked]


def codes(slot: ReplicationSlot, *tables: TableName) -> list[str]:
    return [finding.code for finding in slot.preflight(tables or (T,))]


def test_set_up_then_peek_then_advance(t: psycopg.Connection, slot: ReplicationSlot) -> None:
    started = slot.set_up([T])
    t.execute("INSERT INTO t VALUES (1, 'a')")
    assert [data[:1] for data in messages(slot)] == [b"B", b"R", b"I", b"C"]
    assert messages(slot), "a peek leaves the changes in the slot"
    assert slot.confirmed() == started
    flushed = slot.flushed()
    slot.advance(flushed)
    assert slot.confirmed() == flushed
    assert messages(slot) == []
    assert slot.preflight([T]) == []
