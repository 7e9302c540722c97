"""S19, S02: the source's table is rewritten while it is read.

A snapshot that is older than a rewrite (ALTER COLUMN TYPE, TRUNCATE) shows the rewritten table as empty, see
`Caveats <https://www.postgresql.org/docs/current/mvcc-caveats.html>`__. A reader that waited for the rewrite to end
would find nothing, and the watermark would move past rows that nobody has read.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Generator
from typing import Any

import psycopg
import pytest

from airflow_etl_sync.core.model import Counts
from airflow_etl_sync.errors import SourceError
from airflow_etl_sync.systems.postgres.access import PostgresAccess
from airflow_etl_sync.systems.postgres.source import PostgresSource
from tests.scenarios.world import FORMS, Form, Interrupted, World, rows, scalar, watermark

pytestmark = [pytest.mark.scenario("S19"), pytest.mark.scenario("S02")]

REWRITE = "ALTER TABLE t ALTER COLUMN n TYPE bigint"
FILL = "INSERT INTO t SELECT i, now() - interval '1 hour', i FROM generate_series(1, 500) AS i"
TABLES = {
    "table": ["CREATE TABLE t (id integer PRIMARY KEY, c timestamptz NOT NULL, n integer)"],
    "partitions": [
        "CREATE TABLE t (id integer PRIMARY KEY, c timestamptz NOT NULL, n integer) PARTITION BY RANGE (id)",
        "CREATE TABLE low PARTITION OF t FOR VALUES FROM (0) TO (250)",
        "CREATE TABLE high PARTITION OF t FOR VALUES FROM (250) TO (1000)",
    ],
}
STREAMS: dict[str, dict[str, Any]] = {
    "its table": {},
    "a query": {
        "table": None,
        "sql": "SELECT t.id, t.c, t.n, count(*) OVER () AS every FROM t JOIN t AS again USING (id)",
        "primary_key": ("id",),
    },
}


class Overtaken(PostgresSource):
    """A source whose table is locked and changed for a moment, from before the reading until during it."""

    def __init__(self, world: World, *statements: str) -> None:
        super().__init__(PostgresAccess(world.source_db), world.stream)
        self._conninfo, self._statements = world.source_db, statements
        self._holds = threading.Event()

    def read(self, window: Any, after: Any) -> Generator[Any]:
        changing = threading.Thread(target=self._change)
        changing.start()
        self._holds.wait(10)
        try:
            yield from super().read(window, after)
        finally:
            changing.join()

    def _change(self) -> None:
        with psycopg.connect(self._conninfo) as connection:
            for statement in self._statements:
                connection.execute(statement)
            self._holds.set()
            while not self._somebody_waits(connection):
                time.sleep(0.01)

    def _somebody_waits(self, connection: psycopg.Connection) -> bool:
        waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 't'::regclass"
        return bool(scalar(connection, waiting))


@pytest.fixture(params=TABLES)
def filled(request: pytest.FixtureRequest, source: psycopg.Connection) -> None:
    for statement in TABLES[request.param]:
        source.execute(statement)
    source.execute(FILL)


@pytest.mark.usefixtures("filled")
@pytest.mark.parametrize("stream", STREAMS.values(), ids=STREAMS)
@pytest.mark.parametrize("form", FORMS)
def test_a_table_that_was_rewritten_meanwhile_is_read_whole(
    form: Form, stream: dict[str, Any], world: World, source: psycopg.Connection, warehouse: psycopg.Connection
) -> None:
    world = world.streaming(**stream)
    with pytest.raises(SourceError, match="changed while") as caught:
        world.run(form, reader=Overtaken(world, REWRITE))
    assert caught.value.is_retryable
    assert watermark(warehouse) is None
    assert world.run(form) == Counts(inserted=500)
    assert rows(warehouse, "id, c, n") == rows(source)


@pytest.mark.usefixtures("filled")
@pytest.mark.parametrize("form", FORMS)
def test_a_table_that_was_rewritten_to_the_same_types_is_read_at_once(
    form: Form, world: World, source: psycopg.Connection, warehouse: psycopg.Connection
) -> None:
    world.run(form)
    source.execute("UPDATE t SET n = 0, c = now()")
    changing = [
        "ALTER TABLE t ALTER COLUMN n TYPE integer USING n + 1",
        "ALTER TABLE t ADD COLUMN w uuid DEFAULT gen_random_uuid()",
    ]
    assert world.run(form, reader=Overtaken(world, *changing)).updated == 500
    assert rows(warehouse) == rows(source, "id, c, n")


@pytest.mark.parametrize("form", FORMS)
def test_a_truncated_and_filled_table_is_read_as_it_became(
    form: Form, world: World, source: psycopg.Connection, warehouse: psycopg.Connection
) -> None:
    source.execute(TABLES["table"][0])
    source.execute(FILL)
    assert world.run(form, reader=Overtaken(world, "TRUNCATE t", FILL.replace("500", "400"))) == Counts(inserted=400)
    assert rows(warehouse) == rows(source)


@pytest.mark.parametrize("change", ["DROP COLUMN n", "RENAME COLUMN n TO m", "ALTER COLUMN n TYPE text"])
@pytest.mark.parametrize("form", FORMS)
def test_columns_that_changed_after_they_were_looked_at_end_this_try_only(
    form: Form, change: str, world: World, source: psycopg.Connection, warehouse: psycopg.Connection
) -> None:
    source.execute(TABLES["table"][0])
    source.execute(FILL)
    with pytest.raises(SourceError, match="changed while") as caught:
        world.run(form, reader=Interrupted(world, f"ALTER TABLE t {change}"))
    assert caught.value.is_retryable
    assert world.run(form) == Counts(inserted=500)
    assert rows(warehouse) == rows(source)
