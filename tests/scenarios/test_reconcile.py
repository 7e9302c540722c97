"""S20: deletes at the source, which no cursor shows."""

from __future__ import annotations

import psycopg
import pytest

from airflow_etl_sync.core.keys import KeyStream, ReconcileRules, Settled
from airflow_etl_sync.core.model import ConflictStrategy, Counts, LoadRules, TableName
from airflow_etl_sync.errors import DataError, SchemaError
from tests.scenarios.reconciling import EVERYTHING, HARD, SOFT, STRATEGIES, flagged, runs, staged, sync_hundred
from tests.scenarios.world import FORMS, Form, World, rows, scalar, watermark

pytestmark = pytest.mark.scenario("S20")

RUN = "the reconcile that is killed"


@pytest.fixture
def synced(world: World, source: psycopg.Connection) -> World:
    return sync_hundred(world, source)


def test_hard_deletes_what_is_gone_and_nothing_else(
    synced: World, source: psycopg.Connection, warehouse: psycopg.Connection
) -> None:
    stored = watermark(warehouse)
    source.execute("DELETE FROM t WHERE id IN (3, 50, 100)")
    source.execute("UPDATE t SET v = 'new' WHERE id = 4")
    report = synced.reconcile(HARD)
    assert (report.numbers.compared, report.numbers.absent, report.settled) == (100, 3, Settled(3, 0))
    assert rows(warehouse, "id") == rows(source, "id")
    assert scalar(warehouse, "SELECT v FROM t WHERE id = 4") == "old", "changed rows are the sync's business"
    assert synced.reconcile(HARD).settled == Settled()
    assert watermark(warehouse) == stored
    assert runs(warehouse) == [("done", 97, 0, 0, 0, 0, 3), ("done", 97, 0, 0, 0, 0, 0)]
    assert staged(warehouse) == 0


def test_soft_flags_what_is_gone_and_takes_the_flag_off_what_is_back(
    synced: World, source: psycopg.Connection, warehouse: psycopg.Connection
) -> None:
    synced.reconcile(SOFT)
    assert flagged(warehouse) == []
    source.execute("DELETE FROM t WHERE id IN (3, 50, 100)")
    assert synced.reconcile(SOFT).settled == Settled(3, 0)
    assert flagged(warehouse) == [3, 50, 100]
    again = synced.reconcile(SOFT)
    assert (again.numbers.compared, again.numbers.absent, again.settled) == (97, 0, Settled())

    source.execute("INSERT INTO t VALUES (3, now() - interval '1 hour', 'old')")  # behind the watermark
    source.execute("DELETE FROM t WHERE id = 4")
    assert synced.reconcile(SOFT).settled == Settled(1, 1)
    assert flagged(warehouse) == [4, 50, 100]
    assert scalar(warehouse, "SELECT count(*) FROM t") == 100
    assert [run[3:] for run in runs(warehouse)] == [(0, 0, 0, 0), (0, 0, 0, 3), (0, 0, 0, 0), (1, 0, 0, 1)]


def test_hard_after_soft_deletes_the_flagged_rows_too(
    synced: World, source: psycopg.Connection, warehouse: psycopg.Connection
) -> None:
    source.execute("DELETE FROM t WHERE id <= 3")
    synced.reconcile(SOFT)
    source.execute("INSERT INTO t VALUES (1, now() - interval '1 hour', 'old')")
    source.execute("DELETE FROM t WHERE id = 100")
    assert synced.reconcile(HARD).settled == Settled(3, 1)
    assert rows(warehouse, "id") == rows(source, "id")
    assert flagged(warehouse) == []


@pytest.mark.parametrize(("strategy", "form"), list(zip(STRATEGIES, FORMS * 2, strict=True)))
def test_a_flagged_row_that_the_sync_brings_is_live_and_whole(
    strategy: ConflictStrategy,
    form: Form,
    synced: World,
    source: psycopg.Connection,
    warehouse: psycopg.Connection,
) -> None:
    world = synced.but(load_rules=LoadRules(conflict=strategy, synced_at_column="s"))
    warehouse.execute("ALTER TABLE t ADD s timestamptz")
    source.execute("DELETE FROM t WHERE id IN (1, 2, 3)")
    world.reconcile(ReconcileRules(delete="soft", synced_at_column="s"))
    assert scalar(warehouse, "SELECT count(*) FROM t WHERE s IS NOT NULL") == 3
    warehouse.execute("UPDATE t SET c = '2099-01-01', v = 'kept', s = NULL WHERE id = 1")
    source.execute("INSERT INTO t SELECT id, now(), NULL FROM generate_series(1, 3) AS id")
    source.execute("UPDATE t SET c = now() WHERE id = 4")
    counts = world.run(form)
    assert counts.updated == (3 if strategy == "dest_wins" else 4)
    assert flagged(warehouse) == []
    if strategy != "dest_wins":
        assert rows(warehouse, "id, c, v") == rows(source)
    assert scalar(warehouse, "SELECT count(*) FROM t WHERE id <= 3 AND v IS NULL AND s > now() - interval '1 h'") == 3
    assert world.run(form).updated == 0


def test_a_flagged_row_that_comes_back_the_same_counts_as_updated(
    synced: World, source: psycopg.Connection, warehouse: psycopg.Connection
) -> None:
    source.execute("CREATE TABLE kept AS SELECT * FROM t WHERE id = 1")
    source.execute("DELETE FROM t WHERE id = 1")
    synced.reconcile(SOFT)
    source.execute("INSERT INTO t SELECT * FROM kept")
    warehouse.execute("UPDATE etl_sync.watermark SET cursor_value = '2000-01-01 00:00:00+00'")
    assert synced.run() == Counts(updated=1, skipped=99)
    assert flagged(warehouse) == []


def test_keys_alone_come_back_live_too(world: World, source: psycopg.Connection, warehouse: psycopg.Connection) -> None:
    source.execute("CREATE TABLE t (id bigint, c bigint, PRIMARY KEY (id, c))")
    source.execute("INSERT INTO t SELECT i, i FROM generate_series(1, 20) AS i")
    world.run()
    source.execute("DELETE FROM t WHERE id = 20")
    assert world.reconcile(SOFT).settled == Settled(1, 0)
    source.execute("INSERT INTO t VALUES (20, 20)")
    assert world.run().updated == 1
    assert flagged(warehouse) == []


@pytest.mark.parametrize("rules", [HARD, SOFT], ids=["hard", "soft"])
def test_too_many_change_nothing(
    rules: ReconcileRules, synced: World, source: psycopg.Connection, warehouse: psycopg.Connection
) -> None:
    before = rows(warehouse, "*, xmin, ctid")
    source.execute("DELETE FROM t WHERE id <= 11")
    with pytest.raises(DataError, match=r"11 of 100 rows .* max_delete_percent \(10 %\)") as failure:
        synced.reconcile(rules)
    assert not failure.value.is_retryable
    assert rows(warehouse, "*, xmin, ctid") == before, "not even a column is added"
    assert staged(warehouse) == 0
    source.execute("INSERT INTO t VALUES (11, now(), 'back')")
    assert synced.reconcile(rules).settled == Settled(10, 0)


def test_an_empty_source_trips_the_guard(
    synced: World, source: psycopg.Connection, warehouse: psycopg.Connection
) -> None:
    source.execute("TRUNCATE t")
    for percent in (0, 10, 99.99):
        with pytest.raises(DataError, match="100 of 100 rows"):
            synced.reconcile(ReconcileRules(max_delete_percent=percent))
    assert scalar(warehouse, "SELECT count(*) FROM t") == 100
    assert synced.reconcile(EVERYTHING).settled == Settled(100, 0)
    assert synced.reconcile(HARD).numbers.compared == 0, "of nothing, nothing is too much"


def test_rows_without_a_cursor_are_there_whatever_the_sync_does_with_them(
    synced: World, source: psycopg.Connection, warehouse: psycopg.Connection
) -> None:
    source.execute("UPDATE t SET c = NULL WHERE id <= 5")
    assert synced.reconcile(HARD).settled == Settled()
    excluding = KeyStream(sync_key="t", table=TableName("t"), where="c IS NOT NULL")
    assert synced.reconcile(HARD, keys=excluding).settled == Settled(5, 0)


def test_rows_that_where_leaves_out_are_gone_and_those_out_of_scope_are_not_looked_at(
    synced: World, source: psycopg.Connection, warehouse: psycopg.Connection
) -> None:
    """Conditions stand as the author wrote them, with percent signs and comments."""
    warehouse.execute("INSERT INTO t VALUES (1000, now(), 'of another sync'), (1001, now(), '100%')")
    keys = KeyStream(sync_key="t", table=TableName("t"), where="v LIKE 'o%' AND id % 50 <> 0 -- %s $1")
    scope = ReconcileRules(where="id < 1000 AND v NOT LIKE '%\\%' -- or so")
    report = synced.reconcile(scope, keys=keys)
    assert (report.numbers.compared, report.settled) == (100, Settled(2, 0))
    assert scalar(warehouse, "SELECT array_agg(id ORDER BY id)::text FROM t WHERE id > 98") == "{99,1000,1001}"


def test_a_foreign_key_stops_a_hard_delete_with_one_sentence(
    synced: World, source: psycopg.Connection, warehouse: psycopg.Connection
) -> None:
    for deferred in ("", " DEFERRABLE INITIALLY DEFERRED"):
        warehouse.execute("DROP TABLE IF EXISTS child")
        warehouse.execute(f"CREATE TABLE child (id bigint REFERENCES t{deferred})")
        warehouse.execute("INSERT INTO child VALUES (7)")
        source.execute("DELETE FROM t WHERE id IN (6, 7, 8)")
        with pytest.raises(DataError, match=r"'child' \(constraint 'child_id_fkey'\).*delete='soft'") as failure:
            synced.reconcile(HARD)
        assert not failure.value.is_retryable
        assert scalar(warehouse, "SELECT count(*) FROM t") == 100
    warehouse.execute("DROP TABLE child")
    assert synced.reconcile(HARD).settled == Settled(3, 0)


MISFITS = [
    ("ALTER TABLE t RENAME TO u", "ALTER TABLE u RENAME TO t", HARD, "has no table 't'"),
    (
        "ALTER TABLE t DROP CONSTRAINT t_pkey",
        "ALTER TABLE t ADD PRIMARY KEY (id)",
        HARD,
        "no primary key or unique index",
    ),
    ("ALTER TABLE t RENAME id TO key", "ALTER TABLE t RENAME key TO id", HARD, "no column id of the key"),
    ("ALTER TABLE t ADD _sync_deleted text", "ALTER TABLE t DROP _sync_deleted", SOFT, "is no boolean"),
    ("SELECT 1", "SELECT 1", ReconcileRules(delete="soft", add_column=False), "add_column is off"),
    ("SELECT 1", "SELECT 1", ReconcileRules(delete="soft", synced_at_column="nothing"), "no column 'nothing'"),
    ("ALTER TABLE t RENAME TO u; CREATE VIEW t AS SELECT * FROM u", "SELECT 1", HARD, "is no table"),
]


def test_a_target_that_does_not_fit_is_refused(synced: World, warehouse: psycopg.Connection) -> None:
    for statement, undo, rules, said in MISFITS:
        warehouse.execute(statement)
        with pytest.raises(SchemaError, match=said):
            synced.reconcile(rules)
        assert staged(warehouse) == 0
        warehouse.execute(undo)


def test_rows_of_the_target_without_a_key_are_nobody_s(
    world: World, source: psycopg.Connection, warehouse: psycopg.Connection
) -> None:
    source.execute("CREATE TABLE t (id bigint PRIMARY KEY, c bigint)")
    source.execute("INSERT INTO t VALUES (1, 1)")
    warehouse.execute("CREATE TABLE t (id bigint UNIQUE, c bigint)")
    world.run()
    warehouse.execute("INSERT INTO t VALUES (NULL, 5)")
    report = world.reconcile(EVERYTHING)
    assert (report.numbers.compared, report.settled) == (1, Settled())
