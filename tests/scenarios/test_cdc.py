"""C02 to C06, C10 to C13, C15: changes of a source, captured, make the destination equal to it."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest

from airflow_etl_sync.cdc.apply import Applier, StagedFold
from airflow_etl_sync.cdc.postgres.slot import ReplicationSlot
from airflow_etl_sync.core.changes import lsn_of
from airflow_etl_sync.core.model import LoadRules
from airflow_etl_sync.demo.postgres import EmbeddedPostgres
from airflow_etl_sync.errors import DataError, SchemaError, StateError
from airflow_etl_sync.state import cdc_pipelines
from airflow_etl_sync.state.cdc_pipelines import Pipeline
from airflow_etl_sync.systems.postgres.access import PostgresAccess
from tests.placing import quickest_place
from tests.scenarios.reconciling import staged
from tests.scenarios.streaming import COMMIT_FAILPOINTS, Capture, Slots, new_dice, rows, same, totals
from tests.scenarios.world import scalar

LONG = "(SELECT string_agg(md5(random()::text || i::text), '') FROM generate_series(1, 320) AS i)"
"""10 KB that no compression makes small enough to stay in the row."""


@pytest.fixture
def captured(source_db: str, warehouse_db: str, slots: Slots, tmp_path: Path) -> Capture:
    """Table ``t`` is to be captured; a test makes it and sets up."""
    return Capture(source_db, warehouse_db, slots(source_db), tmp_path)


@pytest.fixture
def small(captured: Capture, source: psycopg.Connection) -> Capture:
    """A table of 100 rows that has been captured once."""
    source.execute("CREATE TABLE t (id bigint PRIMARY KEY, v text, n numeric(12, 2))")
    captured.set_up()
    source.execute("INSERT INTO t SELECT i, 'new', i FROM generate_series(1, 100) AS i")
    assert captured.run().counts.inserted == 100
    return captured


def test_inserts_updates_deletes_and_what_came_of_them(
    small: Capture, source: psycopg.Connection, warehouse: psycopg.Connection
) -> None:
    source.execute("UPDATE t SET v = 'changed' WHERE id <= 10")
    source.execute("DELETE FROM t WHERE id > 95")
    source.execute("INSERT INTO t VALUES (200, 'added', 2)")
    counts = small.run().counts
    assert (counts.changes, counts.inserted, counts.updated, counts.deleted, counts.transactions) == (16, 1, 10, 5, 3)
    assert same(source, warehouse)
    assert totals(warehouse) == (116, 101, 10, 0, 0, 5)
    assert small.run().counts.changes == 0


@pytest.mark.scenario("C02")
@pytest.mark.parametrize("identity", ["DEFAULT", "FULL"])
@pytest.mark.parametrize("null", ["", "NOT NULL"])
def test_a_value_kept_out_of_line_survives(
    identity: str, null: str, captured: Capture, source: psycopg.Connection, warehouse: psycopg.Connection
) -> None:
    source.execute(f"CREATE TABLE t (id bigint PRIMARY KEY, v text, body text {null}, other bytea)")
    source.execute("ALTER TABLE t ALTER body SET STORAGE EXTERNAL, ALTER other SET STORAGE EXTERNAL")
    source.execute(f"ALTER TABLE t REPLICA IDENTITY {identity}")
    captured.set_up()
    long = f"{LONG}, decode({LONG}, 'hex')"
    for i in range(1, 9):
        source.execute(f"INSERT INTO t SELECT {i}, 'new', {long}")
    captured.run()
    assert same(source, warehouse)
    source.execute("UPDATE t SET v = 'changed' WHERE id = 1")  # both stay
    source.execute(f"UPDATE t SET other = decode({LONG}, 'hex') WHERE id = 2")  # one stays
    source.execute(f"INSERT INTO t SELECT 20, 'new', {long}")  # inserted and updated in one batch
    source.execute("UPDATE t SET v = 'changed' WHERE id = 20")
    source.execute("UPDATE t SET id = 30 WHERE id = 3")  # a new key
    source.execute("UPDATE t SET id = 40 WHERE id = 4")  # a new key, twice, and another value
    source.execute("UPDATE t SET v = 'moved' WHERE id = 40")
    source.execute("UPDATE t SET id = 41 WHERE id = 40")
    source.execute(f"INSERT INTO t SELECT 4, 'in its place', {long}")
    source.execute("UPDATE t SET id = 50 WHERE id = 5")  # into the place of one that went
    source.execute("UPDATE t SET id = 5 WHERE id = 6")
    counts = captured.run().counts
    assert same(source, warehouse)
    assert counts.skipped == 0 and counts.errors == 0
    source.execute("UPDATE t SET id = 999 WHERE id = 7")
    source.execute("UPDATE t SET id = 7 WHERE id = 8")
    source.execute("UPDATE t SET id = 8 WHERE id = 999")
    captured.run()
    assert same(source, warehouse)


@pytest.mark.scenario("C02")
def test_a_value_that_nobody_has_told_comes_from_the_source(
    captured: Capture, source: psycopg.Connection, warehouse: psycopg.Connection
) -> None:
    source.execute("CREATE TABLE t (id bigint PRIMARY KEY, v text, body text)")
    source.execute("ALTER TABLE t ALTER body SET STORAGE EXTERNAL")
    source.execute(f"INSERT INTO t SELECT i, 'new', {LONG} FROM generate_series(1, 3) AS i")
    captured.set_up()
    source.execute("UPDATE t SET v = 'changed'")
    source.execute("UPDATE t SET id = 10 WHERE id = 1")
    captured.run()
    assert same(source, warehouse)


@pytest.mark.scenario("C02")
def test_a_row_that_is_gone_at_the_source_is_left_to_the_change_that_says_so(
    captured: Capture, source: psycopg.Connection, warehouse: psycopg.Connection
) -> None:
    source.execute("CREATE TABLE t (id bigint PRIMARY KEY, v text, body text)")
    source.execute("ALTER TABLE t ALTER body SET STORAGE EXTERNAL")
    source.execute(f"INSERT INTO t SELECT i, 'new', {LONG} FROM generate_series(1, 3) AS i")
    captured.set_up()
    source.execute("UPDATE t SET v = 'changed'")
    source.execute("DELETE FROM t WHERE id = 2")
    small = captured.but(limits=_limits(piece_changes=3))
    counts = small.run().counts
    assert (counts.inserted, counts.skipped) == (2, 1)
    assert same(source, warehouse)


TWO_OF_THEM = """
CREATE TABLE t (id bigint PRIMARY KEY, v text, body text);
ALTER TABLE t ALTER body SET STORAGE EXTERNAL
"""


@pytest.mark.scenario("C01", "C02")
def test_while_a_table_is_being_copied_a_moved_row_is_not_taken_for_what_stands_in_its_place(
    captured: Capture, source: psycopg.Connection, warehouse: psycopg.Connection
) -> None:
    source.execute(TWO_OF_THEM)
    source.execute(f"INSERT INTO t SELECT i, 'row ' || i, {LONG} || i FROM generate_series(1, 2) AS i")
    captured.set_up()
    source.execute("UPDATE t SET id = 3 WHERE id = 1")
    source.execute("UPDATE t SET id = 1 WHERE id = 2")  # and now it is copied
    captured.but(limits=_limits(piece_changes=1)).run(first_copy=captured.copy)
    assert same(source, warehouse)


@pytest.mark.scenario("C02")
@pytest.mark.parametrize("batch_changes", [1, 1000])
def test_a_value_read_again_at_the_source_is_not_handed_on_as_what_was_there_before(
    batch_changes: int, captured: Capture, source: psycopg.Connection, warehouse: psycopg.Connection
) -> None:
    """Read at the source by its key of then, a row may be another one that has taken its place since."""
    source.execute(TWO_OF_THEM)
    source.execute(f"INSERT INTO t SELECT i, 'row ' || i, {LONG} || i FROM generate_series(1, 2) AS i")
    captured.set_up()
    source.execute("UPDATE t SET id = 5 WHERE id = 1")
    source.execute("UPDATE t SET id = 6 WHERE id = 5")
    source.execute("UPDATE t SET id = 5 WHERE id = 2")
    captured.but(limits=_limits(batch_changes=batch_changes, piece_changes=1)).run()
    assert same(source, warehouse)


@pytest.mark.scenario("C03")
def test_keys_that_change_and_keys_that_are_swapped(
    small: Capture, source: psycopg.Connection, warehouse: psycopg.Connection
) -> None:
    source.execute("UPDATE t SET id = 1000 WHERE id = 1")
    with source.transaction():
        source.execute("UPDATE t SET v = 'was 2' WHERE id = 2")
        source.execute("UPDATE t SET v = 'was 3' WHERE id = 3")
        source.execute("UPDATE t SET id = -1 WHERE id = 2")
        source.execute("UPDATE t SET id = 2 WHERE id = 3")
        source.execute("UPDATE t SET id = 3 WHERE id = -1")
    small.run()
    assert same(source, warehouse)
    assert scalar(warehouse, "SELECT v FROM t WHERE id = 2") == "was 3"


@pytest.mark.scenario("C03")
def test_swapped_values_of_another_unique_key(
    captured: Capture, source: psycopg.Connection, warehouse: psycopg.Connection
) -> None:
    for database in (source, warehouse):
        database.execute("CREATE TABLE t (id numeric PRIMARY KEY, email text UNIQUE, v text)")
    warehouse.execute("ALTER TABLE t ADD COLUMN note text")
    captured.set_up()
    source.execute("INSERT INTO t SELECT i, 'mail ' || i FROM generate_series(1, 5) AS i")
    captured.run()
    warehouse.execute("UPDATE t SET note = 'ours'")
    with source.transaction():
        source.execute("UPDATE t SET email = 'x' WHERE id = 1")
        source.execute("UPDATE t SET email = 'mail 1' WHERE id = 2")
        source.execute("UPDATE t SET email = 'mail 2' WHERE id = 1")
    source.execute("DELETE FROM t WHERE id = 3")
    source.execute("INSERT INTO t VALUES (6, 'mail 3')")
    source.execute("UPDATE t SET v = 'changed' WHERE id = 4")
    source.execute("UPDATE t SET id = 5.00 WHERE id = 5")
    counts = captured.run().counts
    assert rows(warehouse, columns="id, email, v") == rows(source)
    assert (counts.inserted, counts.updated, counts.deleted) == (2, 3, 2)
    assert scalar(warehouse, "SELECT note FROM t WHERE id = 4") == "ours"


@pytest.mark.scenario("C04")
@pytest.mark.parametrize("delete", ["hard", "soft"])
def test_truncate_is_applied_in_its_order(
    delete: Any, small: Capture, source: psycopg.Connection, warehouse: psycopg.Connection
) -> None:
    source.execute("INSERT INTO t VALUES (300, 'before')")
    source.execute("TRUNCATE t")
    source.execute("INSERT INTO t VALUES (1, 'after'), (400, 'after')")
    counts = small.but(delete=delete).run().counts
    assert counts.truncated == 1
    if delete == "soft":
        warehouse.execute("CREATE VIEW live AS SELECT id, v, n FROM t WHERE NOT _sync_deleted")
    assert rows(warehouse, "t" if delete == "hard" else "live") == rows(source)
    assert scalar(warehouse, "SELECT count(*) FROM t") == (2 if delete == "hard" else 101)


@pytest.mark.scenario("C04")
def test_tables_that_reference_each_other_are_truncated_together(
    captured: Capture, source: psycopg.Connection, warehouse: psycopg.Connection
) -> None:
    for database in (source, warehouse):
        database.execute("CREATE TABLE t (id int PRIMARY KEY)")
        database.execute("CREATE TABLE child (id int PRIMARY KEY, t int NOT NULL REFERENCES t)")
    warehouse.execute("CREATE TABLE stranger (id int PRIMARY KEY, t int REFERENCES t)")
    both = captured.but(tables=("child", "t"))
    both.set_up()
    source.execute("INSERT INTO t VALUES (1), (2)")
    source.execute("INSERT INTO child VALUES (1, 1), (2, 2)")
    both.run()
    source.execute("TRUNCATE t, child")
    source.execute("INSERT INTO t VALUES (3)")
    assert both.run().counts.truncated == 2
    assert same(source, warehouse, "t", "child")


@pytest.mark.scenario("C04")
def test_a_partition_truncated_by_itself_is_noticed(
    captured: Capture, source: psycopg.Connection, warehouse: psycopg.Connection
) -> None:
    _partitioned(source)
    captured.set_up()
    source.execute("INSERT INTO t SELECT i, 'new' FROM generate_series(1, 20) AS i")
    assert captured.run().warnings == ()
    source.execute("TRUNCATE low")
    (warning,) = captured.run().warnings
    assert "A partition of public.t was emptied" in warning
    assert captured.run().warnings == ()
    source.execute("TRUNCATE t")
    assert captured.run().warnings == ()
    assert same(source, warehouse)


# -- crashes ----------------------------------------------------------------------------------------------

FAILPOINTS = {
    "peeked": "after cdc.fold:Fold.add_rows 1",
    "staged": "after cdc.piece:TablePiece.stage {n}",
    "merged": "after systems.postgres.destination:PostgresDestination.merge {n}",
    "deleted": "after cdc.piece:TablePiece.delete {n}",
    **COMMIT_FAILPOINTS,
}


@pytest.mark.scenario("C05")
@pytest.mark.parametrize("point", FAILPOINTS)
def test_killed_anywhere_nothing_is_lost_and_nothing_applied_twice(
    point: str, captured: Capture, source: psycopg.Connection, warehouse: psycopg.Connection
) -> None:
    dice = new_dice()
    source.execute("CREATE TABLE t (id bigint PRIMARY KEY, v text, body text)")
    source.execute("ALTER TABLE t ALTER body SET STORAGE EXTERNAL")
    captured.set_up()
    source.execute(f"INSERT INTO t SELECT i, 'new', {LONG} FROM generate_series(1, 60) AS i")
    captured.run()
    for _ in range(dice.randint(3, 12)):
        _change_at_random(source, dice)
    captured = captured.but(
        limits=_limits(batch_changes=dice.choice([1, 5, 1000]), piece_changes=dice.choice([3, 7, 50_000]))
    )
    changes = _changes_waiting(source, captured)
    with _counted(warehouse):
        nth = dice.randint(1, 2)
        captured.run_killed(FAILPOINTS[point].format(n=nth), may_survive=nth > 1)
        assert _written(warehouse) == _told(warehouse), "rows, position and counts are committed together"
        captured.run("again")
        assert same(source, warehouse)
        assert totals(warehouse)[0] - 60 == changes, "each change is counted once, by whichever run applied it"
        assert _written(warehouse) == _told(warehouse)
    source.execute("INSERT INTO t VALUES (1000, 'a last one')")
    assert captured.run().counts.changes == 1
    assert staged(warehouse) == 0, "what a killed run has staged is swept by the next one that stages"


def _change_at_random(source: psycopg.Connection[Any], dice: random.Random) -> None:
    """A transaction of a few statements."""
    with source.transaction():
        for _ in range(dice.randint(1, 4)):
            one, other = dice.randint(1, 80), dice.randint(81, 200)
            source.execute(
                dice.choice(
                    [
                        f"UPDATE t SET v = 'changed {other}' WHERE id BETWEEN {one} AND {one + 10}",
                        f"DELETE FROM t WHERE id = {one}",
                        f"INSERT INTO t SELECT {other}, 'added', {LONG} ON CONFLICT DO NOTHING",
                        f"UPDATE t SET id = {other} WHERE id = {one} AND NOT EXISTS (SELECT FROM t WHERE id = {other})",
                        f"UPDATE t SET body = {LONG} WHERE id = {one}",
                    ]
                )
            )


def _changes_waiting(source: psycopg.Connection[Any], captured: Capture) -> int:
    """The changes of rows that the slot has, counted by another reader of it."""
    return int(
        scalar(
            source,
            "SELECT count(*) FROM pg_logical_slot_peek_binary_changes("
            "%s, NULL, NULL, 'proto_version', '1', 'publication_names', %s)"
            " WHERE get_byte(data, 0) IN (73, 85, 68, 84)",
            captured.slot_name,
            captured.slot_name,
        )
    )


@contextmanager
def _counted(warehouse: psycopg.Connection[Any]) -> Iterator[None]:
    """Let the table itself count what is written to it, in the transactions that write."""
    warehouse.execute("CREATE TABLE written (what text)")
    warehouse.execute(
        "CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$"
        " BEGIN INSERT INTO public.written VALUES (TG_OP); RETURN NULL; END $$"
    )
    warehouse.execute("CREATE TRIGGER noted AFTER INSERT OR UPDATE OR DELETE ON t FOR EACH ROW EXECUTE FUNCTION note()")
    yield
    warehouse.execute("DROP TRIGGER noted ON t")


def _written(warehouse: psycopg.Connection[Any]) -> tuple[int, ...]:
    return tuple(
        int(scalar(warehouse, "SELECT count(*) FROM written WHERE what = %s", what))
        for what in ("INSERT", "UPDATE", "DELETE")
    )


def _told(warehouse: psycopg.Connection[Any]) -> tuple[int, ...]:
    _, inserted, updated, _, _, deleted = totals(warehouse)
    return inserted - 60, updated, deleted


@pytest.mark.scenario("C06")
def test_acknowledged_changes_that_come_again_are_skipped(
    small: Capture, source: psycopg.Connection, warehouse: psycopg.Connection
) -> None:
    """As after a crash of the primary, whose slot may have lost the last acknowledgement: here it was never given."""
    warehouse.execute("CREATE TABLE log (at timestamptz DEFAULT clock_timestamp())")
    source.execute("UPDATE t SET v = v || '+'")
    source.execute("DELETE FROM t WHERE id = 1")
    small.run_killed("before cdc.postgres.slot:ReplicationSlot.advance 1")
    assert same(source, warehouse)
    waiting, before = _changes_waiting(source, small), totals(warehouse)
    assert waiting == 101
    warehouse.execute("UPDATE t SET v = 'ours' WHERE id = 2")  # applied again, it would be overwritten
    source.execute("INSERT INTO t VALUES (1, 'is back')")
    counts = small.run().counts
    assert (counts.changes, counts.inserted, counts.updated, counts.deleted) == (1, 1, 0, 0)
    assert totals(warehouse) == tuple(a + b for a, b in zip(before, (1, 1, 0, 0, 0, 0), strict=True))
    assert scalar(warehouse, "SELECT v FROM t WHERE id = 2") == "ours"
    assert _changes_waiting(source, small) == 0


@pytest.mark.scenario("C06")
def test_positions_are_compared_as_numbers(
    small: Capture, source: psycopg.Connection, warehouse: psycopg.Connection
) -> None:
    """As text, F/0 comes after 10/0."""
    assert lsn_of("F/FFFFFFFF") < lsn_of("10/0")
    warehouse.execute("UPDATE etl_sync.cdc_pipeline SET applied_lsn = '10/0', committed_lsn = 'FF/1'")
    engine = PostgresAccess(small.warehouse_db).engine()
    with engine.begin() as state:
        pipeline = cdc_pipelines.locked(state, "changes")
        assert (pipeline.applied, pipeline.committed) == (0x10_00000000, 0xFF_00000001)
        cdc_pipelines.set_applied(state, "changes", lsn_of("100/A"))
        assert cdc_pipelines.applied(state, "changes") == 0x100_0000000A


@pytest.mark.scenario("C06")
def test_a_slot_that_has_gone_on_without_the_stream_asks_for_a_resync(
    small: Capture, source: psycopg.Connection, warehouse: psycopg.Connection
) -> None:
    source.execute("UPDATE t SET v = 'lost' WHERE id = 1")
    small.slot.tear_down()
    small.set_up()
    with pytest.raises(StateError, match="what lies between is lost"):
        small.run()
    with pytest.raises(StateError, match="what lies between is lost"):
        small.run()
    source.execute("UPDATE t SET v = 'seen' WHERE id = 2")
    small.run(resync=True)
    assert scalar(warehouse, "SELECT v FROM t WHERE id = 2") == "seen"


@pytest.mark.scenario("C06")
@pytest.mark.parametrize(
    ("loss", "moment"),
    [
        *[("made anew", moment) for moment in ("begun", "committed")],  # else it waits for the run's own transaction
        *[("read by another", moment) for moment in ("begun", "peeking", "peeked", "committed")],
    ],
)
def test_a_slot_that_goes_on_without_the_stream_while_a_run_reads_it_stops_the_run(
    loss: str, moment: str, small: Capture, source: psycopg.Connection, warehouse: psycopg.Connection
) -> None:
    for id_ in (1, 2):  # a batch each
        source.execute("UPDATE t SET v = 'told' WHERE id = %s", [id_])
    small = small.but(limits=_limits(batch_changes=1))

    class Lost(ReplicationSlot):
        flushes = 0
        is_lost = False

        def lose(self, now: str) -> None:
            if now == moment and not self.is_lost:
                self.is_lost = True
                _lose(loss, small, source)

        def flushed(self) -> int:
            self.flushes += 1
            if self.flushes == 2:  # the first is asked for where the run begins
                self.lose("begun")
            return super().flushed()

        def peek(self, upto: int, changes: int, *, pipeline: Pipeline | None = None) -> Any:
            self.lose("peeking")
            messages = list(super().peek(upto, changes))
            self.lose("peeked")
            yield from messages

        def advance(self, to: int) -> None:
            self.lose("committed")
            super().advance(to)

    slot = Lost(PostgresAccess(small.source_db), small.slot_name, small.slot_name)
    with pytest.raises(StateError, match="what lies between is lost"):
        small.run(slot=slot)
    with pytest.raises(StateError, match="what lies between is lost"):
        small.run()
    small.run(resync=True, first_copy=small.copy)
    assert same(source, warehouse)


def _lose(loss: str, captured: Capture, source: psycopg.Connection[Any]) -> None:
    """Let a change be lost, and another one told."""
    if loss == "made anew":
        captured.slot.tear_down()
    source.execute("UPDATE t SET v = 'lost' WHERE id = 3")
    if loss == "made anew":
        captured.set_up()
    else:
        source.execute("SELECT pg_replication_slot_advance(%s, pg_current_wal_flush_lsn())", [captured.slot_name])
    source.execute("UPDATE t SET v = 'told' WHERE id = 4")


@pytest.mark.scenario("C06")
def test_a_resync_is_not_stopped_by_a_run_that_acknowledges_late_what_it_has_applied(
    small: Capture, source: psycopg.Connection, warehouse: psycopg.Connection
) -> None:
    source.execute("UPDATE t SET v = 'changed'")
    small.run_killed("before cdc.postgres.slot:ReplicationSlot.advance 1")  # it could as well be slow
    applied = lsn_of(scalar(warehouse, "SELECT applied_lsn FROM etl_sync.cdc_pipeline"))

    def copy(*missing: Any) -> None:
        small.slot.advance(applied)
        small.copy(*missing)

    source.execute("UPDATE t SET v = 'changed again' WHERE id = 1")
    small.run(resync=True, first_copy=copy)
    assert same(source, warehouse)
    assert small.run().counts.changes == 0


@pytest.mark.scenario("C05")
def test_a_run_that_another_has_taken_over_from_stops(
    small: Capture, source: psycopg.Connection, warehouse: psycopg.Connection
) -> None:
    source.execute("UPDATE t SET v = 'changed'")

    class Overtaken(ReplicationSlot):
        def flushed(self) -> int:
            small.run("the newer")
            return super().flushed()

    slot = Overtaken(PostgresAccess(small.source_db), small.slot_name, small.slot_name)
    with pytest.raises(StateError, match="A newer run"):
        small.run("the older", slot=slot)
    assert same(source, warehouse)
    assert totals(warehouse) == (200, 100, 100, 0, 0, 0)


@pytest.fixture
def family(captured: Capture, source: psycopg.Connection, warehouse: psycopg.Connection) -> Capture:
    """Parents, each with a child; pieces are smaller than what is done to them; the source lets children go along."""
    for database, terms in (
        (source, "ON DELETE CASCADE ON UPDATE CASCADE DEFERRABLE INITIALLY DEFERRED"),
        (warehouse, ""),
    ):
        database.execute("CREATE TABLE parent (id int PRIMARY KEY, v text)")
        database.execute(f"CREATE TABLE child (id int PRIMARY KEY, parent int REFERENCES parent {terms})")
    family = captured.but(tables=("child", "parent"), limits=_limits(piece_changes=2))
    family.set_up()
    source.execute("INSERT INTO parent SELECT i, 'p' FROM generate_series(1, 4) AS i")
    source.execute("INSERT INTO child SELECT i, i FROM generate_series(1, 4) AS i")
    family.run()
    return family


@pytest.mark.scenario("C09")
@pytest.mark.scenario("C11")
@pytest.mark.parametrize("deed", ["DELETE FROM parent WHERE id <= 2", "UPDATE parent SET id = id + 100 WHERE id <= 2"])
def test_a_piece_that_ends_between_parents_and_their_children_grows(
    deed: str, family: Capture, source: psycopg.Connection, warehouse: psycopg.Connection
) -> None:
    """The log tells what a statement did to parents before what its foreign keys then did to their children."""
    before = totals(warehouse)
    source.execute(deed)
    counts = family.run().counts
    assert same(source, warehouse, *family.tables)
    assert counts.deleted == (4 if deed.startswith("DELETE") else 2)
    assert totals(warehouse)[0] - before[0] == counts.changes == 4


@pytest.mark.scenario("C11")
def test_a_child_whose_parent_is_still_to_come_is_no_failed_record(
    family: Capture, source: psycopg.Connection, warehouse: psycopg.Connection
) -> None:
    with source.transaction():
        source.execute("SET CONSTRAINTS ALL DEFERRED")
        source.execute("INSERT INTO child VALUES (5, 5), (6, 6)")
        source.execute("INSERT INTO parent VALUES (5, 'p'), (6, 'p')")
    warehouse.execute("ALTER TABLE parent ADD CHECK (v <> 'bad')")
    source.execute("INSERT INTO parent VALUES (7, 'bad')")
    counts = family.but(rules=LoadRules(max_errors=5)).run().counts
    assert (counts.inserted, counts.errors) == (4, 1)
    assert same(source, warehouse, "child")
    assert warehouse.execute("SELECT key->>0 FROM etl_sync.failed_record").fetchall() == [("7",)]


@pytest.mark.scenario("C11")
def test_a_parent_that_goes_before_its_child_is_told_to_have_been_there(
    family: Capture, source: psycopg.Connection, warehouse: psycopg.Connection
) -> None:
    """The last word about the parent is known then, and not yet that about the child."""
    with source.transaction():
        source.execute("INSERT INTO parent VALUES (5, 'p')")
        source.execute("INSERT INTO child VALUES (5, 5)")
        source.execute("UPDATE parent SET v = 'changed' WHERE id = 4")
        source.execute("DELETE FROM parent WHERE id = 5")
    with source.transaction():
        source.execute("INSERT INTO parent VALUES (6, 'p')")
        source.execute("INSERT INTO child VALUES (6, 6)")
        source.execute("UPDATE parent SET id = 7 WHERE id = 6")
        source.execute("UPDATE parent SET id = 8 WHERE id = 7")
    family.but(limits=_limits(piece_changes=4)).run()
    assert same(source, warehouse, *family.tables)
    assert staged(warehouse) == 0


@pytest.mark.scenario("C11")
def test_a_parent_that_comes_back_in_another_piece_is_there(
    family: Capture, source: psycopg.Connection, warehouse: psycopg.Connection
) -> None:
    source.execute("ALTER TABLE child DROP CONSTRAINT child_parent_fkey")
    source.execute("ALTER TABLE child ADD FOREIGN KEY (parent) REFERENCES parent DEFERRABLE INITIALLY DEFERRED")
    with source.transaction():
        source.execute("DELETE FROM parent WHERE id <= 2")
        source.execute("INSERT INTO parent VALUES (1, 'back'), (2, 'back')")
        source.execute("DELETE FROM child WHERE id = 2")
    family.run()
    assert same(source, warehouse, *family.tables)
    assert staged(warehouse) == 0


@pytest.mark.scenario("C10")
@pytest.mark.scenario("C11")
def test_a_table_that_changes_its_shape_between_a_child_and_its_parent(
    family: Capture, source: psycopg.Connection, warehouse: psycopg.Connection
) -> None:
    before = totals(warehouse)
    with source.transaction():
        source.execute("UPDATE parent SET v = 'first shape' WHERE id <= 2")
        source.execute("INSERT INTO child VALUES (5, 5), (6, 6)")
        source.execute("ALTER TABLE parent ADD COLUMN extra int")
        source.execute("INSERT INTO parent VALUES (5, 'second shape', 1)")
        source.execute("UPDATE parent SET v = 'second shape', extra = 2 WHERE id = 2")
        source.execute("ALTER TABLE parent ADD COLUMN more text")
        source.execute("INSERT INTO parent VALUES (6, 'third shape', 1, 'more')")
    counts = family.run().counts
    assert same(source, warehouse, *family.tables)
    assert totals(warehouse)[0] - before[0] == counts.changes == 7
    assert staged(warehouse) == 0


@pytest.mark.scenario("C10")
@pytest.mark.scenario("C11")
@pytest.mark.parametrize("piece_changes", [2, 1000])
def test_a_table_that_changes_its_shape_between_two_transactions(
    piece_changes: int, family: Capture, source: psycopg.Connection, warehouse: psycopg.Connection
) -> None:
    """The second one's parents are told before their children, whose table has another shape than before."""
    source.execute("UPDATE child SET parent = 1 WHERE id = 4")
    source.execute("ALTER TABLE child REPLICA IDENTITY FULL")
    source.execute("DELETE FROM parent WHERE id <= 2")
    family.but(limits=_limits(piece_changes=piece_changes)).run()
    assert same(source, warehouse, *family.tables)


@pytest.mark.scenario("C02")
@pytest.mark.scenario("C10")
@pytest.mark.scenario("C11")
def test_what_was_told_in_a_former_shape_is_known_in_the_next(
    family: Capture, source: psycopg.Connection, warehouse: psycopg.Connection
) -> None:
    """Rows of either shape that change again, move, go and come back, with long values that are told only once."""
    source.execute("ALTER TABLE parent ADD COLUMN body text")
    source.execute("ALTER TABLE parent ALTER body SET STORAGE EXTERNAL")
    source.execute(f"INSERT INTO parent SELECT i, 'p', {LONG} || i FROM generate_series(11, 30) AS i")
    family.run()
    with source.transaction():
        source.execute(f"UPDATE parent SET body = {LONG} || id WHERE id IN (11, 12, 13, 14, 15)")
        source.execute("UPDATE parent SET id = 116 WHERE id = 16")
        source.execute("UPDATE parent SET id = 117 WHERE id = 17")
        source.execute("DELETE FROM parent WHERE id IN (18, 19)")
        source.execute("UPDATE parent SET v = 'first shape' WHERE id IN (20, 21)")
        source.execute("INSERT INTO child VALUES (40, 40)")
        source.execute("ALTER TABLE parent ADD COLUMN extra int")
        source.execute("UPDATE parent SET extra = 1 WHERE id IN (11, 116, 20)")  # their long values are not told
        source.execute("UPDATE parent SET id = 112 WHERE id = 12")
        source.execute("UPDATE parent SET id = 217 WHERE id = 117")
        source.execute("UPDATE parent SET id = 122 WHERE id = 22")
        source.execute("DELETE FROM parent WHERE id IN (13, 21)")
        source.execute("INSERT INTO parent VALUES (18, 'back', 'short', 2)")
        source.execute("UPDATE parent SET id = 19 WHERE id = 14")
        source.execute("ALTER TABLE parent RENAME v TO w")
        source.execute("ALTER TABLE parent RENAME w TO v")
        source.execute("ALTER TABLE parent ALTER extra TYPE bigint")
        source.execute("UPDATE parent SET extra = 3 WHERE id IN (15, 112, 217)")
        source.execute("INSERT INTO parent VALUES (40, 'p', 'short', 9000000000)")
    family.but(limits=_limits()).run()
    assert same(source, warehouse, *family.tables)
    assert staged(warehouse) == 0


@pytest.mark.scenario("C11")
def test_a_row_that_is_referenced_to_the_end_of_a_batch_stops_the_stream(
    family: Capture, source: psycopg.Connection, warehouse: psycopg.Connection
) -> None:
    warehouse.execute("CREATE TABLE stranger (parent int REFERENCES parent)")
    warehouse.execute("INSERT INTO stranger VALUES (1)")
    source.execute("DELETE FROM parent WHERE id <= 2")
    with pytest.raises(DataError, match="are still referenced by 'stranger'"):
        family.run()
    assert scalar(warehouse, "SELECT count(*) FROM child") == 4, "nothing of the batch stays"
    warehouse.execute("DELETE FROM stranger")
    family.run()
    assert same(source, warehouse, *family.tables)


@pytest.mark.scenario("C02")
@pytest.mark.scenario("C11")
@pytest.mark.parametrize("null", ["", "NOT NULL"])
def test_a_child_of_a_parent_that_is_gone_at_the_source_waits_for_the_change_that_says_so(
    null: str, captured: Capture, source: psycopg.Connection, warehouse: psycopg.Connection
) -> None:
    """A parent without its long value can only be read again at the source, which may not have it any more."""
    source.execute(f"CREATE TABLE t (id bigint PRIMARY KEY, v text, body text {null})")
    source.execute("ALTER TABLE t ALTER body SET STORAGE EXTERNAL")
    source.execute("CREATE TABLE child (id int PRIMARY KEY, t bigint REFERENCES t ON UPDATE CASCADE)")
    family = captured.but(tables=("child", "t"))
    family.set_up()
    source.execute(f"INSERT INTO t SELECT i, 'new', {LONG} FROM generate_series(1, 3) AS i")
    source.execute("INSERT INTO child VALUES (1, 1), (2, 2)")
    family.run()
    warehouse.execute("ALTER TABLE child ADD FOREIGN KEY (t) REFERENCES t")
    if null:
        warehouse.execute("ALTER TABLE t ALTER body SET NOT NULL")
    warehouse.execute("UPDATE etl_sync.cdc_table SET copied_until = 'FF/0'")  # as after a copy, or where rows were read
    source.execute("UPDATE t SET id = 11 WHERE id = 1")
    source.execute("UPDATE t SET v = 'between' WHERE id = 3")
    source.execute("UPDATE t SET id = 21 WHERE id = 11")
    source.execute(f"INSERT INTO t SELECT 30, 'gone', {LONG}")
    source.execute("UPDATE t SET id = 31 WHERE id = 30")
    source.execute("DELETE FROM t WHERE id = 31")
    small = family.but(limits=_limits(piece_changes=2))
    small.run()
    assert same(source, warehouse, *family.tables)


# -- how much is taken at once -----------------------------------------------------------------------------


@pytest.fixture
def pieces(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many changes each piece had that was applied."""
    real, seen = Applier.apply, list[int]()

    def apply(self: Applier, connection: Any, staged: StagedFold, **more: Any) -> Any:
        seen.append(staged.fold.changes)
        return real(self, connection, staged, **more)

    monkeypatch.setattr(Applier, "apply", apply)
    return seen


@pytest.mark.scenario("C09")
def test_a_long_transaction_is_applied_in_pieces_of_so_many_changes(
    small: Capture, source: psycopg.Connection, warehouse: psycopg.Connection, pieces: list[int]
) -> None:
    source.execute("UPDATE t SET v = 'changed' WHERE id <= 35")
    report = small.but(limits=_limits(batch_changes=5, piece_changes=10)).run()
    assert pieces == [10, 10, 10, 5]
    assert report.counts.transactions == 1
    assert same(source, warehouse)


@pytest.mark.scenario("C09")
def test_long_values_make_a_piece_end_before_it_has_so_many_changes(
    small: Capture, source: psycopg.Connection, warehouse: psycopg.Connection, pieces: list[int]
) -> None:
    source.execute("UPDATE t SET v = repeat(md5(id::text), 1000) WHERE id <= 20")
    small.but(limits=_limits(piece_bytes=100_000)).run()
    assert pieces == [4, 4, 4, 4, 4], "of 32 kB each"
    assert same(source, warehouse)


@pytest.mark.scenario("C09")
def test_a_batch_ends_with_the_transaction_in_which_it_has_so_many_changes(
    small: Capture, source: psycopg.Connection, warehouse: psycopg.Connection
) -> None:
    for id_ in range(1, 10):
        source.execute("UPDATE t SET v = 'changed' WHERE id = %s", [id_])
    source.execute("UPDATE t SET v = 'changed by one' WHERE id > 50")
    report = small.but(limits=_limits(batch_changes=9)).run()
    assert report.batches >= 4, "three of the small transactions at once, and the big one"
    assert report.counts.transactions == 10
    assert same(source, warehouse)


# -- what the source does ---------------------------------------------------------------------------------


@pytest.mark.scenario("C10")
def test_columns_that_come_and_change_in_mid_stream(
    small: Capture, source: psycopg.Connection, warehouse: psycopg.Connection
) -> None:
    with source.transaction():
        source.execute("UPDATE t SET v = 'old shape' WHERE id < 50")
        source.execute("ALTER TABLE t ADD COLUMN extra int, ALTER n TYPE numeric(20, 4)")
        source.execute("INSERT INTO t VALUES (500, 'new shape', 1234567890123456.7891, 7)")
    source.execute("UPDATE t SET n = 0.0001, extra = 3 WHERE id = 1")
    source.execute("ALTER TABLE t ALTER extra TYPE bigint")
    source.execute("INSERT INTO t VALUES (501, 'newest', 1, 9000000000)")
    small.run()
    assert rows(warehouse) == rows(source)
    changes = warehouse.execute('SELECT "column", change FROM etl_sync.schema_change ORDER BY id').fetchall()
    assert ("extra", "added") in changes and ("n", "widened") in changes and ("extra", "widened") in changes
    source.execute("ALTER TABLE t DROP COLUMN extra")
    source.execute("INSERT INTO t VALUES (502, 'without', 1)")
    small.run()
    assert rows(warehouse, columns="id, v, n") == rows(source)


@pytest.mark.scenario("C10")
def test_a_frozen_table_stops_the_stream_before_anything_changes(
    small: Capture, source: psycopg.Connection, warehouse: psycopg.Connection
) -> None:
    frozen = small.but(rules=LoadRules(schema_contract="freeze"))
    before = rows(warehouse)
    source.execute("UPDATE t SET v = 'changed'")
    source.execute("ALTER TABLE t ADD COLUMN extra int")
    source.execute("UPDATE t SET extra = 1 WHERE id = 1")
    with pytest.raises(SchemaError, match="no column extra"):
        frozen.run()
    assert rows(warehouse) == before
    small.run()
    assert rows(warehouse) == rows(source)


@pytest.mark.scenario("C10")
def test_rows_that_do_not_fit_are_kept_as_failed_records_and_the_stream_goes_on(
    small: Capture, source: psycopg.Connection, warehouse: psycopg.Connection
) -> None:
    warehouse.execute("ALTER TABLE t ADD CHECK (v <> 'bad')")
    source.execute("UPDATE t SET v = CASE WHEN id <= 3 THEN 'bad' ELSE 'good' END")
    with pytest.raises(DataError):
        small.run()
    patient = small.but(rules=LoadRules(max_errors=5))
    counts = patient.run().counts
    assert (counts.updated, counts.errors) == (97, 3)
    source.execute("UPDATE t SET v = 'mended' WHERE id = 1")
    source.execute("DELETE FROM t WHERE id = 2")
    patient.run()
    still_open = "SELECT key->>0 FROM etl_sync.failed_record WHERE closed_at IS NULL"
    assert warehouse.execute(still_open).fetchall() == [("3",)]


PARENT_AND_CHILD = """
CREATE TABLE parent (id int PRIMARY KEY, v text);
CREATE TABLE child (id int PRIMARY KEY, parent int NOT NULL REFERENCES parent ON UPDATE CASCADE, v text);
CREATE TABLE grandchild (id int PRIMARY KEY, child int NOT NULL REFERENCES child, boss int REFERENCES grandchild)
"""


@pytest.mark.scenario("C11")
def test_tables_that_reference_each_other_are_applied_in_an_order_that_holds(
    captured: Capture, source: psycopg.Connection, warehouse: psycopg.Connection
) -> None:
    for database in (source, warehouse):
        database.execute(PARENT_AND_CHILD)
    family = captured.but(tables=("grandchild", "child", "parent"))
    family.set_up()
    with source.transaction():
        source.execute("INSERT INTO parent SELECT i, 'p' FROM generate_series(1, 10) AS i")
        source.execute("INSERT INTO child SELECT i, i, 'c' FROM generate_series(1, 10) AS i")
        source.execute(
            "INSERT INTO grandchild SELECT i, i, CASE WHEN i > 1 THEN 1 END FROM generate_series(1, 10) AS i"
        )
    family.run()
    assert same(source, warehouse, *family.tables)
    with source.transaction():
        source.execute("UPDATE grandchild SET boss = 3 WHERE id = 9")  # so the youngest are met first
        source.execute("UPDATE child SET v = 'met' WHERE id = 9")
        source.execute("INSERT INTO parent VALUES (11, 'new')")
        source.execute("UPDATE child SET parent = 11 WHERE id = 1")
        source.execute("DELETE FROM parent WHERE id = 1")  # whose child has gone to another
        source.execute("DELETE FROM grandchild WHERE id = 2")
        source.execute("DELETE FROM child WHERE id = 2")
        source.execute("DELETE FROM parent WHERE id = 2")
        source.execute("UPDATE parent SET id = 300 WHERE id = 3")  # and its child with it
        source.execute("INSERT INTO parent VALUES (2, 'again')")
        source.execute("INSERT INTO child VALUES (20, 2, 'again')")
    counts = family.run().counts
    assert same(source, warehouse, *family.tables)
    assert (counts.inserted, counts.updated, counts.deleted, counts.errors) == (3, 5, 4, 0)


@pytest.mark.scenario("C12")
def test_only_what_was_committed_arrives_in_the_order_of_commits(
    small: Capture, source: psycopg.Connection, warehouse: psycopg.Connection
) -> None:
    with psycopg.connect(small.source_db) as one, psycopg.connect(small.source_db) as other:
        one.execute("UPDATE t SET v = 'one' WHERE id = 1")
        other.execute("UPDATE t SET v = 'other' WHERE id = 2")
        source.execute("INSERT INTO t VALUES (700, 'between')")
        other.execute("UPDATE t SET v = 'other, later' WHERE id = 3")
        other.commit()
        one.execute("UPDATE t SET v = 'one, last' WHERE id IN (2, 3)")
        one.commit()
        one.execute("DELETE FROM t")
        one.rollback()
        one.execute("UPDATE t SET v = 'kept' WHERE id = 4")
        one.execute("SAVEPOINT s")
        one.execute("UPDATE t SET v = 'undone' WHERE id IN (4, 5)")
        one.execute("ROLLBACK TO s")
        one.execute("UPDATE t SET v = 'after it' WHERE id = 6")
        one.commit()
        one.execute("UPDATE t SET v = 'open' WHERE id = 8")
        small.run()
        assert same(source, warehouse)
        assert scalar(warehouse, "SELECT v FROM t WHERE id = 3") == "one, last"
        one.commit()
    small.run()
    assert same(source, warehouse)


@pytest.mark.scenario("C12")
def test_prepared_transactions(preparing: Capture) -> None:
    small = preparing
    with (
        psycopg.connect(small.source_db, autocommit=True) as source,
        psycopg.connect(small.warehouse_db, autocommit=True) as warehouse,
    ):
        source.execute("CREATE TABLE t (id bigint PRIMARY KEY, v text)")
        small.set_up()
        source.execute("INSERT INTO t SELECT i, 'new' FROM generate_series(1, 9) AS i")
        small.run()
        for name, statement in (
            ("kept", "UPDATE t SET v = 'kept' WHERE id = 1"),
            ("gone", "DELETE FROM t WHERE id = 2"),
        ):
            source.execute("BEGIN")
            source.execute(statement)
            source.execute(f"PREPARE TRANSACTION '{name}'")
        assert small.run().counts.changes == 0
        source.execute("UPDATE t SET v = 'between' WHERE id = 3")
        source.execute("COMMIT PREPARED 'kept'")
        source.execute("ROLLBACK PREPARED 'gone'")
        assert small.run().counts.changes == 2
        assert same(source, warehouse)


@pytest.fixture
def preparing(tmp_path: Path) -> Iterator[Capture]:
    """A source on a server that takes prepared transactions."""
    with EmbeddedPostgres(settings={"max_prepared_transactions": "5"}, parent=quickest_place()) as server:
        source_db, warehouse_db = (server.create_database(name) for name in ("source", "warehouse"))
        yield Capture(source_db, warehouse_db, "test_prepared", tmp_path)


ODD_SETTINGS = {
    "DateStyle": "SQL, DMY",
    "TimeZone": "Asia/Kathmandu",
    "IntervalStyle": "sql_standard",
    "bytea_output": "escape",
    "extra_float_digits": "-10",
}
TELLING = """
CREATE TABLE t (
    id bigint PRIMARY KEY, day date, moment timestamptz, local timestamp, span interval, bytes bytea, price money,
    weight double precision, light real, tags text[], floats double precision[], period tstzrange, doc jsonb,
    code char(5),
    oclock timetz
);
ALTER TABLE t ALTER bytes SET STORAGE EXTERNAL, ALTER tags SET STORAGE EXTERNAL, ALTER floats SET STORAGE EXTERNAL
"""
TOLD = """
INSERT INTO t VALUES (
    1, '2024-02-03', '2024-02-03 04:05:06.789012+07', '2024-02-03 04:05:06', '1 year 2 mons -3 days 04:05:06.7',
    '\\x00ff5c', '1234.56', 0.1::float8 + 0.2, 1.1, '{a,"b c",NULL}', '{0.1,-1e-300}', '[2024-01-02,2024-03-04)',
    '{"a": [1, 2.50]}', 'ab', '04:05:06.7-03:30'
)
"""


@pytest.mark.scenario("C13")
def test_what_is_decoded_does_not_depend_on_settings(
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
    source.execute(f"INSERT INTO t (id, bytes, tags, floats) SELECT 2, decode({LONG}, 'hex'), ARRAY[{LONG}], {floats}")
    captured.run()
    assert same(source, warehouse)
    source.execute("UPDATE t SET id = 3, day = '2024-12-01' WHERE id = 2")  # filled from the destination's row
    source.execute("UPDATE t SET weight = 1e-300, light = 3.3 WHERE id = 1")
    captured.run()
    assert same(source, warehouse)


# -- what a publication may leave out ---------------------------------------------------------------------


@pytest.mark.scenario("C15")
def test_partitions_are_told_as_their_root(
    captured: Capture, source: psycopg.Connection, warehouse: psycopg.Connection
) -> None:
    _partitioned(source)
    captured.set_up()
    source.execute("INSERT INTO t SELECT i, 'new' FROM generate_series(1, 20) AS i")
    source.execute("UPDATE t SET id = 50 WHERE id = 5")  # from one partition into another
    source.execute("UPDATE t SET id = 5 WHERE id = 15")
    captured.run()
    assert same(source, warehouse)


@pytest.mark.scenario("C15")
def test_partitions_that_are_told_as_such_are_refused(captured: Capture, source: psycopg.Connection) -> None:
    _partitioned(source)
    source.execute(f"CREATE PUBLICATION {captured.slot_name} FOR TABLE t WITH (publish_via_partition_root = false)")
    source.execute("SELECT pg_create_logical_replication_slot(%s, 'pgoutput')", [captured.slot_name])
    source.execute("INSERT INTO t VALUES (1, 'new')")
    with pytest.raises(SchemaError, match="tells changes of the partitions of 't' as such: run ALTER PUBLICATION"):
        captured.run()


@pytest.mark.scenario("C15")
def test_row_filters_column_lists_and_generated_columns(
    captured: Capture, source: psycopg.Connection, warehouse: psycopg.Connection
) -> None:
    source.execute(
        "CREATE TABLE t (id int PRIMARY KEY, secret text, size int, twice int GENERATED ALWAYS AS (size * 2) STORED)"
    )
    source.execute("CREATE UNIQUE INDEX wide ON t (id, size)")
    source.execute("ALTER TABLE t ALTER size SET NOT NULL")
    source.execute("ALTER TABLE t REPLICA IDENTITY USING INDEX wide")
    source.execute(f"CREATE PUBLICATION {captured.slot_name} FOR TABLE t (id, size) WHERE (size > 10)")
    source.execute("SELECT pg_create_logical_replication_slot(%s, 'pgoutput')", [captured.slot_name])
    source.execute("INSERT INTO t SELECT i, 'secret', i FROM generate_series(1, 20) AS i")
    source.execute("UPDATE t SET size = 100 WHERE id = 1")  # comes in
    source.execute("UPDATE t SET size = 2 WHERE id = 15")  # goes out
    source.execute("UPDATE t SET size = 3 WHERE id = 3")
    source.execute("DELETE FROM t WHERE id IN (4, 16)")
    captured.run()
    source.execute("CREATE VIEW seen AS SELECT id, size FROM t WHERE size > 10")
    assert rows(warehouse) == rows(source, "seen")
    warehouse.execute("ALTER TABLE t ADD COLUMN half int GENERATED ALWAYS AS (size / 2) STORED")
    source.execute("UPDATE t SET size = 90 WHERE id = 12")
    captured.run()
    assert rows(warehouse, columns="id, size") == rows(source, "seen")
    assert scalar(warehouse, "SELECT half FROM t WHERE id = 12") == 45


@pytest.mark.scenario("C02")
@pytest.mark.scenario("C15")
@pytest.mark.parametrize("delete", ["hard", "soft"])
def test_a_row_that_a_filter_lets_in_again_has_the_long_value_that_it_got_behind_it(
    delete: Any, captured: Capture, source: psycopg.Connection, warehouse: psycopg.Connection
) -> None:
    """The log tells it as an insert without that value, and the warehouse has an older one under its key."""
    source.execute("CREATE TABLE t (id int, size int, body text, PRIMARY KEY (id, size))")
    source.execute("ALTER TABLE t ALTER body SET STORAGE EXTERNAL")
    source.execute(f"CREATE PUBLICATION {captured.slot_name} FOR TABLE t WHERE (size > 10)")
    source.execute("SELECT pg_create_logical_replication_slot(%s, 'pgoutput')", [captured.slot_name])
    filtered = captured.but(delete=delete, rules=LoadRules(primary_key=("id",)))
    source.execute(f"INSERT INTO t SELECT 1, 20, {LONG}")
    filtered.run()
    source.execute("UPDATE t SET size = 2 WHERE id = 1")  # goes out
    source.execute(f"UPDATE t SET body = {LONG} WHERE id = 1")
    source.execute("UPDATE t SET size = 30 WHERE id = 1")  # comes in
    filtered.run()
    assert rows(warehouse, columns="id, size, body") == rows(source)


@pytest.mark.scenario("C15")
def test_rows_that_were_flagged_as_deleted_come_back_to_life(
    small: Capture, source: psycopg.Connection, warehouse: psycopg.Connection
) -> None:
    soft = small.but(delete="soft")
    source.execute("DELETE FROM t WHERE id <= 5")
    source.execute("UPDATE t SET id = 1001 WHERE id = 6")
    assert soft.run().counts.deleted == 6
    flagged = "SELECT array_agg(id ORDER BY id) FROM t WHERE _sync_deleted"
    assert scalar(warehouse, flagged) == [1, 2, 3, 4, 5, 6]
    source.execute("INSERT INTO t VALUES (2, 'back')")
    soft.run()
    assert scalar(warehouse, flagged) == [1, 3, 4, 5, 6]
    warehouse.execute("CREATE VIEW live AS SELECT id, v, n FROM t WHERE NOT _sync_deleted")
    assert rows(warehouse, "live") == rows(source)


def _partitioned(source: psycopg.Connection[Any]) -> None:
    source.execute("CREATE TABLE t (id int PRIMARY KEY, v text) PARTITION BY RANGE (id)")
    source.execute("CREATE TABLE low PARTITION OF t FOR VALUES FROM (0) TO (10)")
    source.execute("CREATE TABLE high PARTITION OF t FOR VALUES FROM (10) TO (100)")


def _limits(**changes: int) -> Any:
    from airflow_etl_sync.journey.cdc_pieces import CaptureLimits

    return CaptureLimits(**changes)
