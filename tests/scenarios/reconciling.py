"""What the reconcile scenarios stand on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import psycopg

from airflow_etl_sync.core.keys import KeyStream, ReconcileRules
from airflow_etl_sync.core.model import ConflictStrategy, Counts, TableName
from airflow_etl_sync.systems.postgres.access import PostgresAccess
from airflow_etl_sync.systems.postgres.keys import PostgresKeySource
from tests.scenarios.world import World, scalar

HARD, SOFT = ReconcileRules(), ReconcileRules(delete="soft")
EVERYTHING = ReconcileRules(max_delete_percent=100)
STRATEGIES: tuple[ConflictStrategy, ...] = ("source_wins", "dest_wins", "latest_wins", "merge_non_null")


def sync_hundred(world: World, source: psycopg.Connection) -> World:
    """A table of 100 rows, in step."""
    source.execute("CREATE TABLE t (id bigint PRIMARY KEY, c timestamptz, v text)")
    source.execute("INSERT INTO t SELECT i, now() - interval '1 hour', 'old' FROM generate_series(1, 100) AS i")
    assert world.run() == Counts(inserted=100)
    return world


class Asked(PostgresKeySource):
    """A source beside which something happens between the reading of the keys and the question."""

    def __init__(self, world: World, meanwhile: Callable[[], Any], keys: KeyStream | None = None) -> None:
        super().__init__(PostgresAccess(world.source_db), keys or KeyStream(sync_key="t", table=TableName("t")))
        self._meanwhile = meanwhile

    def read_keys(self) -> Any:
        yield from super().read_keys()
        self._meanwhile()


def staged(warehouse: psycopg.Connection) -> int:
    query = "SELECT count(*) FROM pg_class WHERE relname LIKE 'stage%' AND relnamespace = 'etl_sync'::regnamespace"
    return int(scalar(warehouse, query))


def runs(warehouse: psycopg.Connection) -> list[tuple[Any, ...]]:
    query = """
        SELECT status, rows_extracted, inserted, updated, skipped, errors, deleted
        FROM etl_sync.sync_run
        WHERE kind = 'reconcile'
        ORDER BY started_at
    """
    return warehouse.execute(query).fetchall()


def flagged(warehouse: psycopg.Connection) -> list[int]:
    return [row[0] for row in warehouse.execute("SELECT id FROM t WHERE _sync_deleted ORDER BY id")]
