"""What tests of change data capture ask a slot."""

from __future__ import annotations

from contextlib import closing

from airflow_etl_sync.cdc.postgres.slot import ReplicationSlot
from airflow_etl_sync.core.model import TableName

T = TableName("t")
MANY = 1_000_000


def messages(slot: ReplicationSlot, changes: int = MANY) -> list[bytes]:
    with closing(slot.peek(slot.flushed(), changes)) as peeked:
        return list(peeked)


def kinds(slot: ReplicationSlot, changes: int = MANY) -> str:
    return b"".join(data[:1] for data in messages(slot, changes)).decode()


def codes(slot: ReplicationSlot, *tables: TableName) -> list[str]:
    return [finding.code for finding in slot.preflight(tables or (T,))]
