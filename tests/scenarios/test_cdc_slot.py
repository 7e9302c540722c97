"""The source's slot: read in whole transactions, set up however often, never holding the log back for nothing."""

from __future__ import annotations

import signal
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest
from psycopg.sql import SQL, Identifier

from airflow_etl_sync.cdc.change_log import TornDown
from airflow_etl_sync.cdc.postgres import sql
from airflow_etl_sync.cdc.postgres.slot import ReplicationSlot
from airflow_etl_sync.core.columns import ColumnTypes
from airflow_etl_sync.core.model import TableName
from airflow_etl_sync.errors import ConfigurationError, SourceError
from airflow_etl_sync.systems.postgres.access import PostgresAccess
from tests.scenarios.forked import fork
from tests.scenarios.slot_answers import MANY, T, codes, kinds, messages

# -- a slot's way ------------------------------------------------------------------------------------------


def test_set_up_peek_advance_tear_down(t: psycopg.Connection, slot: ReplicationSlot) -> None:
    started = slot.set_up([T])
    t.execute("INSERT INTO t VALUES (1, 'a')")
    assert kinds(slot) == "BRIC"
    assert kinds(slot) == "BRIC", "a peek leaves the changes in the slot"
    assert slot.confirmed() == started
    flushed = slot.flushed()
    slot.advance(flushed)
    assert slot.confirmed() == flushed
    assert messages(slot) == []
    assert slot.preflight([T]) == []
    assert slot.tear_down() == TornDown(has_dropped_slot=True, has_dropped_publication=True)
    assert slot.tear_down() == TornDown(has_dropped_slot=False, has_dropped_publication=False)


def test_a_batch_ends_with_a_transaction(t: psycopg.Connection, slot: ReplicationSlot) -> None:
    slot.set_up([T])
    for first in (0, 10, 20):
        t.execute("INSERT INTO t SELECT generate_series(%s::int, %s::int)", [first, first + 4])
    assert kinds(slot, changes=3) == "BRIIIIIC"
    assert kinds(slot, changes=9) == "BRIIIIIC" + "BIIIIIC"
    with closing(slot.peek(slot.confirmed(), MANY)) as peeked:
        assert list(peeked) == []


def test_a_reader_may_stop_at_any_message(t: psycopg.Connection, slot: ReplicationSlot) -> None:
    slot.set_up([T])
    t.execute("INSERT INTO t SELECT generate_series(1, 200000)")
    with closing(slot.peek(slot.flushed(), MANY)) as peeked:
        next(peeked)
        slot.advance(slot.confirmed())  # the server has finished decoding, so the slot is free
    assert kinds(slot)[:3] == "BRI"


def test_advance_never_goes_back(t: psycopg.Connection, slot: ReplicationSlot) -> None:
    started = slot.set_up([T])
    t.execute("INSERT INTO t VALUES (1, 'a')")
    flushed = slot.flushed()
    slot.advance(flushed)
    slot.advance(started)
    assert slot.confirmed() == flushed


@pytest.mark.scenario("C13")
def test_values_do_not_depend_on_the_settings_of_the_database(
    source: psycopg.Connection, source_db: str, slots: Callable[[str], str]
) -> None:
    settings = {
        "DateStyle": "German, DMY", "TimeZone": "Asia/Kathmandu", "bytea_output": "escape",
        "IntervalStyle": "postgres_verbose", "extra_float_digits": "-5",
    }  # fmt: skip
    database = Identifier(source.info.dbname)
    for name, value in settings.items():
        source.execute(SQL("ALTER DATABASE {} SET {} = {}").format(database, Identifier(name), SQL(repr(value))))
    name = slots(source_db)
    slot = ReplicationSlot(PostgresAccess(source_db), name, name)
    source.execute("CREATE TABLE t (id int PRIMARY KEY, at timestamptz, d date, b bytea, i interval, f float8)")
    slot.set_up([T])
    source.execute(
        "INSERT INTO t VALUES (1, '2024-02-01 12:00:00.5Z', '2024-02-01', '\\xff', '1 day 2 hours', "
        "0.1::float8 + 0.2::float8)"
    )
    row = next(data for data in messages(slot) if data[:1] == b"I")
    for text in ("2024-02-01 12:00:00.5+00", "2024-02-01", "\\xff", "P1DT2H", "0.30000000000000004"):
        assert text.encode() in row


@pytest.mark.parametrize("publication", ["plain", "Upper Case", 'a "quoted", one', "it's\\; --", "zürich😀"])
def test_publications_may_have_any_name(
    t: psycopg.Connection, source_db: str, slots: Callable[[str], str], publication: str
) -> None:
    t.execute("CREATE TABLE u (id integer PRIMARY KEY)")
    slot = ReplicationSlot(PostgresAccess(source_db), slots(source_db), (publication, "a second, too"))
    t.execute('CREATE PUBLICATION "a second, too" FOR TABLE u')
    slot.set_up([T])
    t.execute("INSERT INTO u VALUES (1)")
    t.execute("INSERT INTO t VALUES (1, 'a')")
    assert kinds(slot) == "BRIC" * 2
    assert slot.preflight([T, TableName("u")]) == []
    assert slot.tear_down().has_dropped_publication
    assert t.execute("SELECT pubname FROM pg_publication").fetchall() == [("a second, too",)]


@pytest.mark.parametrize("name", ["", "Orders", "orders-1", "a b", "zürich", "a'", "x" * 64])
def test_a_name_that_no_slot_can_have_is_refused_at_once(name: str) -> None:
    with pytest.raises(ConfigurationError, match="cannot be the name of a replication slot: use 1 to 63 of a-z"):
        ReplicationSlot(PostgresAccess("host=nowhere.invalid"), name, "p")


@pytest.mark.parametrize("names", ["", (), "x" * 64, ("a", "b\0")])
def test_a_name_that_no_publication_can_have_is_refused_at_once(names: str | tuple[str, ...]) -> None:
    with pytest.raises(ConfigurationError, match="The name of a publication must have 1 to 63 bytes"):
        ReplicationSlot(PostgresAccess("host=nowhere.invalid"), "s", names)


@dataclass(frozen=True)
class Column:
    name: str
    type_oid: int
    type_modifier: int


@dataclass(frozen=True)
class Relation:
    id: int
    columns: tuple[Column, ...]


def test_types_of_relations(t: psycopg.Connection, slot: ReplicationSlot) -> None:
    t.execute("CREATE DOMAIN price AS numeric(10, 2)")
    t.execute("CREATE TYPE mood AS ENUM ('good')")
    t.execute("CREATE TABLE u (a varchar(10), b numeric(5, 1), c price, d mood, e int[], f mood)")
    rows = t.execute("SELECT attname, atttypid::int, atttypmod FROM pg_attribute WHERE attrelid = 'u'::regclass "
                     "AND attnum > 0 ORDER BY attnum").fetchall()  # fmt: skip
    gone = Column("gone", 4_000_000_000, -1)
    relations = [
        Relation(7, (*(Column(*row) for row in rows), gone)),
        Relation(8, (Column("a", 23, -1),)),
        Relation(9, ()),
    ]
    assert slot.relation_types(relations) == {
        7: {
            "a": ColumnTypes("character varying(10)", "character varying(10)"),
            "b": ColumnTypes("numeric(5,1)", "numeric(5,1)"),
            "c": ColumnTypes("price", "numeric"),
            "d": ColumnTypes("mood", "text"),
            "e": ColumnTypes("integer[]", "integer[]"),
            "f": ColumnTypes("mood", "text"),
            "gone": ColumnTypes("text", "text"),
        },
        8: {"a": ColumnTypes("integer", "integer")},
        9: {},
    }


# -- set-up that is repeated, or killed ---------------------------------------------------------------------


@pytest.mark.scenario("C07")
def test_set_up_may_be_repeated(t: psycopg.Connection, slot: ReplicationSlot) -> None:
    started = slot.set_up([T])
    t.execute("INSERT INTO t VALUES (1, 'a')")
    assert slot.set_up([T]) == started
    assert kinds(slot) == "BRIC"


def die_before(conninfo: str, name: str, step: str) -> None:
    def die(*_: object) -> None:
        signal.raise_signal(signal.SIGKILL)

    setattr(ReplicationSlot, step, die)
    ReplicationSlot(PostgresAccess(conninfo), name, f"of {name}").set_up([T])


@pytest.mark.scenario("C07")
@pytest.mark.parametrize("step", ["_publish", "_create"])
def test_set_up_that_was_killed_is_healed_by_the_next(
    t: psycopg.Connection, source_db: str, slot: ReplicationSlot, step: str, tmp_path: Path
) -> None:
    killed = fork(die_before, source_db, slot.slot, step, errors=tmp_path / "errors")
    killed.join(30)
    assert killed.exitcode == -signal.SIGKILL
    assert "slot_missing" in codes(slot)
    slot.set_up([T])
    t.execute("INSERT INTO t VALUES (1, 'a')")
    assert kinds(slot) == "BRIC"
    assert slot.preflight([T]) == []


def test_set_up_adds_tables(t: psycopg.Connection, slot: ReplicationSlot) -> None:
    t.execute('CREATE TABLE "B c" (id integer PRIMARY KEY)')
    added = TableName("B c")
    slot.set_up([T])
    assert codes(slot, T, added) == ["table_not_published"]
    slot.set_up([T, added])
    t.execute('INSERT INTO "B c" VALUES (1)')
    assert kinds(slot) == "BRIC"
    assert slot.preflight([T, added]) == []


def test_set_up_names_a_transaction_that_stays_open(
    t: psycopg.Connection, source_db: str, slot: ReplicationSlot, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sql, "BE_PATIENT", SQL("SET lock_timeout = '200ms'"))
    with psycopg.connect(source_db) as writing:
        writing.execute("SELECT pg_current_xact_id()")
        with pytest.raises(SourceError, match="A transaction in the source stays open") as raised:
            slot.set_up([T])
        assert raised.value.is_retryable
    slot.set_up([T])


def test_tear_down_leaves_what_another_made(t: psycopg.Connection, slot: ReplicationSlot) -> None:
    t.execute(SQL("CREATE PUBLICATION {} FOR TABLE t").format(Identifier(slot.publications[0])))
    slot.set_up([T])
    assert slot.tear_down() == TornDown(has_dropped_slot=True, has_dropped_publication=False)
    assert t.execute("SELECT pubname FROM pg_publication").fetchall() == [(slot.publications[0],)]


# -- C08: idle table, busy neighbour ------------------------------------------------------------------------


@pytest.mark.scenario("C08")
def test_an_empty_batch_lets_the_log_go(
    t: psycopg.Connection, warehouse: psycopg.Connection, slot: ReplicationSlot
) -> None:
    started = slot.set_up([T])
    warehouse.execute("CREATE TABLE busy (v text)")
    for _ in range(3):
        warehouse.execute("INSERT INTO busy SELECT repeat('x', 1000) FROM generate_series(1, 5000)")
        warehouse.execute("CHECKPOINT")
    before = slot.health()
    assert (before.retained_bytes or 0) > 10_000_000 and before.lag_bytes > 10_000_000 and before.lag_seconds is None
    flushed = slot.flushed()
    assert messages(slot) == []
    slot.advance(flushed)
    assert slot.confirmed() == flushed > started
    assert slot.health().lag_bytes < 1_000_000
    warehouse.execute("CHECKPOINT")
    slot.advance(slot.flushed())  # what is kept follows the position by one checkpoint
    assert (slot.health().retained_bytes or 0) < 1_000_000
    t.execute("INSERT INTO t VALUES (1, 'a')")
    assert kinds(slot) == "BRIC"


# -- C09: memory ---------------------------------------------------------------------------------------------


def peeked_peak(conninfo: str, name: str, told: Path) -> None:
    from tests.scenarios.measured import peak_bytes

    slot = ReplicationSlot(PostgresAccess(conninfo), name, f"of {name}")
    assert list(slot.peek(slot.confirmed(), MANY)) == []
    before, rows = peak_bytes(), sum(1 for _ in slot.peek(slot.flushed(), MANY))
    told.write_text(f"{rows} {peak_bytes() - before}")


@pytest.mark.scenario("C09")
def test_memory_of_a_peek_is_flat(t: psycopg.Connection, source_db: str, slot: ReplicationSlot, tmp_path: Path) -> None:
    """100,000 small changes, and 50 of 1 MB: 64 MB in all."""
    slot.set_up([T])
    t.execute("INSERT INTO t SELECT n, repeat('x', CASE WHEN n <= 50 THEN 1000000 ELSE 100 END) "
              "FROM generate_series(1, 100000) AS n")  # fmt: skip
    reader = fork(peeked_peak, source_db, slot.slot, tmp_path / "told", errors=tmp_path / "errors")
    reader.join(60)
    assert reader.exitcode == 0, (tmp_path / "errors").read_text()
    rows, grown_bytes = map(int, (tmp_path / "told").read_text().split())
    assert rows == 100_003
    assert grown_bytes < 20_000_000
