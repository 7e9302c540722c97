"""S19, S02: the source's table is rewritten while it is read.

A snapshot that is older than a rewrite (ALTER COLUMN TYPE, TRUNCATE) shows the rewritten table as empty, see
`Caveats <https://www.postgresql.org/docs/current/mvcc-caveats.html>`__. A reader that waited for the rewrite to end
would find nothing, and the watermark would move past rows that nobody has read. A table that was made after the
snapshot and put in the other's place looks empty as well. And what was read of the columns, the key and the
precisions may be older than the snapshot.
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
            table = scalar(connection, "SELECT 't'::regclass::oid")
            for statement in self._statements:
                connection.execute(statement)
            self._holds.set()
            while not scalar(connection, f"SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = {table}"):
                time.sleep(0.01)


@pytest.fixture(params=TABLES)
def filled(request: pytest.FixtureRequest, source: psycopg.Connection) -> None:
    for statement in TABLES[request.param]:
        source.execute(statement)
    source.execute(FILL)


@pytest.fixture
def plain(source: psycopg.Connection) -> None:
    source.execute(TABLES["table"][0])
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


@pytest.mark.usefixtures("plain")
@pytest.mark.parametrize("form", FORMS)
def test_a_truncated_and_filled_table_is_read_as_it_became(
    form: Form, world: World, source: psycopg.Connection, warehouse: psycopg.Connection
) -> None:
    assert world.run(form, reader=Overtaken(world, "TRUNCATE t", FILL.replace("500", "400"))) == Counts(inserted=400)
    assert rows(warehouse) == rows(source)


SWAP = [
    "CREATE TABLE fresh (LIKE t INCLUDING ALL)",
    "INSERT INTO fresh SELECT id, c, n + 1 FROM t",
    "DROP TABLE t",
    "ALTER TABLE fresh RENAME TO t",
]


@pytest.mark.parametrize("stream", STREAMS.values(), ids=STREAMS)
@pytest.mark.usefixtures("plain")
@pytest.mark.parametrize("form", FORMS)
def test_a_table_that_another_takes_the_place_of_is_read_as_it_became(
    form: Form, stream: dict[str, Any], world: World, source: psycopg.Connection, warehouse: psycopg.Connection
) -> None:
    world = world.streaming(**stream)
    assert world.run(form, reader=Overtaken(world, *SWAP)) == Counts(inserted=500)
    assert rows(warehouse, "id, c, n") == rows(source)


@pytest.mark.parametrize("form", FORMS)
def test_a_partition_that_comes_while_the_reader_waits_is_read(
    form: Form, world: World, source: psycopg.Connection, warehouse: psycopg.Connection
) -> None:
    for statement in TABLES["partitions"]:
        source.execute(statement)
    source.execute(FILL)
    more = [
        "LOCK TABLE t",
        "CREATE TABLE more PARTITION OF t FOR VALUES FROM (1000) TO (2000)",
        "INSERT INTO t SELECT i, now() - interval '1 hour', i FROM generate_series(1000, 1099) AS i",
    ]
    assert world.run(form, reader=Overtaken(world, *more)) == Counts(inserted=600)
    assert rows(warehouse) == rows(source)


@pytest.mark.parametrize("reader", [Interrupted, Overtaken])
@pytest.mark.parametrize("stream", STREAMS.values(), ids=STREAMS)
@pytest.mark.parametrize("form", FORMS)
def test_a_precision_that_grew_after_it_was_looked_at_ends_this_try_only(
    form: Form,
    stream: dict[str, Any],
    reader: type[Interrupted | Overtaken],
    world: World,
    source: psycopg.Connection,
    warehouse: psycopg.Connection,
) -> None:
    source.execute("CREATE TABLE t (id integer PRIMARY KEY, c timestamptz NOT NULL, n numeric(10, 2))")
    source.execute(FILL)
    world = world.streaming(**stream)
    widened = "ALTER TABLE t ALTER COLUMN n TYPE numeric(12, 4)", "UPDATE t SET n = n + 0.1234"
    with pytest.raises(SourceError, match="changed while") as caught:
        world.run(form, reader=reader(world, *widened))
    assert caught.value.is_retryable
    assert world.run(form) == Counts(inserted=500)
    assert rows(warehouse, "id, c, n") == rows(source)


@pytest.mark.usefixtures("plain")
@pytest.mark.parametrize("form", FORMS)
def test_a_cursor_that_may_be_null_since_it_was_looked_at_ends_this_try_only(
    form: Form, world: World, source: psycopg.Connection, warehouse: psycopg.Connection
) -> None:
    world.run(form)
    loosened = "ALTER TABLE t ALTER COLUMN c DROP NOT NULL", "INSERT INTO t VALUES (501, NULL, 501)"
    with pytest.raises(SourceError, match="changed while"):
        world.run(form, reader=Interrupted(world, *loosened))
    assert world.run(form).inserted == 1
    assert rows(warehouse) == rows(source)


@pytest.mark.usefixtures("plain")
@pytest.mark.parametrize("form", FORMS)
def test_a_key_that_was_dropped_after_it_was_looked_at_ends_this_try_only(
    form: Form, world: World, source: psycopg.Connection, warehouse: psycopg.Connection
) -> None:
    world = world.streaming(primary_key=("id",))
    again = "INSERT INTO t SELECT id, now(), n + 1 FROM t WHERE id = 7"
    with pytest.raises(SourceError, match="changed while"):
        world.run(form, reader=Interrupted(world, "ALTER TABLE t DROP CONSTRAINT t_pkey", again))
    world.run(form)
    assert scalar(warehouse, "SELECT n FROM t WHERE id = 7") == 8


@pytest.mark.usefixtures("plain")
@pytest.mark.parametrize("form", FORMS)
def test_columns_that_are_added_after_the_others_were_looked_at_wait_for_the_next_run(
    form: Form, world: World, source: psycopg.Connection, warehouse: psycopg.Connection
) -> None:
    added = "ALTER TABLE t ADD COLUMN w integer DEFAULT 5"
    assert world.run(form, reader=Interrupted(world, added)) == Counts(inserted=500)
    assert rows(warehouse) == rows(source, "id, c, n")


@pytest.mark.parametrize("change", ["DROP COLUMN n", "RENAME COLUMN n TO m", "ALTER COLUMN n TYPE text"])
@pytest.mark.usefixtures("plain")
@pytest.mark.parametrize("form", FORMS)
def test_columns_that_changed_after_they_were_looked_at_end_this_try_only(
    form: Form, change: str, world: World, source: psycopg.Connection, warehouse: psycopg.Connection
) -> None:
    with pytest.raises(SourceError, match="changed while") as caught:
        world.run(form, reader=Interrupted(world, f"ALTER TABLE t {change}"))
    assert caught.value.is_retryable
    assert world.run(form) == Counts(inserted=500)
    assert rows(warehouse) == rows(source)
