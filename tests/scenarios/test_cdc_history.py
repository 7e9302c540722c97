"""Histories: every change of a source's table is a row of its own, in its order, once, and no value is made up."""

from __future__ import annotations

import os
import random
from pathlib import Path
from typing import Any

import psycopg
import pytest

from airflow_etl_sync.cdc.postgres import visibility
from airflow_etl_sync.core.changes import lsn_of, lsn_text
from airflow_etl_sync.core.model import LoadRules
from airflow_etl_sync.errors import DataError, SchemaError, StateError
from airflow_etl_sync.journey.cdc_pieces import CaptureLimits
from tests.scenarios.reconciling import staged
from tests.scenarios.streaming import COMMIT_FAILPOINTS, Capture, Slots, new_dice, rows, totals
from tests.scenarios.test_cdc import LONG, ODD_SETTINGS, TELLING, TOLD
from tests.scenarios.world import scalar

LIVE = """
SELECT {columns} FROM (
    SELECT DISTINCT ON (id) *
    FROM t
    WHERE (_sync_lsn, _sync_sequence) > ALL (
        SELECT _sync_lsn, _sync_sequence FROM t WHERE _sync_op IN ('truncate', 'resync')
    )
    ORDER BY id, _sync_lsn DESC, _sync_sequence DESC
) AS last
WHERE _sync_op <> 'delete'
ORDER BY id
"""
"""The source's rows, made again from their history."""


@pytest.fixture
def captured(source_db: str, warehouse_db: str, slots: Slots, tmp_path: Path) -> Capture:
    """Every change of table ``t`` is to be kept; a test makes it and sets up."""
    return Capture(source_db, warehouse_db, slots(source_db), tmp_path, apply="history")


@pytest.fixture
def small(captured: Capture, source: psycopg.Connection) -> Capture:
    """A table without rows, set up."""
    source.execute("CREATE TABLE t (id bigint PRIMARY KEY, v text, n numeric(12, 2))")
    captured.set_up()
    return captured


@pytest.fixture
def long(captured: Capture, source: psycopg.Connection) -> Capture:
    """A table with a column that is kept out of line, set up."""
    source.execute("CREATE TABLE t (id bigint PRIMARY KEY, v text, body text)")
    source.execute("ALTER TABLE t ALTER body SET STORAGE EXTERNAL")
    captured.set_up()
    return captured


def told(warehouse: psycopg.Connection[Any], columns: str = "_sync_op, id, v") -> list[tuple[Any, ...]]:
    """The rows of the history in their order."""
    return warehouse.execute(f"SELECT {columns} FROM t ORDER BY _sync_lsn, _sync_sequence").fetchall()


def is_whole(source: psycopg.Connection[Any], warehouse: psycopg.Connection[Any], columns: str = "id, v, n") -> bool:
    live = warehouse.execute(LIVE.format(columns=columns)).fetchall()
    assert live == source.execute(f"SELECT {columns} FROM t ORDER BY id").fetchall()
    return True


def test_each_change_is_a_row(small: Capture, source: psycopg.Connection, warehouse: psycopg.Connection) -> None:
    source.execute("INSERT INTO t VALUES (1, 'first', 1), (2, 'second', 2)")
    with source.transaction():
        source.execute("UPDATE t SET v = 'changed' WHERE id = 1")
        source.execute("UPDATE t SET v = 'changed again' WHERE id = 1")
        source.execute("UPDATE t SET id = 3 WHERE id = 2")
    source.execute("DELETE FROM t WHERE id = 1")
    source.execute("TRUNCATE t")
    source.execute("INSERT INTO t VALUES (1, 'back', 3)")
    report = small.run()
    assert told(warehouse, "_sync_op, id, v, n::text, _sync_sequence, _sync_unknown") == [
        ("insert", 1, "first", "1.00", 1, None),
        ("insert", 2, "second", "2.00", 2, None),
        ("update", 1, "changed", "1.00", 1, None),
        ("update", 1, "changed again", "1.00", 2, None),
        ("delete", 2, "second", "2.00", 3, None),
        ("insert", 3, "second", "2.00", 4, None),
        ("delete", 1, "changed again", "1.00", 1, None),
        ("truncate", None, None, None, 1, None),
        ("insert", 1, "back", "3.00", 1, None),
    ]
    counts = report.counts
    assert (counts.changes, counts.inserted, counts.transactions) == (8, 9, 5)
    assert (counts.updated, counts.deleted, counts.skipped, counts.errors) == (0, 0, 0, 0)
    assert totals(warehouse) == (8, 9, 0, 0, 0, 0)
    assert is_whole(source, warehouse)
    assert small.run().counts.changes == 0


def test_position_and_time_are_those_of_the_commit(
    small: Capture, source: psycopg.Connection, warehouse: psycopg.Connection
) -> None:
    before, began = scalar(source, "SELECT pg_current_wal_lsn()::text"), scalar(source, "SELECT clock_timestamp()")
    with psycopg.connect(small.source_db) as late:
        late.execute("INSERT INTO t VALUES (1, 'began first')")
        source.execute("INSERT INTO t VALUES (2, 'committed first')")
        late.commit()
    after, ended = scalar(source, "SELECT pg_current_wal_lsn()::text"), scalar(source, "SELECT clock_timestamp()")
    small.run()
    assert told(warehouse) == [("insert", 2, "committed first"), ("insert", 1, "began first")]
    assert scalar(warehouse, "SELECT min(_sync_lsn) > %s AND max(_sync_lsn) < %s FROM t", before, after)
    assert scalar(
        warehouse, "SELECT min(_sync_committed_at) > %s AND max(_sync_committed_at) < %s FROM t", began, ended
    )


def test_the_table_is_created_to_be_appended_to_and_looked_up_by_key(
    small: Capture, source: psycopg.Connection, warehouse: psycopg.Connection
) -> None:
    source.execute("INSERT INTO t VALUES (1, 'first', 1)")
    small.run()
    indexes = warehouse.execute("SELECT indexdef FROM pg_indexes WHERE tablename = 't' ORDER BY 1").fetchall()
    assert [index.partition(" USING ")[2] for (index,) in indexes] == [
        "btree (id, _sync_lsn, _sync_sequence)",
        "btree (_sync_lsn, _sync_sequence)",
    ]


def test_several_tables_share_the_places_in_a_transaction(
    captured: Capture, source: psycopg.Connection, warehouse: psycopg.Connection
) -> None:
    source.execute("CREATE TABLE t (id int PRIMARY KEY)")
    source.execute("CREATE TABLE child (id int PRIMARY KEY, t int REFERENCES t)")
    source.execute("CREATE TABLE other (id int PRIMARY KEY)")
    captured.but(tables=("t", "child", "other")).set_up()
    with source.transaction():
        source.execute("INSERT INTO t VALUES (1)")
        source.execute("INSERT INTO other VALUES (1)")  # published, and not captured
        source.execute("INSERT INTO child VALUES (1, 1)")
        source.execute("TRUNCATE t, child")
    captured.but(tables=("t", "child")).run()
    both = "SELECT _sync_sequence, _sync_op FROM {} ORDER BY 1"
    assert warehouse.execute(both.format("t")).fetchall() == [(1, "insert"), (4, "truncate")]
    assert warehouse.execute(both.format("child")).fetchall() == [(3, "insert"), (4, "truncate")]


# -- values that the log leaves out -----------------------------------------------------------------------


@pytest.mark.scenario("C02")
@pytest.mark.parametrize("piece_changes", [1, 4, 50_000])
@pytest.mark.parametrize("identity", ["DEFAULT", "FULL"])
def test_a_value_kept_out_of_line_is_in_every_row(
    identity: str, piece_changes: int, long: Capture, source: psycopg.Connection, warehouse: psycopg.Connection
) -> None:
    source.execute(f"ALTER TABLE t REPLICA IDENTITY {identity}")
    source.execute(f"INSERT INTO t SELECT i, 'new', {LONG} || i FROM generate_series(1, 3) AS i")
    first: dict[int, str] = dict(source.execute("SELECT id, md5(body) FROM t").fetchall())
    source.execute("UPDATE t SET v = 'changed' WHERE id = 1")
    source.execute(f"UPDATE t SET body = {LONG} WHERE id = 1")
    second = scalar(source, "SELECT md5(body) FROM t WHERE id = 1")
    source.execute("UPDATE t SET v = 'changed again' WHERE id = 1")
    source.execute("UPDATE t SET id = 10 WHERE id = 2")
    source.execute("UPDATE t SET v = 'moved' WHERE id = 10")
    source.execute("UPDATE t SET body = NULL WHERE id = 3")
    source.execute("UPDATE t SET v = 'without' WHERE id = 3")
    source.execute("DELETE FROM t WHERE id = 3")
    source.execute("DELETE FROM t WHERE id = 10")
    source.execute("INSERT INTO t VALUES (3, 'another life', 'short')")
    source.execute("DELETE FROM t WHERE id = 3")
    long.but(limits=CaptureLimits(piece_changes=piece_changes)).run()
    assert told(
        warehouse, "_sync_op, id, v, CASE WHEN length(body) > 10 THEN md5(body) ELSE body END, _sync_unknown"
    ) == [
        ("insert", 1, "new", first[1], None),
        ("insert", 2, "new", first[2], None),
        ("insert", 3, "new", first[3], None),
        ("update", 1, "changed", first[1], None),
        ("update", 1, "changed", second, None),
        ("update", 1, "changed again", second, None),
        ("delete", 2, "new", first[2], None),
        ("insert", 10, "new", first[2], None),
        ("update", 10, "moved", first[2], None),
        ("update", 3, "new", None, None),
        ("update", 3, "without", None, None),
        ("delete", 3, "without", None, None),
        ("delete", 10, "moved", first[2], None),
        ("insert", 3, "another life", "short", None),
        ("delete", 3, "another life", "short", None),
    ]


@pytest.mark.scenario("C02")
@pytest.mark.parametrize("piece_changes", [1, 50_000])
def test_a_value_that_nobody_has_told_is_unknown_and_not_made_up(
    piece_changes: int, captured: Capture, source: psycopg.Connection, warehouse: psycopg.Connection
) -> None:
    """The source has a value, which is of another time."""
    source.execute("CREATE TABLE t (id bigint PRIMARY KEY, v text, body text)")
    source.execute("ALTER TABLE t ALTER body SET STORAGE EXTERNAL")
    source.execute(f"INSERT INTO t SELECT i, 'new', {LONG} FROM generate_series(1, 3) AS i")
    captured.set_up()
    source.execute("UPDATE t SET v = 'changed'")
    source.execute("UPDATE t SET id = 10 WHERE id = 1")
    source.execute("UPDATE t SET v = 'moved' WHERE id = 10")
    source.execute("DELETE FROM t WHERE id = 2")
    source.execute("UPDATE t SET body = 'told' WHERE id = 3")
    captured.but(limits=CaptureLimits(piece_changes=piece_changes)).run()
    assert told(warehouse, "_sync_op, id, v, body, _sync_unknown") == [
        ("update", 1, "changed", None, ["body"]),
        ("update", 2, "changed", None, ["body"]),
        ("update", 3, "changed", None, ["body"]),
        ("delete", 1, "changed", None, ["body"]),
        ("insert", 10, "changed", None, ["body"]),
        ("update", 10, "moved", None, ["body"]),
        ("delete", 2, "changed", None, ["body"]),
        ("update", 3, "changed", "told", None),
    ]


@pytest.mark.scenario("C02")
def test_a_delete_of_a_row_that_was_never_seen_tells_its_key_only(
    captured: Capture, source: psycopg.Connection, warehouse: psycopg.Connection
) -> None:
    source.execute("""CREATE TABLE t (id bigint PRIMARY KEY, v text, "odd ""name"", \\ {%s}" text)""")
    source.execute("INSERT INTO t VALUES (1, 'before', 'x')")
    captured.set_up()
    source.execute("DELETE FROM t")
    captured.run()
    assert told(warehouse, "_sync_op, id, v, _sync_unknown") == [("delete", 1, None, ["v", 'odd "name", \\ {%s}'])]


@pytest.mark.scenario("C02")
def test_the_last_row_is_not_the_last_word_where_one_could_not_be_appended(
    long: Capture, source: psycopg.Connection, warehouse: psycopg.Connection
) -> None:
    patient = long.but(rules=LoadRules(max_errors=5))
    source.execute(f"INSERT INTO t SELECT i, 'new', {LONG} FROM generate_series(1, 2) AS i")
    patient.run()
    warehouse.execute("ALTER TABLE t ADD CHECK (v <> 'bad')")
    source.execute(f"UPDATE t SET v = 'bad', body = {LONG}")
    counts = patient.run().counts
    assert (counts.inserted, counts.errors) == (0, 2)
    source.execute("UPDATE t SET v = 'good' WHERE id = 1")
    source.execute("DELETE FROM t WHERE id = 2")
    patient.run()
    unknown = "SELECT v, body, _sync_unknown FROM t WHERE id = %s ORDER BY _sync_lsn DESC LIMIT 1"
    assert warehouse.execute(unknown, [1]).fetchone() == ("good", None, ["body"])
    assert warehouse.execute(unknown, [2]).fetchone() == (None, None, ["v", "body"])
    assert scalar(warehouse, "SELECT count(*) FROM etl_sync.failed_record WHERE closed_at IS NULL") == 2


@pytest.mark.scenario("C02")
def test_a_life_before_is_not_taken_for_the_one_that_ended(
    long: Capture, source: psycopg.Connection, warehouse: psycopg.Connection
) -> None:
    """Somebody has thrown away the record of the row that could not be appended."""
    patient = long.but(rules=LoadRules(max_errors=5))
    source.execute("INSERT INTO t VALUES (1, 'first life', 'x')")
    source.execute("DELETE FROM t")
    patient.run()
    warehouse.execute("ALTER TABLE t ADD CHECK (v <> 'second life')")
    source.execute("INSERT INTO t VALUES (1, 'second life', 'y')")
    assert patient.run().counts.errors == 1
    warehouse.execute("DELETE FROM etl_sync.failed_record")
    source.execute("DELETE FROM t")
    patient.run()
    assert told(warehouse, "_sync_op, v, _sync_unknown")[2:] == [("delete", None, ["v", "body"])]


@pytest.mark.scenario("C13")
def test_values_of_every_kind_are_the_same_in_each_row_whatever_the_settings(
    captured: Capture, source: psycopg.Connection, warehouse: psycopg.Connection
) -> None:
    for conninfo, database in ((captured.source_db, source), (captured.warehouse_db, warehouse)):
        name = psycopg.conninfo.conninfo_to_dict(conninfo)["dbname"]
        for setting, value in ODD_SETTINGS.items():
            database.execute(f"ALTER DATABASE {name} SET {setting} = '{value}'")
    source.execute(TELLING)
    captured.set_up()
    source.execute(TOLD)
    floats = "(SELECT array_agg(random()) FROM generate_series(1, 2000))"
    source.execute(f"UPDATE t SET bytes = decode({LONG}, 'hex'), tags = ARRAY[{LONG}], floats = {floats}")
    source.execute("CREATE TABLE kept AS TABLE t")
    captured.run()
    source.execute("UPDATE t SET id = 3")
    captured.run()
    source.execute("DELETE FROM t")
    captured.run()
    columns = ", ".join(name for (name,) in source.execute("SELECT attname FROM pg_attribute WHERE attnum > 1"
                        " AND attrelid = 't'::regclass ORDER BY attnum").fetchall())  # fmt: skip
    (expected,) = rows(source, "kept", columns)
    assert [op for (op,) in told(warehouse, "_sync_op")] == ["insert", "update", "delete", "insert", "delete"]
    for at in range(1, 5):
        (row,) = rows(
            warehouse, f"(SELECT * FROM t ORDER BY _sync_lsn, _sync_sequence OFFSET {at} LIMIT 1) AS t", columns
        )
        assert row == expected
    assert scalar(warehouse, "SELECT count(*) FROM t WHERE _sync_unknown IS NOT NULL") == 0


# -- the first copy ---------------------------------------------------------------------------------------


@pytest.mark.scenario("C01")
def test_rows_of_the_first_copy_come_before_the_changes_that_follow(
    captured: Capture, source: psycopg.Connection, warehouse: psycopg.Connection
) -> None:
    source.execute("CREATE TABLE t (id bigint PRIMARY KEY, v text, n numeric(12, 2))")
    source.execute("INSERT INTO t SELECT i, 'old', i FROM generate_series(1, 5) AS i")
    captured.set_up()
    source.execute("UPDATE t SET v = 'before the copy' WHERE id = 1")
    source.execute("DELETE FROM t WHERE id = 5")
    copying = captured.but(copies=True)
    copying.run()
    source.execute("UPDATE t SET v = 'after it' WHERE id = 2")
    source.execute("DELETE FROM t WHERE id = 3")
    copying.run()
    assert told(warehouse) == [
        ("update", 1, "before the copy"),
        ("delete", 5, None),
        ("snapshot", 1, "before the copy"),
        ("snapshot", 2, "old"),
        ("snapshot", 3, "old"),
        ("snapshot", 4, "old"),
        ("update", 2, "after it"),
        ("delete", 3, "old"),
    ]
    assert is_whole(source, warehouse)
    assert scalar(warehouse, "SELECT count(*) FROM t WHERE _sync_committed_at > now() - interval '1 hour'") == 8


@pytest.mark.scenario("C01", "C02")
def test_while_a_table_is_being_copied_a_copied_row_is_not_taken_for_what_was_before_a_change(
    long: Capture, source: psycopg.Connection, warehouse: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A writer goes on between the copy's position and its reading, so the copied row is newer than the change."""
    source.execute(f"INSERT INTO t SELECT i, 'old', {LONG} || i FROM generate_series(1, 3) AS i")
    long.run()
    bodies: dict[int, str] = dict(source.execute("SELECT id, body FROM t").fetchall())
    warehouse.execute("TRUNCATE t")
    real = visibility.wait_until_visible

    def wait_until_visible(*arguments: Any) -> None:
        source.execute("UPDATE t SET v = 'in between'")
        source.execute(f"UPDATE t SET body = {LONG} WHERE id = 1")
        source.execute("DELETE FROM t WHERE id = 2")
        source.execute(f"INSERT INTO t SELECT 2, 'another', {LONG}")
        real(*arguments)

    monkeypatch.setattr("airflow_etl_sync.cdc.postgres.visibility.wait_until_visible", wait_until_visible)
    long.run(resync=True, first_copy=long.copy)
    source.execute("UPDATE t SET v = 'later' WHERE id = 3")
    long.run()
    changed = warehouse.execute(
        "SELECT id, v, body, _sync_unknown FROM t WHERE _sync_op IN ('update', 'delete')"
        " ORDER BY _sync_lsn, _sync_sequence"
    ).fetchall()
    body = scalar(source, "SELECT body FROM t WHERE id = 1")
    assert changed == [
        (1, "in between", None, ["body"]),
        (2, "in between", None, ["body"]),
        (3, "in between", None, ["body"]),
        (1, "in between", body, None),
        (2, "in between", None, ["body"]),
        (3, "later", bodies[3], None),
    ]
    assert is_whole(source, warehouse, "id, v, body")


@pytest.mark.scenario("C01", "C05")
@pytest.mark.parametrize("same_run", [True, False])
@pytest.mark.parametrize(
    "failpoint",
    [
        "after state.cdc_histories:begin_copy 1",
        "after cdc.history_target:HistoryCopy.stage 2",
        "after cdc.history_target:HistoryCopy.merge 2",
        "before state.cdc_pipelines:mark_ready 1",
        "before state.cdc_pipelines:set_applied 1",
        "at the end",
    ],
)
def test_a_copy_that_is_killed_is_not_appended_twice(
    failpoint: str,
    same_run: bool,
    small: Capture,
    source: psycopg.Connection,
    warehouse: psycopg.Connection,
) -> None:
    source.execute("INSERT INTO t SELECT i, 'old', i FROM generate_series(1, 100) AS i")
    copying_run = small.but(copies=True, copy_chunk_rows=30, copy_run="the copy" if same_run else "")
    copying_run.run_killed(failpoint)
    source.execute("UPDATE t SET v = 'changed' WHERE id <= 50")
    source.execute("DELETE FROM t WHERE id = 100")
    copying_run.run("again")
    kinds: dict[str, int] = dict(warehouse.execute("SELECT _sync_op, count(*) FROM t GROUP BY 1").fetchall())
    assert kinds["snapshot"] == scalar(warehouse, "SELECT count(DISTINCT id) FROM t WHERE _sync_op = 'snapshot'")
    assert kinds["snapshot"] in (99, 100)
    assert (kinds["insert"], kinds["update"], kinds["delete"]) == (100, 50, 1)
    assert is_whole(source, warehouse)
    assert staged(warehouse) == 0 or not same_run, "a copy that was given up is swept by age"


# -- crashes and what is told twice -----------------------------------------------------------------------

FAILPOINTS = {
    "peeked": "after cdc.fold:Fold.add 1",
    "staged": "after cdc.appending:HistoryPiece.stage {n}",
    "appended": "after cdc.history_target:HistoryTarget.append {n}",
    **COMMIT_FAILPOINTS,
}


@pytest.mark.scenario("C05")
@pytest.mark.parametrize("point", FAILPOINTS)
def test_killed_anywhere_every_change_is_there_once(
    point: str, long: Capture, source: psycopg.Connection, warehouse: psycopg.Connection
) -> None:
    dice = new_dice()
    source.execute("CREATE TABLE log (number bigserial, op text, id bigint, v text, body text)")
    source.execute(LOGGING)
    source.execute(f"INSERT INTO t SELECT i, 'new', {LONG} FROM generate_series(1, 30) AS i")
    long.run()
    for _ in range(dice.randint(3, 12)):
        _change_at_random(source, dice)
    limits = CaptureLimits(batch_changes=dice.choice([1, 5, 1000]), piece_changes=dice.choice([3, 7, 50_000]))
    nth = dice.randint(1, 2)
    long.but(limits=limits).run_killed(FAILPOINTS[point].format(n=nth), may_survive=nth > 1)
    assert scalar(warehouse, "SELECT count(*) FROM t") == totals(warehouse)[1], "rows and counts are committed together"
    long.but(limits=limits).run("again")
    columns = "op, id, v, md5(body)"
    logged = source.execute(f"SELECT {columns} FROM log ORDER BY number").fetchall()
    assert told(warehouse, columns.replace("op", "_sync_op")) == logged, "what a trigger of the source has seen"
    assert scalar(warehouse, "SELECT count(*) FROM t WHERE _sync_unknown IS NOT NULL") == 0
    assert totals(warehouse)[1:] == (len(logged), 0, 0, 0, 0)
    assert is_whole(source, warehouse, "id, v, body")
    assert staged(warehouse) == 0


LOGGING = """
CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'TRUNCATE' THEN
        INSERT INTO log (op) VALUES ('truncate');
    ELSIF TG_OP = 'UPDATE' AND OLD.id = NEW.id THEN
        INSERT INTO log (op, id, v, body) VALUES ('update', NEW.id, NEW.v, NEW.body);
    ELSE
        IF TG_OP <> 'INSERT' THEN
            INSERT INTO log (op, id, v, body) VALUES ('delete', OLD.id, OLD.v, OLD.body);
        END IF;
        IF TG_OP <> 'DELETE' THEN
            INSERT INTO log (op, id, v, body) VALUES ('insert', NEW.id, NEW.v, NEW.body);
        END IF;
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER noted AFTER INSERT OR UPDATE OR DELETE ON t FOR EACH ROW EXECUTE FUNCTION note();
CREATE TRIGGER emptied AFTER TRUNCATE ON t EXECUTE FUNCTION note()
"""


def _change_at_random(source: psycopg.Connection[Any], dice: random.Random) -> None:
    """A transaction of a few statements."""
    with source.transaction():
        for _ in range(dice.randint(1, 4)):
            one, other = dice.randint(1, 40), dice.randint(41, 80)
            source.execute(
                dice.choice(
                    [
                        f"UPDATE t SET v = 'changed {other}' WHERE id BETWEEN {one} AND {one + 10}",
                        f"DELETE FROM t WHERE id = {one}",
                        f"INSERT INTO t SELECT {other}, 'added', {LONG} ON CONFLICT DO NOTHING",
                        f"UPDATE t SET id = {other} WHERE id = {one} AND NOT EXISTS (SELECT FROM t WHERE id = {other})",
                        f"UPDATE t SET body = {LONG} WHERE id = {one}",
                        f"UPDATE t SET body = NULL WHERE id = {one}",
                        *(["TRUNCATE t"] if dice.random() < 0.2 else []),
                    ]
                )
            )


@pytest.mark.scenario("C06")
def test_changes_that_are_there_already_are_not_appended_again_even_where_the_position_is_forgotten(
    small: Capture, source: psycopg.Connection, warehouse: psycopg.Connection
) -> None:
    """The slot gives everything once more, and nobody remembers that it was applied: their places do."""
    source.execute("INSERT INTO t VALUES (1, 'first', 1)")
    source.execute("UPDATE t SET v = 'changed'")
    small.run_killed("before cdc.postgres.slot:ReplicationSlot.advance 1")
    before = told(warehouse)
    counts = small.run(resync=True).counts
    assert (counts.changes, counts.inserted, counts.skipped) == (2, 0, 2)
    assert [row for row in told(warehouse) if row[0] != "resync"] == before


@pytest.mark.scenario("C06")
def test_places_in_the_log_of_another_server_are_not_taken_for_its_own(
    small: Capture, source: psycopg.Connection, warehouse: psycopg.Connection
) -> None:
    source.execute("INSERT INTO t VALUES (1, 'first', 1)")
    small.run_killed("before cdc.postgres.slot:ReplicationSlot.advance 1")
    warehouse.execute("UPDATE t SET _sync_committed_at = _sync_committed_at - interval '1 day'")
    before = told(warehouse)
    with pytest.raises(StateError, match="made from another server"):
        small.run(resync=True)
    ahead = lsn_text(lsn_of(scalar(source, "SELECT pg_current_wal_lsn()::text")) + 2**40)
    warehouse.execute("UPDATE t SET _sync_lsn = %s WHERE _sync_op = 'insert'", [ahead])
    warehouse.execute("DELETE FROM etl_sync.cdc_table; DELETE FROM etl_sync.cdc_pipeline")
    with pytest.raises(StateError, match="or none yet"):
        small.run()
    assert [row for row in told(warehouse) if row[0] != "resync"] == before


@pytest.mark.scenario("C06", "C07")
def test_a_resync_says_that_changes_may_be_missing_and_tells_the_rows_anew(
    small: Capture, source: psycopg.Connection, warehouse: psycopg.Connection
) -> None:
    copying = small.but(copies=True)
    source.execute("INSERT INTO t VALUES (1, 'stays', 1), (2, 'goes', 2)")
    copying.run()
    small.slot.tear_down()
    source.execute("DELETE FROM t WHERE id = 2")
    source.execute("UPDATE t SET v = 'nobody saw it' WHERE id = 1")
    small.set_up()
    with pytest.raises(StateError, match="Run once with resync"):
        copying.run()
    copying.run(resync=True)
    source.execute("DELETE FROM t WHERE id = 1")
    copying.run()
    assert told(warehouse)[-3:] == [
        ("resync", None, None),
        ("snapshot", 1, "nobody saw it"),
        ("delete", 1, "nobody saw it"),
    ]
    assert is_whole(source, warehouse)


@pytest.mark.scenario("C01")
def test_a_table_that_was_left_out_for_a_while_says_that_changes_may_be_missing(
    small: Capture, source: psycopg.Connection, warehouse: psycopg.Connection
) -> None:
    source.execute("CREATE TABLE other (id int PRIMARY KEY)")
    both = small.but(copies=True, tables=("t", "other"))
    both.set_up()
    source.execute("INSERT INTO t VALUES (1, 'seen', 1)")
    both.run()
    source.execute("UPDATE t SET v = 'unseen' WHERE id = 1")
    both.but(tables=("other",)).run()
    both.run()
    assert told(warehouse)[-2:] == [("resync", None, None), ("snapshot", 1, "unseen")]
    assert is_whole(source, warehouse)


@pytest.mark.scenario("C02", "C06")
def test_what_a_row_was_before_a_gap_is_not_taken_for_what_it_was_behind_it(
    long: Capture, source: psycopg.Connection, warehouse: psycopg.Connection
) -> None:
    source.execute(f"INSERT INTO t SELECT i, 'new', {LONG} FROM generate_series(1, 2) AS i")
    long.run()
    long.slot.tear_down()
    source.execute(f"UPDATE t SET body = {LONG}")
    long.set_up()
    source.execute("UPDATE t SET v = 'changed' WHERE id = 1")
    source.execute("DELETE FROM t WHERE id = 2")
    long.run(resync=True)
    assert told(warehouse, "_sync_op, v, body, _sync_unknown")[-2:] == [
        ("update", "changed", None, ["body"]),
        ("delete", None, None, ["v", "body"]),
    ]


# -- columns and rows that do not fit ---------------------------------------------------------------------


@pytest.mark.scenario("C10")
def test_columns_that_come_and_change_in_mid_stream(
    small: Capture, source: psycopg.Connection, warehouse: psycopg.Connection
) -> None:
    source.execute("INSERT INTO t VALUES (1, 'old shape', 1)")
    with source.transaction():
        source.execute("ALTER TABLE t ADD COLUMN extra int, ALTER n TYPE numeric(20, 4)")
        source.execute("INSERT INTO t VALUES (2, 'new shape', 1234567890123456.7891, 7)")
    source.execute("DELETE FROM t WHERE id = 2")
    small.run()
    source.execute("ALTER TABLE t DROP COLUMN extra")
    source.execute("INSERT INTO t VALUES (3, 'without', 1)")
    small.run()
    assert told(warehouse, "_sync_op, id, n::text, extra") == [
        ("insert", 1, "1.0000", None),
        ("insert", 2, "1234567890123456.7891", 7),
        ("delete", 2, "1234567890123456.7891", 7),
        ("insert", 3, "1.0000", None),
    ]
    frozen = small.but(rules=LoadRules(schema_contract="freeze"))
    source.execute("ALTER TABLE t ADD COLUMN another int")
    source.execute("INSERT INTO t VALUES (4, 'refused', 1)")
    with pytest.raises(SchemaError, match="no column another"):
        frozen.run()
    narrow = small.but(rules=LoadRules(schema_contract="discard_column"))
    assert narrow.run().counts.inserted == 1


@pytest.mark.scenario("C10")
def test_rows_that_do_not_fit_are_kept_and_can_be_appended_in_their_place_later(
    small: Capture, source: psycopg.Connection, warehouse: psycopg.Connection
) -> None:
    from airflow_etl_sync.core.model import RunIdentity, TableName
    from airflow_etl_sync.journey.failed_records import replay_all
    from airflow_etl_sync.systems.postgres.access import PostgresAccess
    from airflow_etl_sync.systems.postgres.destination import PostgresDestination

    source.execute("INSERT INTO t SELECT i, 'new', i FROM generate_series(1, 20) AS i")
    small.run()
    warehouse.execute("ALTER TABLE t ADD CONSTRAINT good CHECK (v <> 'bad')")
    source.execute("UPDATE t SET v = 'bad' WHERE id <= 3")
    source.execute("UPDATE t SET v = 'mended' WHERE id <= 2")
    with pytest.raises(DataError):
        small.run()
    counts = small.but(rules=LoadRules(max_errors=5)).run().counts
    assert (counts.inserted, counts.errors) == (2, 3)
    still_open = "SELECT count(*) FROM etl_sync.failed_record WHERE closed_at IS NULL"
    assert scalar(warehouse, still_open) == 3, "no later row says what these have said"
    warehouse.execute("ALTER TABLE t DROP CONSTRAINT good")
    access = PostgresAccess(small.warehouse_db)
    replay_all(
        lambda table: PostgresDestination(access, TableName.parse(str(table))), access.engine(), "changes",
        RunIdentity("dag", "task", "replay"),
    )  # fmt: skip
    assert scalar(warehouse, still_open) == 0
    assert told(warehouse)[20:] == [
        ("update", 1, "bad"), ("update", 2, "bad"), ("update", 3, "bad"),
        ("update", 1, "mended"), ("update", 2, "mended"),
    ]  # fmt: skip


def test_a_table_that_is_no_history_is_refused_and_stays_as_it_is(
    small: Capture, source: psycopg.Connection, warehouse: psycopg.Connection
) -> None:
    source.execute("INSERT INTO t VALUES (1, 'kept', 1)")
    small.but(apply="upsert").run()
    source.execute("UPDATE t SET v = 'changed'")
    with pytest.raises(SchemaError, match="is no history, as it lacks _sync_op text"):
        small.run()
    assert warehouse.execute("SELECT v FROM t").fetchall() == [("kept",)]
    small.but(apply="upsert").run()
    assert warehouse.execute("SELECT v FROM t").fetchall() == [("changed",)]


def test_columns_of_the_source_that_have_its_names_are_refused(captured: Capture, source: psycopg.Connection) -> None:
    source.execute("CREATE TABLE t (id bigint PRIMARY KEY, _sync_op text)")
    captured.set_up()
    source.execute("INSERT INTO t VALUES (1, 'x')")
    with pytest.raises(SchemaError, match="_sync_op of the source has a name that the history"):
        captured.run()
    with pytest.raises(SchemaError, match="_sync_op of the source has a name that the history"):
        captured.run(resync=True, first_copy=captured.copy)


# -- partitions and filters -------------------------------------------------------------------------------


@pytest.mark.scenario("C04", "C15")
def test_partitions_are_told_as_their_root(
    captured: Capture, source: psycopg.Connection, warehouse: psycopg.Connection
) -> None:
    source.execute("CREATE TABLE t (id int PRIMARY KEY, v text) PARTITION BY RANGE (id)")
    source.execute("CREATE TABLE low PARTITION OF t FOR VALUES FROM (0) TO (10)")
    source.execute("CREATE TABLE high PARTITION OF t FOR VALUES FROM (10) TO (100)")
    source.execute("ALTER TABLE t REPLICA IDENTITY FULL")
    captured.set_up()
    source.execute("INSERT INTO t VALUES (1, 'a'), (20, 'b')")
    source.execute("UPDATE t SET id = 30 WHERE id = 1")
    source.execute("DELETE FROM t WHERE id = 20")
    assert captured.run().warnings == ()
    assert told(warehouse) == [
        ("insert", 1, "a"), ("insert", 20, "b"), ("delete", 1, "a"), ("insert", 30, "a"), ("delete", 20, "b")
    ]  # fmt: skip
    source.execute("TRUNCATE t")
    assert captured.run().warnings == ()
    source.execute("TRUNCATE low")
    (warning,) = captured.run().warnings
    assert "A partition of public.t was emptied" in warning and "its history lacks that" in warning
    assert told(warehouse)[5:] == [("truncate", None, None)]


@pytest.mark.scenario("C15")
def test_a_row_that_comes_back_past_the_filter_has_another_life(
    long: Capture, source: psycopg.Connection, warehouse: psycopg.Connection
) -> None:
    source.execute(f"ALTER PUBLICATION {long.slot_name} SET TABLE t WHERE (id > 10)")
    source.execute(f"INSERT INTO t SELECT 20, 'in', {LONG}")
    source.execute("UPDATE t SET id = 1")
    long.run()
    source.execute(f"UPDATE t SET body = {LONG}")  # nobody is told
    source.execute("UPDATE t SET id = 20")
    long.run()
    source.execute("UPDATE t SET v = 'changed'")
    long.run()
    assert told(warehouse, "_sync_op, id, body IS NULL, _sync_unknown") == [
        ("insert", 20, False, None), ("delete", 20, False, None),
        ("insert", 20, True, ["body"]), ("update", 20, True, ["body"]),
    ]  # fmt: skip


# -- size -------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.scenario("C09")
def test_a_huge_transaction(small: Capture, source: psycopg.Connection, warehouse: psycopg.Connection) -> None:
    size = int(os.environ.get("ETL_SYNC_TEST_CDC_ROWS", "200000"))
    with source.transaction():
        source.execute("INSERT INTO t SELECT i, md5(i::text), i / 7.0 FROM generate_series(1, %s) AS i", [size])
        source.execute("UPDATE t SET v = 'paid'")
        source.execute("DELETE FROM t WHERE id % 2 = 0")
    measured = small.run_measured()
    assert measured["report"]["inserted"] == size * 5 // 2
    assert measured["report"]["transactions"] == 1
    assert not measured["has_airflow"]
    assert measured["peak_bytes"] < 300_000_000, measured
    assert scalar(warehouse, "SELECT count(DISTINCT _sync_sequence) FROM t") == size * 5 // 2
    assert is_whole(source, warehouse)
