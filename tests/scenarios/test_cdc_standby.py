"""C07: a slot on a standby gives changes as one on its primary does, and what only the primary can do is said."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.sql import SQL

from airflow_etl_sync.cdc.postgres import sql
from airflow_etl_sync.errors import ConfigurationError, SourceError
from tests.scenarios.mortal import MortalPostgres
from tests.scenarios.streaming import Capture, same
from tests.scenarios.test_xmin_source import wait_for_replay

pytestmark = pytest.mark.scenario("C07")

PUBLISH = "CREATE PUBLICATION s FOR TABLE t WITH (publish_via_partition_root = true)"


@pytest.fixture(scope="module")
def mortal() -> Iterator[MortalPostgres]:
    with MortalPostgres() as server:
        yield server


@pytest.fixture
def primary(mortal: MortalPostgres) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(mortal.databases.admin, autocommit=True) as primary:
        primary.execute("CREATE TABLE t (id int PRIMARY KEY, v text)")
        primary.execute("INSERT INTO t SELECT i, 'old' FROM generate_series(1, 20) AS i")
        yield primary
        primary.execute("DROP PUBLICATION IF EXISTS s")
        primary.execute("DROP TABLE t")


def while_the_primary_tells(primary: psycopg.Connection[Any], set_up: Callable[[], None]) -> None:
    """A slot on a standby waits for its primary to tell which transactions run, which at rest it does not."""
    is_made = threading.Event()

    def tell() -> None:
        while not is_made.wait(0.1):
            primary.execute("SELECT pg_log_standby_snapshot()")

    telling = threading.Thread(target=tell)
    telling.start()
    try:
        set_up()
    finally:
        is_made.set()
        telling.join()


def test_changes_are_captured_from_a_standby(
    mortal: MortalPostgres,
    primary: psycopg.Connection[Any],
    warehouse_db: str,
    warehouse: psycopg.Connection[Any],
    tmp_path: Path,
) -> None:
    primary.execute(PUBLISH)
    primary.execute(sql.mark_publication("s"))
    with mortal.standby() as conninfo, psycopg.connect(conninfo, autocommit=True) as standby:
        captured = Capture(conninfo, warehouse_db, "s", tmp_path)
        while_the_primary_tells(primary, captured.set_up)
        captured.run(first_copy=captured.copy)
        for first in (100, 200):
            primary.execute("INSERT INTO t SELECT i, 'new' FROM generate_series(%s::int, %s) AS i", [first, first + 9])
            primary.execute("UPDATE t SET id = -id, v = 'moved' WHERE id = %s", [first + 1])
            primary.execute("DELETE FROM t WHERE id = %s", [first // 20])
            wait_for_replay(primary, standby)
            captured.run()
            assert same(primary, warehouse)
        [finding] = captured.slot.preflight([table.source for table in captured.terms])
        assert (finding.code, finding.is_error) == ("standby_without_feedback", False)
        torn = captured.slot.tear_down()
        assert (torn.has_dropped_slot, torn.has_dropped_publication) == (True, False)


def test_what_only_the_primary_can_do_is_said(
    mortal: MortalPostgres, primary: psycopg.Connection[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with mortal.standby() as conninfo, psycopg.connect(conninfo, autocommit=True) as standby:
        captured = Capture(conninfo, conninfo, "s", tmp_path)
        with pytest.raises(ConfigurationError, match="no publication 's': this server is a standby"):
            captured.set_up()
        primary.execute(PUBLISH)
        wait_for_replay(primary, standby)
        monkeypatch.setattr(sql, "GIVE_UP_ON_A_QUIET_PRIMARY", SQL("SET statement_timeout = '500ms'"))
        with pytest.raises(SourceError, match=r"run SELECT pg_log_standby_snapshot\(\) on the primary"):
            captured.set_up()
        assert standby.execute("SELECT FROM pg_replication_slots").rowcount == 0
