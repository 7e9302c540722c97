"""What nobody has thought of: short soaks; ``make soak`` plays long ones."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from tests.binlog import LoggingServer, logging_server
from tests.scenarios.soak_binlog import BinlogSoak
from tests.scenarios.soak_cdc import CdcSoak
from tests.scenarios.soak_runs import SoakError
from tests.scenarios.soak_sync import SyncSoak
from tests.scenarios.streaming import Slots

SECONDS, CDC_SECONDS, BINLOG_SECONDS = 30, 20, 30


@pytest.fixture
def seed() -> int:
    seed = int(os.environ.get("ETL_SYNC_SOAK_SEED") or random.SystemRandom().randrange(10**9))
    print(f"ETL_SYNC_SOAK_SEED={seed}")  # noqa: T201 - repeats a failure
    return seed


@pytest.fixture
def soak(source_db: str, warehouse_db: str, tmp_path: Path, seed: int) -> SyncSoak:
    return SyncSoak(
        source_db=source_db, warehouse_db=warehouse_db, root=tmp_path, seed=seed, seconds=SECONDS, has_deletes=True
    )


@pytest.fixture
def cdc_soak(source_db: str, warehouse_db: str, tmp_path: Path, seed: int, slots: Slots) -> CdcSoak:
    return CdcSoak(
        source_db=source_db,
        warehouse_db=warehouse_db,
        root=tmp_path,
        seed=seed,
        seconds=CDC_SECONDS,
        slot_name=slots(source_db),
        audit_name=slots(source_db),
    )


@pytest.fixture(scope="module")
def mariadb(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LoggingServer]:
    with logging_server(tmp_path_factory.mktemp("mariadb")) as mariadb:
        yield mariadb


@pytest.fixture
def binlog_soak(mariadb: LoggingServer, warehouse_db: str, tmp_path: Path, seed: int) -> Iterator[BinlogSoak]:
    soak = BinlogSoak(server=mariadb, warehouse_db=warehouse_db, root=tmp_path, seed=seed, seconds=BINLOG_SECONDS)
    yield soak
    soak.clear_up()


@pytest.mark.slow
@pytest.mark.scenario("S01")
@pytest.mark.scenario("S12")
@pytest.mark.scenario("S13")
def test_half_a_minute_of_writers_and_killed_runs_ends_in_equal_tables(soak: SyncSoak) -> None:
    soak.play()
    assert soak.rounds and soak.runs.tally.done and soak.runs.tally.kills


def test_a_soak_tells_a_difference(soak: SyncSoak, source: psycopg.Connection, warehouse: psycopg.Connection) -> None:
    soak.prepare()
    source.execute("INSERT INTO t (kind, id, price) VALUES ('a', 1, 1.5), ('a', 2, 2)")
    warehouse.execute("INSERT INTO t (kind, id, price) VALUES ('a', 1, 1.25)")
    with pytest.raises(SoakError, match=r"(?s)2 rows of t differ.*1\.500.*1\.250.*\('a', 2\).*None.*the last runs"):
        soak.compare()


@pytest.mark.slow
@pytest.mark.scenario("C01")
@pytest.mark.scenario("C05")
def test_writers_and_killed_copies_and_captures_end_in_equal_tables(cdc_soak: CdcSoak) -> None:
    cdc_soak.play()
    assert cdc_soak.rounds and cdc_soak.runs.tally.kills and cdc_soak.writers.transactions


def test_a_soak_of_captures_tells_what_does_not_add_up(
    cdc_soak: CdcSoak, source: psycopg.Connection, warehouse: psycopg.Connection
) -> None:
    """A change that came twice, a position that went back, a row that is gone where it should be flagged."""
    cdc_soak.prepare()
    cdc_soak.maker.world.set_up()
    cdc_soak.maker.world = cdc_soak.maker.world.but(delete="soft")
    for _ in range(2):
        cdc_soak.settle()
        cdc_soak.compare()
    source.execute("DELETE FROM child WHERE id = 1")
    source.execute("UPDATE t SET words = 'changed' WHERE (kind, id) = ('a', 2)")
    cdc_soak.settle()
    warehouse.execute("UPDATE etl_sync.sync_run SET rows_extracted = rows_extracted + 1 WHERE kind = 'cdc'")
    warehouse.execute("UPDATE t SET words = 'changed again' WHERE (kind, id) = ('a', 3)")
    warehouse.execute("UPDATE t SET words = 'there before' WHERE (kind, id) = ('a', 3)")
    warehouse.execute("UPDATE etl_sync.cdc_pipeline SET applied_lsn = '0/1'")
    with pytest.raises(SoakError) as told:
        cdc_soak.compare()
    for complaint in ("rows written, rows told", "changes in the log, changes told", "positions that went back"):
        assert complaint in str(told.value)
    warehouse.execute("DELETE FROM child WHERE id = 1")
    with pytest.raises(SoakError, match=r"1 rows of child have vanished, as \(1,\)"):
        cdc_soak.compare()


@pytest.mark.slow
@pytest.mark.scenario("C01")
@pytest.mark.scenario("C05")
@pytest.mark.scenario("C06")
def test_writers_of_mariadb_and_killed_copies_and_captures_end_in_equal_tables(binlog_soak: BinlogSoak) -> None:
    binlog_soak.play()
    assert binlog_soak.rounds and binlog_soak.runs.tally.kills and binlog_soak.writers.transactions


def test_a_soak_of_binary_logs_tells_what_does_not_add_up(
    binlog_soak: BinlogSoak, warehouse: psycopg.Connection
) -> None:
    """A change that came twice, a position that went back, a row that is gone, one that differs in a digit."""
    binlog_soak.prepare()
    binlog_soak.maker.world = binlog_soak.maker.world.but(delete="soft")
    for _ in range(2):
        binlog_soak.is_told_once = True
        binlog_soak.settle()
        binlog_soak.compare()
    binlog_soak.shop.execute("DELETE FROM child WHERE id = 1", "UPDATE t SET price = 1 WHERE kind = 'a' AND id = 2")
    binlog_soak.settle()
    warehouse.execute("UPDATE etl_sync.sync_run SET rows_extracted = rows_extracted + 1 WHERE kind = 'cdc'")
    warehouse.execute("UPDATE t SET words = 'changed again' WHERE (kind, id) = ('a', 3)")
    warehouse.execute("UPDATE t SET words = 'there before' WHERE (kind, id) = ('a', 3)")
    warehouse.execute("UPDATE etl_sync.cdc_pipeline SET applied_lsn = '0/1'")
    with pytest.raises(SoakError) as told:
        binlog_soak.compare()
    for complaint in ("rows written, rows told", "changes made, changes told", "positions that went back"):
        assert complaint in str(told.value)
    warehouse.execute("DELETE FROM child WHERE id = 1")
    with pytest.raises(SoakError, match=r"1 rows of child have vanished, as \(1,\)"):
        binlog_soak.compare()
    warehouse.execute("UPDATE t SET price = 1.001 WHERE (kind, id) = ('a', 2)")
    with pytest.raises(SoakError, match=r"(?s)1 rows of t differ.*1\.000.*1\.001"):
        binlog_soak.compare()
