"""C01, C05: copies that were left unfinished, or are slow, and others that have gone on meanwhile."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psycopg
import pytest

from airflow_etl_sync.errors import DataError, StateError
from airflow_etl_sync.journey import copying, sync
from airflow_etl_sync.state import ledger
from tests.scenarios.reconciling import staged
from tests.scenarios.streaming import Capture, Slots, same
from tests.scenarios.world import scalar


@pytest.fixture
def captured(source_db: str, warehouse_db: str, slots: Slots, tmp_path: Path, source: psycopg.Connection) -> Capture:
    source.execute("CREATE TABLE t (id bigint PRIMARY KEY, v text)")
    source.execute("INSERT INTO t SELECT i, 'new' FROM generate_series(1, 30) AS i")
    captured = Capture(
        source_db, warehouse_db, slots(source_db), tmp_path, copies=True, copy_run="the task", copy_chunk_rows=10
    )
    captured.set_up()
    return captured


@pytest.mark.scenario("C01")
def test_after_a_resync_no_copy_from_before_is_taken_up(
    captured: Capture, source: psycopg.Connection, warehouse: psycopg.Connection
) -> None:
    """What it has copied is older than the new slot, which does not tell what was changed in between."""
    captured.run_killed("after state.ledger:record_extracted 2")
    captured.slot.tear_down()
    source.execute("UPDATE t SET v = 'changed while there was no slot' WHERE id = 1")
    captured.set_up()
    captured.run(resync=True)
    assert same(source, warehouse)


@pytest.mark.scenario("C01")
def test_a_resync_that_was_killed_goes_on_behind_its_last_chunk(
    captured: Capture, source: psycopg.Connection, warehouse: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    captured.run()
    real, seen = ledger.record_extracted, []

    def break_off(*arguments: Any) -> None:
        seen.append(arguments)
        if len(seen) == 3:
            raise KeyboardInterrupt
        real(*arguments)

    monkeypatch.setattr(ledger, "record_extracted", break_off)
    resync = captured.but(copy_run="the resync")
    with pytest.raises(KeyboardInterrupt):
        resync.run(resync=True)
    source.execute("UPDATE t SET v = 'changed in between' WHERE id IN (1, 30)")
    resync.run(resync=True)
    assert len(seen) == 3 + 1
    assert same(source, warehouse)


@pytest.mark.scenario("C01")
def test_what_a_killed_copy_has_staged_is_swept_though_another_task_has_copied_the_table(
    captured: Capture, source: psycopg.Connection, warehouse: psycopg.Connection
) -> None:
    captured.run_killed("after systems.postgres.destination:PostgresDestination.stage 2")
    assert staged(warehouse) >= 1
    captured.but(copy_run="another task").run()
    source.execute("UPDATE t SET v = 'changed' WHERE id = 1")
    captured.run()
    assert staged(warehouse) == 0
    assert same(source, warehouse)


@pytest.mark.scenario("C01")
@pytest.mark.scenario("C05")
def test_a_slow_run_does_not_declare_ready_what_a_newer_one_is_copying(
    captured: Capture, source: psycopg.Connection, warehouse: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a third one would apply changes, and the copy write older rows over them."""
    is_copying, may_go_on = threading.Event(), threading.Event()
    _pause_second_chunk_of(monkeypatch, "newer", is_copying, may_go_on)
    with ThreadPoolExecutor(1, thread_name_prefix="newer") as newer:
        begun = []

        def begin_the_newer() -> None:
            begun.append(newer.submit(captured.but(copy_run="the newer").run))
            assert is_copying.wait(30)

        _do_once_before_close(monkeypatch, begin_the_newer)
        with pytest.raises(StateError):
            captured.run()
        source.execute("UPDATE t SET v = 'changed since' WHERE id = 30")
        captured.but(copy_run="the third").run()
        may_go_on.set()
        with pytest.raises(StateError):
            begun[0].result()
    assert scalar(warehouse, "SELECT v FROM t WHERE id = 30") == "changed since"
    captured.run()
    assert same(source, warehouse)


@pytest.mark.scenario("C01")
@pytest.mark.scenario("C11")
def test_a_foreign_key_between_copies_is_for_after_the_copy(
    captured: Capture, source: psycopg.Connection, warehouse: psycopg.Connection
) -> None:
    """Tables are copied one after another: here the child comes first."""
    source.execute("CREATE TABLE child (id bigint PRIMARY KEY, t bigint REFERENCES t)")
    warehouse.execute("CREATE TABLE t (id bigint PRIMARY KEY, v text)")
    warehouse.execute(
        "CREATE TABLE child (id bigint PRIMARY KEY, t bigint, CONSTRAINT parent FOREIGN KEY (t) REFERENCES t)"
    )
    family = captured.but(tables=("child", "t"))
    family.set_up()
    source.execute("INSERT INTO child VALUES (1, 1)")
    with pytest.raises(DataError):
        family.run()
    warehouse.execute("ALTER TABLE child DROP CONSTRAINT parent")
    family.run()
    warehouse.execute("ALTER TABLE child ADD CONSTRAINT parent FOREIGN KEY (t) REFERENCES t")
    assert same(source, warehouse, "child", "t")


def _pause_second_chunk_of(
    monkeypatch: pytest.MonkeyPatch, thread: str, is_copying: threading.Event, may_go_on: threading.Event
) -> None:
    real, chunks = sync._Loading.checkpoint, list[Any]()

    def checkpoint(self: Any, waiting: Any) -> int:
        if threading.current_thread().name.startswith(thread):
            chunks.append(waiting)
            if len(chunks) == 2:
                is_copying.set()
                assert may_go_on.wait(30)
        return real(self, waiting)

    monkeypatch.setattr(sync._Loading, "checkpoint", checkpoint)


def _do_once_before_close(monkeypatch: pytest.MonkeyPatch, deed: Callable[[], None]) -> None:
    real = copying._close
    done: list[Callable[[], None]] = []

    def close(*arguments: Any) -> None:
        if not done:
            done.append(deed)
            deed()
        real(*arguments)

    monkeypatch.setattr(copying, "_close", close)
