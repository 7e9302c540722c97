"""C01: the first copy of captured tables: resumed, done once, not begun before what the log has told is visible."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import psycopg
import pytest

from airflow_etl_sync.cdc.postgres import visibility
from airflow_etl_sync.cdc.postgres.copy_source import PostgresTables
from airflow_etl_sync.cdc.postgres.reselect import SourceRows
from airflow_etl_sync.cdc.postgres.slot import ReplicationSlot
from airflow_etl_sync.cdc.postgres.visibility import wait_until_visible
from airflow_etl_sync.cdc.tables import CdcTable, SourceTable
from airflow_etl_sync.core.model import Counts, LoadRules, RunIdentity, TableName, Window
from airflow_etl_sync.demo.postgres import EmbeddedPostgres
from airflow_etl_sync.errors import SourceError
from airflow_etl_sync.journey.cdc import CdcReport, capture
from airflow_etl_sync.journey.copying import copy_tables
from airflow_etl_sync.state import cdc_pipelines, ledger, runs, tables
from airflow_etl_sync.state.runs import Run
from airflow_etl_sync.systems.postgres.access import PostgresAccess
from tests.scenarios.streaming import Capture
from tests.scenarios.world import rows, scalar

pytestmark = pytest.mark.scenario("C01")

TASK = RunIdentity("dag", "capture", "run 1")


class Stream:
    """A pipeline of the tables ``t`` and ``u``."""

    def __init__(self, source_db: str, warehouse_db: str, slot: str) -> None:
        self.source, self.warehouse = PostgresAccess(source_db), PostgresAccess(warehouse_db)
        self.slot = ReplicationSlot(self.source, slot, slot)
        self.names = ["t"]

    def begin(self) -> None:
        start = self.slot.set_up([TableName(name, "public") for name in self.names])
        tables.ensure(self.warehouse.engine())
        with self.warehouse.engine().begin() as connection:
            cdc_pipelines.get_or_create(connection, "shop", self.slot.slot, self.slot.slot, start)
            cdc_pipelines.register(connection, "shop", [(f"public.{name}", f"public.{name}") for name in self.names])

    def copy(self, task: RunIdentity = TASK) -> Counts:
        with self.warehouse.engine().begin() as connection:
            runs.abandon_captures(connection, "shop")
            run = runs.start(connection, task, sync_key="shop", kind="cdc", window=Window())
        return copy_tables(
            PostgresTables(self.source), self.warehouse, "shop", self._terms(), task, run, chunk_rows=100
        )

    def capture(self, run: str, *, copies: bool = False) -> CdcReport:
        task = RunIdentity("dag", "capture", run)

        def first_copy(missing: Sequence[SourceTable], begun: Run) -> None:
            terms = [each.terms for each in missing]
            copy_tables(PostgresTables(self.source), self.warehouse, "shop", terms, task, begun, chunk_rows=100)

        return capture(
            self.slot,
            SourceRows(self.source),
            self.warehouse,
            sync_key="shop",
            tables_=self._terms(),
            identity=task,
            first_copy=first_copy if copies else None,
        )

    def _terms(self) -> list[CdcTable]:
        names = [TableName(name, "public") for name in self.names]
        return [CdcTable(source=name, target=name, rules=LoadRules()) for name in names]

    def states(self) -> dict[str, str]:
        with self.warehouse.engine().begin() as connection:
            return {each.source: each.status for each in cdc_pipelines.tables_of(connection, "shop")}


@pytest.fixture
def stream(source_db: str, warehouse_db: str, source: psycopg.Connection, slots: Callable[[str], str]) -> Stream:
    for name in ("t", "u"):
        source.execute(f"CREATE TABLE {name} (id bigint PRIMARY KEY, v text)")
        source.execute(f"INSERT INTO {name} SELECT i, 'v' || i FROM generate_series(1, 350) AS i")
    return Stream(source_db, warehouse_db, slots(source_db))


def test_writers_during_copy_and_capture_end_in_equal_tables(
    stream: Stream, source_db: str, source: psycopg.Connection, warehouse: psycopg.Connection
) -> None:
    """Keys move and come back, values are long and left out of the log, rows go and return."""
    source.execute("ALTER TABLE t ADD COLUMN big text; ALTER TABLE t ALTER COLUMN big SET STORAGE EXTERNAL")
    source.execute("UPDATE t SET big = repeat(md5(id::text), 200)")
    seed = random.SystemRandom().randrange(10**9)
    print(f"seed {seed}")  # noqa: T201 - repeats the writers' choices
    stream.begin()
    ends = threading.Event()
    writers = [threading.Thread(target=write, args=(source_db, f"{seed} {number}", ends)) for number in range(3)]
    for writer in writers:
        writer.start()
    try:
        stream.copy()
        for run in range(8):
            stream.capture(f"beside writers {run}")
    finally:
        ends.set()
        for writer in writers:
            writer.join()
    stream.capture("at last")
    assert rows(warehouse) == rows(source)


def write(conninfo: str, seed: str, ends: threading.Event) -> None:
    chance = random.Random(seed)
    with psycopg.connect(conninfo, autocommit=True) as connection:
        while not ends.is_set():
            key, other = chance.randint(1, 500), chance.randint(1, 500)
            is_free = "NOT EXISTS (SELECT FROM t WHERE id = %(other)s)"
            deeds = [
                ("UPDATE t SET v = v || 'x' WHERE id = %(key)s", 4),
                (f"UPDATE t SET id = %(other)s WHERE id = %(key)s AND {is_free}", 4),
                ("DELETE FROM t WHERE id = %(key)s", 1),
                ("INSERT INTO t VALUES (%(key)s, 'new', repeat(md5(%(other)s::text), 200)) ON CONFLICT DO NOTHING", 2),
                ("UPDATE t SET big = repeat(md5(%(other)s::text), 150) WHERE id = %(key)s", 1),
            ]
            (deed,) = chance.choices([text for text, _ in deeds], [weight for _, weight in deeds])
            with suppress(psycopg.errors.UniqueViolation):
                connection.execute(deed, {"key": key, "other": other})


def test_copied_once_and_left_without_a_watermark(
    stream: Stream, source: psycopg.Connection, warehouse: psycopg.Connection
) -> None:
    stream.begin()
    assert stream.copy() == Counts(inserted=350)
    assert rows(warehouse) == rows(source)
    assert stream.states() == {"public.t": "ready"}
    assert scalar(warehouse, "SELECT count(*) FROM etl_sync.watermark") == 0
    assert scalar(warehouse, "SELECT copied_until FROM etl_sync.cdc_table") is not None
    source.execute("UPDATE t SET v = 'later'")
    assert stream.copy(RunIdentity("dag", "capture", "run 2")) == Counts(), "its changes come from the log now"


def test_a_table_that_joins_later_is_copied_then(
    stream: Stream, source: psycopg.Connection, warehouse: psycopg.Connection
) -> None:
    stream.begin()
    stream.copy()
    stream.names = ["t", "u"]
    stream.begin()
    assert stream.states() == {"public.t": "ready", "public.u": "pending"}
    assert stream.copy() == Counts(inserted=350)
    assert scalar(warehouse, "SELECT count(*) FROM u") == 350


def test_a_table_that_was_left_out_for_a_while_is_copied_again(
    stream: Stream, source: psycopg.Connection, warehouse: psycopg.Connection
) -> None:
    stream.names = ["t", "u"]
    stream.begin()
    stream.capture("both", copies=True)
    stream.names = ["t"]
    source.execute("UPDATE u SET v = 'unseen' WHERE id <= 10")
    stream.capture("without u", copies=True)
    stream.names = ["t", "u"]
    stream.capture("both again", copies=True)
    assert stream.states() == {"public.t": "ready", "public.u": "ready"}
    query = "SELECT * FROM u ORDER BY id"
    assert warehouse.execute(query).fetchall() == source.execute(query).fetchall()


def test_a_retry_goes_on_behind_the_last_chunk(
    stream: Stream, source: psycopg.Connection, warehouse: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream.begin()
    real, seen = ledger.record_extracted, []

    def break_off(*arguments: object) -> None:
        seen.append(arguments)
        if len(seen) == 3:
            raise KeyboardInterrupt
        real(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(ledger, "record_extracted", break_off)
    with pytest.raises(KeyboardInterrupt):
        stream.copy()
    assert scalar(warehouse, "SELECT count(*) FROM t") == 200
    assert stream.states() == {"public.t": "pending"}
    assert stream.copy() == Counts(inserted=350), "over both tries"
    assert len(seen) == 3 + 2
    assert rows(warehouse) == rows(source)


def test_an_empty_table_is_made_and_ready(
    stream: Stream, source: psycopg.Connection, warehouse: psycopg.Connection
) -> None:
    source.execute("TRUNCATE t")
    stream.begin()
    assert stream.copy() == Counts()
    assert rows(warehouse) == []
    assert stream.states() == {"public.t": "ready"}


def test_a_commit_that_the_log_tells_before_readers_see_it_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Under synchronous replication a commit is written, and told, while its session waits for the standby."""
    with EmbeddedPostgres(settings={"synchronous_standby_names": "absent", "synchronous_commit": "local"}) as postgres:
        conninfo = postgres.databases.create_database("waiting")
        with psycopg.connect(conninfo, autocommit=True) as source:
            source.execute("CREATE TABLE t (id integer PRIMARY KEY)")
            source.execute("CREATE PUBLICATION told FOR TABLE t")
            source.execute("SELECT pg_create_logical_replication_slot('told', 'pgoutput')")
            committing = threading.Thread(target=commit_for_the_standby, args=(conninfo,))
            committing.start()
            told = """
                SELECT count(*)
                FROM pg_logical_slot_peek_binary_changes(
                    'told', NULL, NULL, 'proto_version', '1', 'publication_names', 'told'
                )
                WHERE get_byte(data, 0) = ascii('I')
            """
            while not scalar(source, told):
                pass
            assert scalar(source, "SELECT count(*) FROM t") == 0, "told, and not seen"

            monkeypatch.setattr(visibility, "LONGEST_WAIT_SECONDS", 0.3)
            with pytest.raises(SourceError, match="may not be visible yet") as caught:
                wait_until_visible(PostgresAccess(conninfo))
            assert caught.value.is_retryable

            monkeypatch.setattr(visibility, "LONGEST_WAIT_SECONDS", 20)
            ending = threading.Timer(0.3, source.execute, [GIVE_UP_WAITING])
            ending.start()
            wait_until_visible(PostgresAccess(conninfo))
            ending.join()
            committing.join()
            assert scalar(source, "SELECT count(*) FROM t") == 1
            source.execute("SELECT pg_drop_replication_slot('told')")


def test_a_table_that_joins_is_not_copied_before_what_the_stream_has_passed_is_visible(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Neither the copy would see it, nor the log tell it again."""
    with EmbeddedPostgres(settings={"synchronous_standby_names": "absent", "synchronous_commit": "local"}) as postgres:
        source_db, warehouse_db = (postgres.databases.create_database(name) for name in ("source", "warehouse"))
        with (
            psycopg.connect(source_db, autocommit=True) as source,
            psycopg.connect(warehouse_db, autocommit=True) as warehouse,
        ):
            source.execute("CREATE TABLE u (id integer PRIMARY KEY); CREATE TABLE t (id integer PRIMARY KEY)")
            both = Capture(source_db, warehouse_db, "joining", tmp_path, tables=("u", "t"), copies=True)
            both.set_up()
            both.but(tables=("u",)).run()
            before = scalar(source, "SELECT pg_current_wal_lsn() - '0/0'")
            committing = threading.Thread(target=commit_for_the_standby, args=(source_db,))
            committing.start()
            while both.but(tables=("u",)).run().applied <= before or not scalar(source, WAITING):
                pass

            monkeypatch.setattr(visibility, "LONGEST_WAIT_SECONDS", 0.3)
            with pytest.raises(SourceError, match="may not be visible yet"):
                both.run()
            source.execute(GIVE_UP_WAITING)
            committing.join()
            both.run()
            assert scalar(warehouse, "SELECT count(*) FROM t") == 1
            both.slot.tear_down()


WAITING = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'"
GIVE_UP_WAITING = "SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE wait_event = 'SyncRep'"


def commit_for_the_standby(conninfo: str) -> None:
    with psycopg.connect(conninfo, autocommit=True) as connection:
        connection.execute("SET synchronous_commit = on")
        connection.execute("INSERT INTO t VALUES (1)")
