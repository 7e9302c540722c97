"""S13, S14: two runs at once, and a backfill beside a live sync."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import suppress
from typing import Any

import psycopg
import pytest

from airflow_etl_sync.core.model import Counts, CursorValue, Extraction, LoadRules, RunIdentity, Window, WindowRules
from airflow_etl_sync.errors import StateError
from airflow_etl_sync.state import runs, tables
from airflow_etl_sync.systems.postgres.access import PostgresAccess
from airflow_etl_sync.systems.postgres.source import PostgresSource
from tests.scenarios.world import FORMS, Form, World, rows, scalar, watermark


@pytest.fixture(autouse=True)
def table(source: psycopg.Connection) -> None:
    source.execute("CREATE TABLE t (id bigint PRIMARY KEY, c timestamptz NOT NULL DEFAULT now(), v text)")
    source.execute("INSERT INTO t SELECT i, now() - interval '1 hour', 'old' FROM generate_series(1, 2500) AS i")


def change(source: psycopg.Connection) -> None:
    """Change every row, and let the margin pass."""
    source.execute("UPDATE t SET v = 'new', c = now()")
    source.execute("SELECT pg_sleep(0.1)")


@pytest.mark.scenario("S13")
def test_the_older_of_two_runs_may_not_load_over_the_newer(
    world: World, source: psycopg.Connection, warehouse: psycopg.Connection
) -> None:
    older = world.extract()
    change(source)
    world.run("chain")
    stored = watermark(warehouse)
    with pytest.raises(StateError, match="newer run"):
        world.load(older)
    with pytest.raises(StateError, match="newer run"):
        world.advance(older)
    assert rows(warehouse) == rows(source)
    assert watermark(warehouse) == stored
    assert world.run("chain").updated == 0


@pytest.mark.scenario("S13")
def test_a_run_that_is_overtaken_half_way_stops_there(
    world: World, source: psycopg.Connection, warehouse: psycopg.Connection
) -> None:
    older = world.extract()
    first, *others = older.parts(3)
    world.load(first)
    change(source)
    newer = world.extract()
    for part in others:
        with pytest.raises(StateError, match="newer run"):
            world.load(part)
    world.load(newer)
    world.advance(newer)
    assert rows(warehouse) == rows(source)


@pytest.mark.scenario("S13")
def test_of_two_runs_that_are_loaded_only_one_advances(
    world: World, source: psycopg.Connection, warehouse: psycopg.Connection
) -> None:
    older = world.extract()
    world.load(older)
    change(source)
    newer = world.extract()
    world.load(newer)
    with pytest.raises(StateError, match="newer run"):
        world.advance(older)
    assert watermark(warehouse) is None
    world.advance(newer)
    stored = watermark(warehouse)
    assert world.advance(newer).watermark == newer.window.high, "once more changes nothing"
    assert watermark(warehouse) == stored
    assert rows(warehouse) == rows(source)


@pytest.mark.scenario("S13")
def test_a_watermark_that_was_moved_meanwhile_is_left_alone(world: World, warehouse: psycopg.Connection) -> None:
    world.run()
    extraction = world.extract()
    world.load(extraction)
    moved = "UPDATE etl_sync.watermark SET cursor_value = '2000-01-01 00:00:00+00', version = version + 1"
    warehouse.execute(moved)
    with pytest.raises(StateError, match="moved"):
        world.advance(extraction)
    assert watermark(warehouse) == ("timestamptz", "2000-01-01 00:00:00+00")


@pytest.mark.scenario("S13")
def test_of_two_runs_that_begin_in_one_instant_one_is_the_newer(world: World, warehouse: psycopg.Connection) -> None:
    engine = world.destination.engine
    tables.ensure(engine)
    asked: dict[str, Any] = {
        "sync_key": "t",
        "kind": "incremental",
        "fingerprint": "",
        "watermark_version": 0,
        "window": Window(),
        "fences": [],
        "staging_uri": "",
        "host": "",
        "columns": {},
    }

    def start(run: str) -> None:
        with engine.begin() as connection:
            runs.start(connection, RunIdentity("dag", "task", run), **asked)

    with engine.begin() as first:
        runs.start(first, RunIdentity("dag", "task", "first"), **asked)
        second = threading.Thread(target=start, args=["second"])
        second.start()
        second.join(0.3)
    second.join()
    found = warehouse.execute("SELECT run_id, is_overtaken FROM etl_sync.sync_run ORDER BY run_id").fetchall()
    assert found == [("first", True), ("second", False)]


@pytest.mark.scenario("S13")
def test_syncs_at_once_end_in_the_newest_state_and_never_move_the_watermark_back(
    world: World, source: psycopg.Connection, warehouse: psycopg.Connection
) -> None:
    world = world.but(chunk_rows=500)
    marks: list[CursorValue | None] = []

    def once(number: int) -> None:
        with suppress(StateError):
            marks.append(world.sync(f"run {number}").watermark)

    world.run()
    change(source)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(once, range(8)))
    assert rows(warehouse) == rows(source)
    assert marks, "the newest run always gets through"
    texts = [mark.text for mark in marks if mark]
    stored = watermark(warehouse)
    assert stored and stored[1] == max(texts)


@pytest.mark.scenario("S14")
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("live_first", [True, False])
def test_a_backfill_leaves_the_watermark_byte_for_byte(
    live_first: bool, form: Form, world: World, source: psycopg.Connection, warehouse: psycopg.Connection
) -> None:
    def state() -> str:
        query = "SELECT array_agg(w::text || xmin || ctid)::text FROM etl_sync.watermark AS w"
        return scalar(warehouse, query)  # type: ignore[no-any-return]

    source.execute("UPDATE t SET c = '2020-02-02' WHERE id <= 100")
    source.execute("UPDATE t SET c = '2020-02-03' WHERE id = 100")
    if live_first:
        world.run(form)
    else:
        tables.ensure(world.destination.engine)
    before = state()
    source.execute("UPDATE t SET v = 'mended' WHERE id <= 100")  # behind the cursor's back
    backfill = world.but(rules=WindowRules(range_start="2020-02-02", range_end="2020-02-03"))
    assert backfill.run(form) == (Counts(updated=99) if live_first else Counts(inserted=99))
    assert backfill.run(form) == Counts(skipped=99)
    assert state() == before


@pytest.mark.scenario("S14")
def test_a_backfill_that_began_before_a_live_run_does_not_bring_old_rows_back(
    world: World, source: psycopg.Connection, warehouse: psycopg.Connection
) -> None:
    world.run()
    backfill = world.but(rules=WindowRules(range_start="2000-01-01"))
    old = backfill.extract()
    change(source)
    world.run()
    with pytest.raises(StateError, match="latest_wins"):
        backfill.load(old)
    assert backfill.but(load_rules=LoadRules(conflict="latest_wins")).load(old) == Counts(skipped=2500)
    assert rows(warehouse) == rows(source)


@pytest.mark.scenario("S14")
def test_a_backfill_does_not_hold_up_a_live_run(
    world: World, source: psycopg.Connection, warehouse: psycopg.Connection
) -> None:
    live = world.extract()
    world.but(rules=WindowRules(range_start="2000-01-01")).run("chain")
    assert world.load(live) == Counts(skipped=2500)
    world.advance(live)
    assert rows(warehouse) == rows(source)


@pytest.mark.scenario("S13")
@pytest.mark.parametrize("is_done", [False, True], ids=["extracted", "done"])
def test_a_try_that_is_slow_to_die_does_not_undo_what_its_successor_has_closed(
    world: World,
    source: psycopg.Connection,
    warehouse: psycopg.Connection,
    monkeypatch: pytest.MonkeyPatch,
    is_done: bool,
) -> None:
    """It has read all it sees, stands still, and wakes when the retry has seen, and extracted, more."""
    real = runs.mark_extracted

    def wake_late(*arguments: Any) -> None:
        monkeypatch.setattr(runs, "mark_extracted", real)
        source.execute("INSERT INTO t SELECT 2500 + i, now() FROM generate_series(1, 5) AS i")
        handed_on.append(world.extract("same task"))
        if is_done:
            world.load(handed_on[0])
            world.advance(handed_on[0])
        real(*arguments)

    handed_on: list[Extraction] = []
    monkeypatch.setattr(runs, "mark_extracted", wake_late)
    with pytest.raises(StateError, match="A later try of this task") as caught:
        world.extract("same task")
    assert caught.value.is_retryable
    world.load(handed_on[0])
    world.advance(handed_on[0])
    found = warehouse.execute("SELECT status, rows_extracted, inserted FROM etl_sync.sync_run").fetchall()
    assert found == [("done", handed_on[0].rows, 2505)]


@pytest.mark.scenario("S12")
@pytest.mark.scenario("S13")
@pytest.mark.parametrize("form", FORMS)
def test_a_try_that_stood_still_commits_nothing_once_the_next_one_goes_on(
    form: Form, world: World, source: psycopg.Connection, warehouse: psycopg.Connection
) -> None:
    """Were it to close the run, what the next try sees more of would be loaded after the run's end."""
    seen, may_go_on = threading.Event(), threading.Event()

    class StandingStill(PostgresSource):
        def read(self, window: Any, after: Any) -> Any:
            yield from super().read(window, after)
            seen.set()
            may_go_on.wait(20)

    class WakingTheOther(PostgresSource):
        def read(self, window: Any, after: Any) -> Any:
            may_go_on.set()
            wait([first], 20)
            yield from super().read(window, after)

    reading = (PostgresAccess(world.source_db), world.stream)
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(world.run, form, "same task", StandingStill(*reading))
        assert seen.wait(20)
        source.execute("INSERT INTO t SELECT 2500 + i, now() FROM generate_series(1, 5) AS i")
        counts = world.run(form, "same task", WakingTheOther(*reading))
    failure = first.exception()
    assert isinstance(failure, StateError) and failure.is_retryable
    assert counts == Counts(inserted=2_505)
    found = "SELECT rows_extracted, inserted, skipped, attempt FROM etl_sync.sync_run"
    assert warehouse.execute(found).fetchall() == [(2_505, 2_505, 0, 2)]
    assert rows(warehouse) == rows(source)


@pytest.mark.scenario("S12")
@pytest.mark.scenario("S13")
@pytest.mark.parametrize("form", FORMS)
def test_a_try_that_ends_while_the_next_one_begins_is_not_gone_on_with(
    form: Form, world: World, source: psycopg.Connection, warehouse: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next try has found it unfinished, and waits for what it is committing: its end."""
    is_ending, may_end = threading.Event(), threading.Event()
    real = runs.mark_extracted

    def end_slowly(*arguments: Any) -> None:
        real(*arguments)
        if threading.current_thread() is not threading.main_thread() and not is_ending.is_set():
            is_ending.set()
            may_end.wait(20)

    monkeypatch.setattr(runs, "mark_extracted", end_slowly)
    with ThreadPoolExecutor(1) as pool, psycopg.connect(world.warehouse_db, autocommit=True) as watching:
        first = pool.submit(world.extract if form == "chain" else world.sync, "same task")
        assert is_ending.wait(20)
        source.execute("INSERT INTO t SELECT 2500 + i, now() FROM generate_series(1, 5) AS i")
        threading.Thread(target=_release_once_somebody_waits, args=(watching, may_end)).start()
        counts = world.run(form, "same task")
        first.result()
    assert counts.inserted == (5 if form == "one_task" else 2505)
    closed = "SELECT rows_extracted - inserted - updated - skipped FROM etl_sync.sync_run WHERE status = 'done'"
    assert warehouse.execute(closed).fetchall() == [(0,)] * (2 if form == "one_task" else 1)
    assert warehouse.execute("SELECT count(*) FROM etl_sync.sync_run").fetchone() == (2,)
    assert rows(warehouse) == rows(source)


def _release_once_somebody_waits(watching: psycopg.Connection, may_end: threading.Event) -> None:
    deadline = time.monotonic() + 15
    while time.monotonic() < deadline:
        found = watching.execute(
            "SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        )
        if found.rowcount:
            break
        time.sleep(0.02)
    may_end.set()
