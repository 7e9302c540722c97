"""S17: rows of a binary log with the character NUL, which PostgreSQL stores in no text."""

from __future__ import annotations

import psycopg
import pytest

from airflow_etl_sync.core.keys import DeleteMode
from airflow_etl_sync.core.model import LoadRules, RunIdentity, TableName
from airflow_etl_sync.errors import DataError
from airflow_etl_sync.journey.cdc_pieces import CaptureLimits
from airflow_etl_sync.journey.failed_records import replay
from airflow_etl_sync.state.failed_records import find_open
from airflow_etl_sync.systems.postgres.access import PostgresAccess
from airflow_etl_sync.systems.postgres.destination import PostgresDestination
from tests.mariadb import MariaDb
from tests.scenarios.binlog_world import BinlogCapture, copied, told
from tests.scenarios.world import scalar

pytestmark = pytest.mark.scenario("S17")

PIECES = {"at once": CaptureLimits(), "one by one": CaptureLimits(batch_changes=1, piece_changes=1)}


@pytest.fixture
def with_nul(logged: BinlogCapture, shop: MariaDb) -> BinlogCapture:
    """A table that is copied, into which a row with NUL has come since."""
    shop.execute("CREATE TABLE t (id int PRIMARY KEY, v varchar(20), w text)", "INSERT INTO t VALUES (1, 'a', '')")
    logged.run()
    shop.execute(
        "UPDATE t SET v = 'fine'", "INSERT INTO t VALUES (2, 'b', concat('secret', char(0)))",
        "INSERT INTO t VALUES (3, 'c', '')",
    )  # fmt: skip
    return logged


def test_a_text_with_nul_is_named_without_its_value(
    with_nul: BinlogCapture, shop: MariaDb, warehouse: psycopg.Connection
) -> None:
    for _ in range(2):
        with pytest.raises(DataError) as caught:
            with_nul.run()
        for told_ in ("1 rows for 't'", "the character NUL", "in column 'w'", "(key: 'id')", "max_errors"):
            assert told_ in str(caught.value)
        assert "secret" not in str(caught.value)
        assert copied(warehouse) == [(1, "a", "")]
    shop.execute("UPDATE t SET w = 'mended' WHERE id = 2")
    assert with_nul.run().counts.inserted == 2, "only its last change counts"
    assert copied(warehouse) == told(shop)


@pytest.mark.parametrize("pieces", PIECES)
def test_rows_with_nul_are_failed_records(
    pieces: str, with_nul: BinlogCapture, shop: MariaDb, warehouse: psycopg.Connection
) -> None:
    patient = with_nul.but(rules=LoadRules(max_errors=2), limits=PIECES[pieces])
    report = patient.run()
    counts = report.counts
    assert (counts.changes, counts.inserted, counts.updated, counts.errors, report.failed_records) == (3, 1, 1, 1, 1)
    assert copied(warehouse) == [(1, "fine", ""), (3, "c", "")]
    record = warehouse.execute("SELECT key, payload, error, types FROM etl_sync.failed_record").fetchone()
    payload = {"id": "2", "v": "b", "w": "secret\0"}
    assert record and record[:2] == (["2"], payload)
    assert record[2] == "The character NUL, which PostgreSQL stores in no text, in w"
    assert record[3].keys() == payload.keys()
    shop.execute("UPDATE t SET v = concat(v, char(0)) WHERE id IN (1, 2)", "DELETE FROM t WHERE id = 3")
    report = patient.run()
    assert (report.counts.errors, report.counts.deleted, report.failed_records) == (2, 1, 2)
    assert copied(warehouse) == [(1, "fine", "")]
    shop.execute("UPDATE t SET v = 'mended', w = 'too' WHERE id = 2", "DELETE FROM t WHERE id = 1")
    report = patient.run()
    assert (report.counts.errors, report.failed_records) == (0, 0)
    assert copied(warehouse) == told(shop) == [(2, "mended", "too")]


def test_more_rows_with_nul_than_are_tolerated(
    with_nul: BinlogCapture, shop: MariaDb, warehouse: psycopg.Connection
) -> None:
    shop.execute("UPDATE t SET v = concat(v, char(0))")
    with pytest.raises(DataError, match="3 rows for 't' hold the character NUL"):
        with_nul.but(rules=LoadRules(max_errors=2)).run()
    assert copied(warehouse) == [(1, "a", "")]
    assert with_nul.but(rules=LoadRules(max_errors=3)).run().counts.errors == 3


@pytest.mark.parametrize("delete", ["hard", "soft"])
@pytest.mark.parametrize("pieces", PIECES)
def test_keys_with_nul(
    pieces: str, delete: DeleteMode, logged: BinlogCapture, shop: MariaDb, warehouse: psycopg.Connection
) -> None:
    shop.execute("CREATE TABLE t (id varchar(9) PRIMARY KEY, v int)", "INSERT INTO t VALUES ('a', 1), ('b', 2)")
    logged.run()
    patient = logged.but(rules=LoadRules(max_errors=9), limits=PIECES[pieces], delete=delete)
    shop.execute("UPDATE t SET id = concat(id, char(0)) WHERE id = 'a'", "INSERT INTO t VALUES (char(0), 3)")
    assert patient.run().failed_records == 2
    live = "t" if delete == "hard" else "(SELECT id, v FROM t WHERE _sync_deleted IS NOT TRUE) AS live"
    assert copied(warehouse, table=live) == [("b", 2)]
    shop.execute("UPDATE t SET v = v + 1")
    assert patient.run().failed_records == 2
    shop.execute("UPDATE t SET id = 'c' WHERE v = 2", "DELETE FROM t WHERE v = 4")
    assert patient.run().failed_records == 0
    assert copied(warehouse, table=live) == told(shop) == [("b", 3), ("c", 2)]


def test_changes_with_nul_are_failed_records_of_a_history(
    logged: BinlogCapture, shop: MariaDb, warehouse: psycopg.Connection
) -> None:
    shop.execute("CREATE TABLE t (id int PRIMARY KEY, v varchar(20))", "INSERT INTO t VALUES (1, 'a')")
    history = logged.but(apply="history", rules=LoadRules(max_errors=1))
    history.run()
    shop.execute("UPDATE t SET v = char(0)", "UPDATE t SET v = 'b'")
    report = history.run()
    assert (report.counts.changes, report.counts.errors, report.failed_records) == (2, 1, 1)
    assert copied(warehouse, "v, _sync_op") == [("a", "snapshot"), ("b", "update")]
    ((payload,),) = warehouse.execute("SELECT payload FROM etl_sync.failed_record").fetchall()
    assert (payload["id"], payload["v"], payload["_sync_op"]) == ("1", "\0", "update")


def test_a_replay_passes_over_what_holds_nul(
    with_nul: BinlogCapture, shop: MariaDb, warehouse: psycopg.Connection
) -> None:
    shop.execute("ALTER TABLE t ADD n int", "INSERT INTO t VALUES (4, 'd', '', 4)", "UPDATE t SET n = 5 WHERE id = 2")
    warehouse.execute("ALTER TABLE t ADD n bigint, ADD CONSTRAINT small CHECK (n < 2)")
    patient = with_nul.but(rules=LoadRules(max_errors=5))
    assert patient.run().failed_records == 2
    warehouse.execute("ALTER TABLE t DROP CONSTRAINT small")
    access = PostgresAccess(with_nul.warehouse_db)
    with access.engine().begin() as connection:
        records = find_open(connection)
    destination = PostgresDestination(access, TableName("t"))
    with pytest.raises(DataError, match=r"1 failed records for 't' hold the character NUL.*The others are replayed"):
        replay(destination, records, RunIdentity("dag", "task", "replay"))
    assert scalar(warehouse, "SELECT array_agg(id ORDER BY id) FROM t") == [1, 3, 4]
