"""From an API into PostgreSQL: what comes twice, what does not fit, and runs that are cut off."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import psycopg
import pytest

from airflow_etl_sync.core.endpoint import Endpoint
from airflow_etl_sync.core.model import Counts, LoadRules, RunIdentity, Stream, TableName, Window, WindowRules
from airflow_etl_sync.core.staging import Staging
from airflow_etl_sync.errors import DataError, SourceError
from airflow_etl_sync.journey.advance import advance
from airflow_etl_sync.journey.extract import extract
from airflow_etl_sync.journey.load import load
from airflow_etl_sync.journey.sync import SyncReport, sync
from airflow_etl_sync.systems.http.source import HttpSource
from airflow_etl_sync.systems.postgres.access import PostgresAccess
from airflow_etl_sync.systems.postgres.destination import PostgresDestination
from tests.http_api import Api, Asked, Reply, new_api, paged

_runs = count()


@pytest.fixture
def api() -> Iterator[Api]:
    with new_api(lambda _: Reply([])) as api:
        yield api


def stream(**endpoint: Any) -> Stream:
    given = {"path": "/t", "records": "data", "pages": {"type": "offset", "limit": 10}, **endpoint}
    return Stream(sync_key="s", cursor_field="c", primary_key=("id",), endpoint=Endpoint.parse(given))


def run(api: Api, warehouse_db: str, read: Stream | None = None, run_id: str = "", **rules: Any) -> SyncReport:
    read = read or stream()
    return sync(
        HttpSource(api.access(patience_seconds=0.1), read),
        PostgresDestination(PostgresAccess(warehouse_db), TableName("t")),
        stream=read, window_rules=WindowRules(lag=1), load_rules=LoadRules(**rules),
        identity=RunIdentity("dag", "task", run_id or f"run-{next(_runs)}"), chunk_rows=15,
    )  # fmt: skip


def rows(warehouse: psycopg.Connection, what: str = "*") -> list[tuple[Any, ...]]:
    return warehouse.execute(f"SELECT {what} FROM t ORDER BY id").fetchall()


def test_of_a_record_that_comes_more_than_once_the_latest_is_taken(
    api: Api, warehouse_db: str, warehouse: psycopg.Connection
) -> None:
    """On one page in any order; on later pages where the later one is the newer one, as it is while lists move."""
    versions = [(1, 9), (1, 5), *((n, n) for n in range(2, 30)), (3, 40), (2, 41)]
    api.respond = lambda asked: paged([{"id": n, "c": c, "v": f"v{c}"} for n, c in versions], asked)
    assert run(api, warehouse_db).counts.errors == 0
    assert rows(warehouse)[:4] == [(1, 9, "v9"), (2, 41, "v41"), (3, 40, "v40"), (4, 4, "v4")]


def test_where_the_newest_version_comes_first_latest_wins_keeps_it(
    api: Api, warehouse_db: str, warehouse: psycopg.Connection
) -> None:
    versions = [(1, 100), *((n, 100 - n) for n in range(2, 40)), (1, 50)]
    api.respond = lambda asked: paged([{"id": n, "c": c} for n, c in versions], asked)
    run(api, warehouse_db, conflict="latest_wins")
    assert rows(warehouse)[0] == (1, 100)


def test_a_value_that_does_not_fit_fails_the_run_or_is_set_aside(
    api: Api, warehouse_db: str, warehouse: psycopg.Connection
) -> None:
    records = [{"id": n, "c": n, "v": n} for n in range(30)]
    records[25]["v"] = "n/a"  # type: ignore[assignment]
    api.respond = lambda asked: paged(records, asked)
    with pytest.raises(DataError) as failed:
        run(api, warehouse_db)
    assert "n/a" not in str(failed.value)
    report = run(api, warehouse_db, max_errors=1)
    assert report.counts.errors == 1 and len(rows(warehouse)) == 29
    assert warehouse.execute("SELECT count(*) FROM etl_sync.failed_record").fetchone() == (1,)


def test_fractions_widen_a_column_of_whole_numbers(api: Api, warehouse_db: str, warehouse: psycopg.Connection) -> None:
    api.respond = lambda asked: Reply(
        b'{"data": []}' if asked.query.get("offset") == "1" else b'{"data": [{"id": 1, "c": 1, "v": 2}]}'
    )
    run(api, warehouse_db)
    api.respond = lambda asked: Reply(
        b'{"data": []}' if asked.query.get("offset") == "1" else b'{"data": [{"id": 1, "c": 2, "v": 2.50}]}'
    )
    run(api, warehouse_db)
    assert rows(warehouse, "v::text") == [("2.50",)]


def test_a_run_that_was_cut_off_goes_on_with_the_page_that_was_not_whole(
    api: Api, warehouse_db: str, warehouse: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("airflow_etl_sync.systems.http.source._BATCH_RECORDS", 10)
    records = [{"id": n, "c": n} for n in range(100)]

    def breaking(asked: Asked) -> Reply:
        return Reply({}, 503) if int(asked.query.get("offset", 0)) > 60 else paged(records, asked)

    api.respond = breaking
    with pytest.raises(SourceError):
        run(api, warehouse_db, run_id="a")
    loaded = len(rows(warehouse))
    assert 30 <= loaded < 70
    api.asked.clear()
    api.respond = lambda asked: paged(records, asked)
    report = run(api, warehouse_db, run_id="a")
    offsets = [int(asked.query["offset"]) for asked in api.asked if "offset" in asked.query]
    assert min(offsets) >= loaded - 30
    assert len(rows(warehouse)) == 100 and report.counts.inserted == 100
    assert report.watermark is not None and report.watermark.text == "98"


def test_the_three_steps_move_the_watermark_to_what_was_read(
    api: Api, warehouse_db: str, warehouse: psycopg.Connection, tmp_path: Path
) -> None:
    api.respond = lambda asked: paged([{"id": n, "c": n} for n in range(40)], asked)
    access, read = PostgresAccess(warehouse_db), stream()
    staging = Staging(tmp_path)
    extraction = extract(
        HttpSource(api.access(), read), access.engine(), staging, stream=read, rules=WindowRules(lag=5),
        identity=RunIdentity("dag", "extract", "r"), chunk_rows=15,
    )  # fmt: skip
    assert extraction.ordered and extraction.window.high is not None and extraction.window.high.text == "34"
    counts = load(PostgresDestination(access, TableName("t")), staging, extraction, LoadRules())
    assert counts == Counts(inserted=40)
    watermark = advance(access.engine(), staging, extraction).watermark
    assert watermark is not None and watermark.text == "34"


def test_memory_does_not_grow_with_the_list(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three times as many pages of half a megabyte, made as they are asked for, and no more memory."""
    monkeypatch.setattr("airflow_etl_sync.systems.http.source._BATCHES_REMEMBERED", 2)

    def peak(pages: int) -> int:
        def respond(asked: Asked) -> Reply:
            first = int(asked.query.get("cursor", 0))
            last = first + 100 if first < pages * 100 else first
            return Reply(
                {"data": [{"id": n, "c": n, "v": "x" * 5_000} for n in range(first, last)], "next_cursor": last}
            )

        api.respond = respond
        source = HttpSource(api.access(), stream(pages="cursor"))
        source.describe()
        tracemalloc.start()
        try:
            assert sum(batch.num_rows for batch in source.read(Window(), None)) == pages * 100
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    peak(1)  # which imports what is needed
    assert peak(40) < peak(15) + 2_000_000
