"""What the page reads of the state tables, and that it reads only."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from sqlalchemy import text

from airflow_etl_sync.core.changes import lsn_of
from airflow_etl_sync.core.model import Counts, CursorValue, RunIdentity, Window
from airflow_etl_sync.errors import DestinationError, StateError
from airflow_etl_sync.state import cdc_pipelines, overview, runs, tables
from airflow_etl_sync.systems.postgres.access import PostgresAccess

if TYPE_CHECKING:
    from sqlalchemy import Engine

IDENTITY = RunIdentity("dag", "task", "run")


@pytest.fixture
def engine(warehouse_db: str) -> Engine:
    engine = PostgresAccess(warehouse_db).engine()
    tables.ensure(engine)
    return engine


def record(engine: Engine, sync_key: str, kind: Any = "incremental", counts: Counts | None = None) -> str:
    """A run that is done, or one that is under way where there are no counts."""
    low = CursorValue("integer", "7")
    with engine.begin() as connection:
        run = runs.start(connection, IDENTITY, sync_key=sync_key, kind=kind, window=Window(low=low, protection="none"))
        if counts is not None:
            runs.mark_extracted(connection, run, counts.processed)
            runs.mark_done(connection, run.extraction_id, counts)
    return run.extraction_id


def mark(warehouse: psycopg.Connection, sync_key: str) -> None:
    warehouse.execute("INSERT INTO etl_sync.watermark VALUES (%s, '9', 'integer', now(), 1, '{}')", [sync_key])


def test_all_syncs_with_their_last_runs(engine: Engine, warehouse: psycopg.Connection) -> None:
    mark(warehouse, "b")
    newest = [record(engine, "b", counts=Counts(inserted=number)) for number in range(5)]
    record(engine, "b", "replay", Counts(updated=1))
    record(engine, "a")
    with overview.reading(engine) as connection:
        first, second = overview.all_syncs(connection, 3)
        (all_kinds,) = overview.last_runs(connection, ["b", "absent"], 2).values()
    assert (first.sync_key, first.cursor, [run.status for run in first.runs]) == ("a", None, ["extracting"])
    assert first.runs[0].seconds is None is first.runs[0].rows_per_second
    assert (second.sync_key, second.cursor) == ("b", CursorValue("integer", "9"))
    assert [run.extraction_id for run in second.runs] == newest[:1:-1]
    assert [run.kind for run in all_kinds] == ["replay", "incremental"]
    last = second.runs[0]
    assert (last.low, last.counts, last.outcomes) == ("7", Counts(inserted=4), (0, 0, 4, 0))


def test_what_has_no_place_and_has_not_run_of_late_is_forgotten(engine: Engine, warehouse: psycopg.Connection) -> None:
    for key in ("marked", "unmarked", "recent"):
        record(engine, key, counts=Counts(inserted=1))
    mark(warehouse, "marked")
    warehouse.execute("UPDATE etl_sync.sync_run SET started_at = now() - interval '31 days' WHERE sync_key <> 'recent'")
    with overview.reading(engine) as connection:
        assert [each.sync_key for each in overview.all_syncs(connection, 1)] == ["marked", "recent"]


def test_the_copy_of_a_captured_table_is_told_of_until_it_is_over(engine: Engine) -> None:
    with engine.begin() as connection:
        cdc_pipelines.get_or_create(connection, "live", "slot", "publication", lsn_of("0/10"))
    with overview.reading(engine) as connection:
        assert [(each.sync_key, each.slot, each.position) for each in overview.all_syncs(connection, 1)] == [
            ("live", "slot", "0/10")
        ]
    for counts, told in ((None, ["live", "live copies t"]), (Counts(inserted=1), ["live"])):
        record(engine, "live copies t", "full_refresh", counts)
        with overview.reading(engine) as connection:
            assert [each.sync_key for each in overview.all_syncs(connection, 1)] == told


def test_whoever_looks_cannot_write_nor_wait_for_long(engine: Engine) -> None:
    with pytest.raises(Exception, match="read-only transaction"), overview.reading(engine) as connection:
        connection.execute(text("DELETE FROM etl_sync.watermark"))
    with pytest.raises(DestinationError, match="statement timeout"), overview.reading(engine, 0.05) as connection:
        connection.execute(text("SELECT pg_sleep(5)"))


def test_tables_of_another_revision_are_left_as_they_are(warehouse_db: str, warehouse: psycopg.Connection) -> None:
    engine = PostgresAccess(warehouse_db).engine()
    with pytest.raises(overview.NothingRecordedError), overview.reading(engine):
        pass
    assert warehouse.execute("SELECT to_regnamespace('etl_sync')").fetchone() == (None,)
    tables.ensure(engine)
    for revision, said in (("0001", "an older"), ("9999", "a newer")):
        warehouse.execute("UPDATE etl_sync.alembic_version SET version_num = %s", [revision])
        with pytest.raises(StateError, match=said), overview.reading(engine):
            pass
        assert warehouse.execute("SELECT version_num FROM etl_sync.alembic_version").fetchone() == (revision,)


def test_one_database_is_known_by_whichever_way(engine: Engine, warehouse_db: str, source_db: str) -> None:
    again, other = PostgresAccess(warehouse_db).engine(), PostgresAccess(source_db).engine()
    tables.ensure(other)
    names = []
    for each in (engine, again, other):
        with overview.reading(each) as connection:
            names.append(overview.identity_of(connection))
    assert names[0] == names[1] != names[2]


def test_the_last_runs_are_found_without_reading_all(engine: Engine, warehouse: psycopg.Connection) -> None:
    began = datetime.now(timezone.utc) - timedelta(days=70)
    record(engine, "s1", counts=Counts(inserted=1))
    mark(warehouse, "s0")
    columns = [row[0] for row in warehouse.execute(
        "SELECT column_name FROM information_schema.columns WHERE table_schema = 'etl_sync' AND table_name = 'sync_run'"
    )]  # fmt: skip
    kept = ", ".join(name for name in columns if name not in ("extraction_id", "sync_key", "started_at"))
    warehouse.execute(
        f"INSERT INTO etl_sync.sync_run (extraction_id, sync_key, started_at, {kept})"
        f" SELECT md5(i::text), 's' || CASE WHEN i < 99 THEN 0 ELSE 1 + i %% 19 END, %s + i * interval '1 min', {kept}"
        " FROM etl_sync.sync_run, generate_series(1, 100000) AS i",
        [began],
    )
    warehouse.execute("ANALYZE etl_sync.sync_run")
    with overview.reading(engine) as connection:
        read_before = _rows_read(warehouse)
        found = overview.all_syncs(connection, 20)
    assert [len(each.runs) for each in found] == [20] * 20
    assert _rows_read(warehouse) - read_before < 2_000


def _rows_read(warehouse: psycopg.Connection) -> int:
    warehouse.execute("SELECT pg_stat_force_next_flush()")
    query = "SELECT seq_tup_read + idx_tup_fetch FROM pg_stat_user_tables WHERE relname = 'sync_run'"
    row = warehouse.execute(query).fetchone()
    assert row is not None
    return int(row[0])
