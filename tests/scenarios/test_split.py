"""A stream in ranges that several workers read at the same time: nothing falls between them and the sync."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import pairwise

import psycopg
import pytest

from airflow_etl_sync.core.model import Counts, LoadRules, RunIdentity, Stream, TableName, WindowRules
from airflow_etl_sync.errors import ConfigurationError, SourceError
from airflow_etl_sync.journey import splitting
from airflow_etl_sync.journey.splitting import Split, split
from airflow_etl_sync.journey.sync import sync
from airflow_etl_sync.systems.postgres.access import PostgresAccess
from airflow_etl_sync.systems.postgres.destination import PostgresDestination
from airflow_etl_sync.systems.postgres.source import PostgresSource

ROWS = 1_000
STREAM = Stream(sync_key="t", cursor_field="at", table=TableName("t"))


@pytest.fixture
def table(source: psycopg.Connection) -> psycopg.Connection:
    source.execute("CREATE TABLE t (id integer PRIMARY KEY, at timestamptz, n bigint)")
    source.execute(
        "INSERT INTO t SELECT n, now() - make_interval(hours => n), n / 3 FROM generate_series(1, %s) AS n", (ROWS,)
    )
    return source


class Syncing:
    """Splits and syncs a stream between two databases."""

    def __init__(self, source_db: str, warehouse_db: str) -> None:
        self.source, self.warehouse = PostgresAccess(source_db), PostgresAccess(warehouse_db)

    def split(self, stream: Stream = STREAM, parts: int = 4, rules: WindowRules | None = None) -> Split:
        source = PostgresSource(self.source, stream)
        return split(source, self.warehouse.engine(), stream=stream, rules=rules or WindowRules(), parts=parts)

    def sync(self, run_id: str, **rules: str | None) -> Counts:
        return sync(
            PostgresSource(self.source, STREAM),
            PostgresDestination(self.warehouse, TableName("t")),
            stream=STREAM,
            window_rules=WindowRules(**rules),  # type: ignore[arg-type]
            load_rules=LoadRules(conflict="latest_wins"),
            identity=RunIdentity("dag", "task", run_id),
            chunk_rows=100,
        ).counts


@pytest.fixture
def syncing(source_db: str, warehouse_db: str) -> Syncing:
    return Syncing(source_db, warehouse_db)


@pytest.mark.parametrize("cursor", ["at", "id", "n"])
def test_ranges_are_of_about_one_size_and_touch(table: psycopg.Connection, syncing: Syncing, cursor: str) -> None:
    found = syncing.split(replace(STREAM, cursor_field=cursor))
    assert len(found.ranges) == 4
    assert "range_start" not in found.ranges[0]
    assert found.ranges[-1]["range_end"] == found.following
    assert all(earlier["range_end"] == later["range_start"] for earlier, later in pairwise(found.ranges))
    value = f"CAST(%s AS {'timestamptz' if cursor == 'at' else 'bigint'})"
    query = f"SELECT count(*) FROM t WHERE {cursor} < {value} AND {cursor} >= coalesce({value}, {cursor})"
    for each in found.ranges[:-1]:
        (rows,) = table.execute(query, (each["range_end"], each.get("range_start"))).fetchone() or (0,)
        assert 230 <= rows <= 270


def test_ranges_loaded_at_the_same_time_and_the_sync_behind_them_are_the_table(
    table: psycopg.Connection, warehouse: psycopg.Connection, syncing: Syncing
) -> None:
    table.execute("INSERT INTO t VALUES (-1, NULL, 0), (-2, '2999-01-01', 0)")  # in no range
    found = syncing.split()
    table.execute("UPDATE t SET at = now(), n = -7 WHERE id % 100 = 0")  # while ranges are being read
    with ThreadPoolExecutor(4) as pool:
        counts = list(pool.map(lambda each: syncing.sync(str(each), **each), found.ranges))
    assert warehouse.execute("SELECT count(*) FROM etl_sync.watermark").fetchone() == (0,)
    last = syncing.sync("sync", initial_value=found.following)
    assert sum(each.inserted for each in counts) + last.inserted == ROWS + 2
    assert last.processed <= ROWS // 100 + 2
    query = "SELECT id, at, n FROM t ORDER BY id"
    assert warehouse.execute(query).fetchall() == table.execute(query).fetchall()


@pytest.mark.scenario("S01")
def test_a_row_that_commits_late_is_read_by_the_sync(
    table: psycopg.Connection, warehouse: psycopg.Connection, source_db: str, syncing: Syncing
) -> None:
    with psycopg.connect(source_db) as late:
        late.execute("INSERT INTO t VALUES (0, now(), 0)")
        found = syncing.split()
        for number, each in enumerate(found.ranges):
            syncing.sync(str(number), **each)
        late.commit()
    syncing.sync("sync", initial_value=found.following)
    assert warehouse.execute("SELECT count(*) FROM t").fetchone() == (ROWS + 1,)


@pytest.mark.scenario("S21")
def test_numbers_that_are_drawn_but_not_seen_are_waited_for(
    table: psycopg.Connection, source_db: str, syncing: Syncing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(splitting, "PATIENCE_SECONDS", 0.5)
    with psycopg.connect(source_db) as late:
        late.execute("INSERT INTO t VALUES (5000, now(), 0)")
        with pytest.raises(SourceError, match="It is not known yet how far 't' can be read") as raised:
            syncing.split(replace(STREAM, cursor_field="id"))
        assert raised.value.is_retryable


def test_a_sync_that_has_a_watermark_is_not_split(table: psycopg.Connection, syncing: Syncing) -> None:
    syncing.sync("first")
    assert syncing.split() == Split((), None)


def test_an_empty_table_is_not_split(source: psycopg.Connection, syncing: Syncing) -> None:
    source.execute("CREATE TABLE t (id integer PRIMARY KEY, at timestamptz)")
    assert syncing.split(replace(STREAM, cursor_field="id")) == Split((), None)


def test_values_that_repeat_give_fewer_ranges(source: psycopg.Connection, syncing: Syncing) -> None:
    source.execute("CREATE TABLE t (id integer PRIMARY KEY, at timestamptz)")
    source.execute("INSERT INTO t SELECT n, '2026-01-01' FROM generate_series(1, 100) AS n")
    found = syncing.split()
    assert len(found.ranges) == 2
    assert [each["range_end"] for each in found.ranges] == ["2026-01-01 00:00:00+00", found.following]


def test_a_large_table_is_sampled(table: psycopg.Connection, syncing: Syncing) -> None:
    table.execute("INSERT INTO t SELECT n, now() - make_interval(secs => n) FROM generate_series(1001, 300000) AS n")
    table.execute("ANALYZE t")
    found = syncing.split(replace(STREAM, cursor_field="id"), parts=3)
    first, second = (int(each["range_end"]) for each in found.ranges[:2])
    assert 60_000 < first < 140_000 < second < 260_000
    assert (first, second) != (100_000, 200_000)  # a sample hardly ever hits them exactly


def test_a_query_and_a_start(table: psycopg.Connection, syncing: Syncing) -> None:
    stream = replace(STREAM, table=None, sql="SELECT * FROM t WHERE id % 2 = 0", cursor_field="id", primary_key=("id",))
    found = syncing.split(stream, parts=2, rules=WindowRules(initial_value="501"))
    assert found == Split(
        ({"range_start": "501", "range_end": "750"}, {"range_start": "750", "range_end": "1000"}), "1000"
    )


def test_xmin_cannot_be_split(table: psycopg.Connection, syncing: Syncing) -> None:
    with pytest.raises(ConfigurationError, match="cannot be split"):
        syncing.split(replace(STREAM, cursor_field="xmin"))
