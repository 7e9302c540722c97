"""What stands in the way of change data capture is named, with how to mend it; what is lost is never passed over."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
from psycopg import pq
from psycopg.conninfo import make_conninfo
from psycopg.sql import SQL, Identifier

from airflow_etl_sync.cdc.pgoutput import Decoder
from airflow_etl_sync.cdc.postgres import sql
from airflow_etl_sync.cdc.postgres.slot import ReplicationSlot
from airflow_etl_sync.core.changes import Insert
from airflow_etl_sync.core.model import TableName
from airflow_etl_sync.demo.postgres import EmbeddedPostgres
from airflow_etl_sync.errors import ConfigurationError, SchemaError, SourceError, StateError
from airflow_etl_sync.systems.postgres.access import PostgresAccess
from tests.placing import quickest_place
from tests.scenarios.forked import fork
from tests.scenarios.slot_answers import MANY, T, codes, kinds, messages


@contextmanager
def reading(conninfo: str, slot: str, publication: str) -> Iterator[None]:
    """Another session, which reads the slot by the streaming protocol."""
    connection = pq.PGconn.connect(make_conninfo(conninfo, replication="database").encode())
    try:
        options = f"proto_version '1', publication_names '{publication}'"
        result = connection.exec_(f"START_REPLICATION SLOT {slot} LOGICAL 0/0 ({options})".encode())
        assert result.status == pq.ExecStatus.COPY_BOTH, result.error_message
        yield
    finally:
        connection.finish()


@pytest.mark.scenario("C07")
def test_slot_that_another_session_reads(t: psycopg.Connection, source_db: str, slot: ReplicationSlot) -> None:
    slot.set_up([T])
    t.execute("INSERT INTO t VALUES (1, 'a')")
    with reading(source_db, slot.slot, f'"{slot.publications[0]}"'):
        [finding] = slot.preflight([T])
        assert (finding.code, finding.is_error) == ("slot_busy", False)
        assert slot.health().is_active
        for attempt in (lambda: messages(slot), lambda: slot.advance(slot.flushed()), slot.tear_down):
            with pytest.raises(SourceError, match="is being read by another session: try again") as raised:
                attempt()
            assert raised.value.is_retryable and raised.value.sqlstate == "55006"
    deadline = time.monotonic() + 10
    while slot.health().is_active:
        assert time.monotonic() < deadline
    assert kinds(slot) == "BRIC"


def peek_all(conninfo: str, name: str) -> None:
    slot = ReplicationSlot(PostgresAccess(conninfo), name, f"of {name}")
    for _ in slot.peek(slot.flushed(), MANY):
        pass


@pytest.mark.scenario("C07")
def test_killed_reader_frees_the_slot(
    t: psycopg.Connection, source_db: str, slot: ReplicationSlot, tmp_path: Path
) -> None:
    """The server needs more than ten seconds to decode these arrays."""
    t.execute("CREATE TABLE slow (id integer PRIMARY KEY, v float8[])")
    slot.set_up([TableName("slow")])
    t.execute("INSERT INTO slow SELECT 0, array_fill(0.1::float8, ARRAY[1000000])")
    t.execute("INSERT INTO slow SELECT n, v FROM slow, generate_series(1, 200) AS n")
    reader = fork(peek_all, source_db, slot.slot, errors=tmp_path / "errors")
    deadline = time.monotonic() + 10
    while not slot.health().is_active:
        assert time.monotonic() < deadline
    reader.kill()
    reader.join(10)
    killed_at = time.monotonic()
    while slot.health().is_active:
        assert time.monotonic() < killed_at + 5, "nobody reads, and the server still decodes"
        time.sleep(0.05)


@pytest.mark.scenario("C07")
def test_slot_that_is_missing(t: psycopg.Connection, slot: ReplicationSlot) -> None:
    slot.set_up([T])
    t.execute("SELECT pg_drop_replication_slot(%s)", [slot.slot])
    assert codes(slot) == ["slot_missing"]
    for attempt in (lambda: messages(slot), lambda: slot.advance(1), slot.confirmed, slot.health):
        with pytest.raises(StateError, match=f"There is no replication slot '{slot.slot}': run CdcSetUpOperator"):
            attempt()


@pytest.mark.scenario("C07")
def test_slot_of_another_database(
    t: psycopg.Connection, source_db: str, warehouse: psycopg.Connection, warehouse_db: str, slots: Callable[[str], str]
) -> None:
    name = slots(warehouse_db)
    warehouse.execute("SELECT pg_create_logical_replication_slot(%s, 'pgoutput')", [name])
    slot = ReplicationSlot(PostgresAccess(source_db), name, name)
    finding = next(finding for finding in slot.preflight([T]) if finding.code == "slot_elsewhere")
    assert warehouse.info.dbname in finding.sentence
    for attempt in (lambda: slot.set_up([T]), lambda: messages(slot), slot.tear_down):
        with pytest.raises(ConfigurationError, match="belongs to the database"):
            attempt()
    assert t.execute("SELECT FROM pg_publication").rowcount == 0


@pytest.mark.scenario("C07")
def test_slot_that_belongs_to_something_else(
    t: psycopg.Connection, source_db: str, slots: Callable[[str], str]
) -> None:
    name = slots(source_db)
    t.execute("SELECT pg_create_physical_replication_slot(%s)", [name])
    slot = ReplicationSlot(PostgresAccess(source_db), name, name)
    assert "slot_plugin" in codes(slot)
    for attempt in (lambda: slot.set_up([T]), lambda: messages(slot), slot.tear_down):
        with pytest.raises(ConfigurationError, match="is a physical one and belongs to something else"):
            attempt()
    assert t.execute("SELECT FROM pg_replication_slots WHERE slot_name = %s", [name]).rowcount == 1


@pytest.mark.scenario("C07")
def test_publication_that_was_dropped(t: psycopg.Connection, slot: ReplicationSlot) -> None:
    slot.set_up([T])
    t.execute(sql.drop_publication(slot.publications[0]))
    t.execute("INSERT INTO t VALUES (1, 'lost')")
    assert codes(slot) == ["publication_gone"]
    for attempt in (lambda: messages(slot), lambda: slot.set_up([T])):
        with pytest.raises(StateError, match=r"There is a slot and no publication .* copy the tables afresh"):
            attempt()


@pytest.fixture(scope="module", params=[16, 18])
def versioned(request: pytest.FixtureRequest) -> Iterator[str]:
    """A database of a server of some version: before 18 decoding fails without a publication, then it only warns."""
    with EmbeddedPostgres(version=request.param, parent=quickest_place()) as server:
        conninfo = server.create_database("source")
        with psycopg.connect(conninfo, autocommit=True) as connection:
            connection.execute("CREATE TABLE t (id serial PRIMARY KEY)")
        yield conninfo


@pytest.mark.scenario("C07")
def test_publication_that_is_younger_than_changes_in_the_slot(versioned: str) -> None:
    slot = ReplicationSlot(PostgresAccess(versioned), "late", "late")
    with psycopg.connect(versioned, autocommit=True) as source:
        source.execute("SELECT pg_create_logical_replication_slot('late', 'pgoutput')")
        source.execute("INSERT INTO t DEFAULT VALUES")
        source.execute(sql.create_publication("late", [T]))
        source.execute("INSERT INTO t DEFAULT VALUES")
        assert codes(slot) == ["publication_after_slot"]
        with pytest.raises(StateError, match=r"changes that are older than the publication 'late'.* copy the tables"):
            messages(slot)
        slot.tear_down()
        slot.set_up([T])
        source.execute("INSERT INTO t DEFAULT VALUES")
        assert kinds(slot) == "BRIC"
        slot.tear_down()
        source.execute("DROP PUBLICATION late")


@pytest.mark.scenario("C07")
def test_publication_that_only_looks_younger(versioned: str) -> None:
    """An older slot holds the catalogue back, and with it everything by which the ages could be told apart."""
    with psycopg.connect(versioned, autocommit=True) as source:
        source.execute("SELECT pg_create_logical_replication_slot('older', 'pgoutput')")
        slot = ReplicationSlot(PostgresAccess(versioned), "fine", "fine")
        slot.set_up([T])
        source.execute("INSERT INTO t DEFAULT VALUES")
        [(is_suspected,)] = source.execute(
            "SELECT age(publication.xmin) <= age(slot.catalog_xmin) FROM pg_publication AS publication, "
            "pg_replication_slots AS slot WHERE pubname = 'fine' AND slot_name = 'fine'"
        )
        assert is_suspected
        assert slot.preflight([T]) == []
        assert kinds(slot) == "BRIC"
        slot.tear_down()
        source.execute("SELECT pg_drop_replication_slot('older')")


@pytest.mark.scenario("C07")
def test_publication_that_leaves_out_deletes(t: psycopg.Connection, slot: ReplicationSlot) -> None:
    slot.set_up([T])
    t.execute(SQL("ALTER PUBLICATION {} SET (publish = 'insert, update')").format(Identifier(slot.publications[0])))
    assert codes(slot) == ["publication_partial"]


SOUND = (
    "CREATE TABLE x (id int PRIMARY KEY)",
    "CREATE TABLE x (id int); ALTER TABLE x REPLICA IDENTITY FULL",
    "CREATE TABLE x (id int NOT NULL UNIQUE); ALTER TABLE x REPLICA IDENTITY USING INDEX x_id_key",
    (
        "CREATE TABLE x (id int) PARTITION BY LIST (id); CREATE TABLE x1 PARTITION OF x DEFAULT; "
        "ALTER TABLE x1 REPLICA IDENTITY FULL"
    ),
)
UNIDENTIFIED = (
    "CREATE TABLE x (id int)",
    "CREATE TABLE x (id int PRIMARY KEY); ALTER TABLE x REPLICA IDENTITY NOTHING",
    "CREATE TABLE x (id int PRIMARY KEY DEFERRABLE)",
    (
        "CREATE TABLE x (id int NOT NULL UNIQUE); ALTER TABLE x REPLICA IDENTITY USING INDEX x_id_key; "
        "ALTER TABLE x DROP CONSTRAINT x_id_key"
    ),
    (
        "CREATE TABLE x (id int PRIMARY KEY) PARTITION BY LIST (id); CREATE TABLE x1 PARTITION OF x DEFAULT; "
        "ALTER TABLE x1 REPLICA IDENTITY NOTHING"
    ),
)
UNPUBLISHABLE = {
    "CREATE UNLOGGED TABLE x (id int PRIMARY KEY)": "table_kind",
    "CREATE VIEW x AS SELECT 1 AS id": "table_kind",
    "SELECT 1": "table_missing",
}
X = TableName("x", "public")


def make(connection: psycopg.Connection, definition: str) -> None:
    for statement in definition.split("; "):
        connection.execute(SQL(statement))


@pytest.mark.scenario("C07")
@pytest.mark.parametrize("definition", SOUND)
def test_table_that_tells_its_changes(t: psycopg.Connection, slot: ReplicationSlot, definition: str) -> None:
    make(t, definition)
    slot.set_up([T])
    assert codes(slot, T, X) == ["table_not_published"]
    with pytest.raises(SchemaError, match=r"is not in the publication .*: run CdcSetUpOperator"):
        raise slot.preflight([X])[0].as_error()
    slot.set_up([T, X])
    assert slot.preflight([T, X]) == []


@pytest.mark.scenario("C07")
@pytest.mark.parametrize("definition", UNIDENTIFIED)
def test_table_that_does_not_tell_which_row(t: psycopg.Connection, slot: ReplicationSlot, definition: str) -> None:
    make(t, definition)
    t.execute(sql.create_publication(slot.publications[0], [T, X]))
    assert codes(slot, T, X) == ["slot_missing", "replica_identity"]
    with pytest.raises(SchemaError, match=r'or run ALTER TABLE "public"."x" REPLICA IDENTITY FULL'):
        slot.set_up([T, X])
    assert "slot_missing" in codes(slot)


@pytest.mark.scenario("C07")
def test_key_that_is_only_deferrable(t: psycopg.Connection, slot: ReplicationSlot) -> None:
    t.execute("CREATE TABLE x (id int PRIMARY KEY DEFERRABLE, v text)")
    with pytest.raises(
        SchemaError, match=r"primary key of the table 'public.x' is DEFERRABLE .* REPLICA IDENTITY FULL"
    ):
        slot.set_up([X])
    assert t.execute("SELECT FROM pg_publication").rowcount == 0
    t.execute("ALTER TABLE x REPLICA IDENTITY FULL")
    slot.set_up([X])
    assert slot.preflight([X]) == []


@pytest.mark.scenario("C15")
def test_publication_that_tells_partitions_as_such(t: psycopg.Connection, slot: ReplicationSlot) -> None:
    t.execute("CREATE TABLE x (id int PRIMARY KEY) PARTITION BY LIST (id)")
    t.execute("CREATE TABLE x1 PARTITION OF x DEFAULT")
    t.execute(SQL("CREATE PUBLICATION {} FOR TABLE x").format(Identifier(slot.publications[0])))
    [_, finding] = slot.preflight([X])
    with pytest.raises(SchemaError, match="publish_via_partition_root = true"):
        slot.set_up([X])
    assert "slot_missing" in codes(slot)
    t.execute(finding.mending.partition(";")[0].removeprefix("run ").encode())
    slot.set_up([X])
    t.execute("INSERT INTO x VALUES (1)")
    decoder = Decoder()
    [told] = [each for each in map(decoder.decode, messages(slot)) if isinstance(each, Insert)]
    assert str(told.relation) == "public.x"
    assert slot.preflight([X]) == []
    assert codes(slot, TableName("x1", "public")) == ["table_not_published"]


@pytest.mark.scenario("C07")
@pytest.mark.parametrize("definition", UNPUBLISHABLE)
def test_what_no_publication_takes(t: psycopg.Connection, slot: ReplicationSlot, definition: str) -> None:
    make(t, definition)
    assert codes(slot, X) == ["slot_missing", "publication_missing", UNPUBLISHABLE[definition]]
    with pytest.raises(SchemaError):
        slot.set_up([T, X])
    assert t.execute("SELECT FROM pg_publication").rowcount == 0


@pytest.mark.scenario("C07")
def test_role_that_may_not_replicate(t: psycopg.Connection, source_db: str, slot: ReplicationSlot) -> None:
    slot.set_up([T])
    role = f"{slot.slot}_role"
    t.execute(SQL("CREATE ROLE {} LOGIN PASSWORD 'secret'").format(Identifier(role)))
    try:
        access = PostgresAccess(make_conninfo(source_db, user=role, password="secret"))
        theirs = ReplicationSlot(access, slot.slot, slot.publications)
        assert codes(theirs) == ["role_lacks_replication", "table_unreadable"]
        for attempt in (lambda: messages(theirs), lambda: theirs.set_up([T])):
            with pytest.raises(ConfigurationError, match=f'run ALTER ROLE "{role}" REPLICATION'):
                attempt()
        t.execute(SQL("ALTER ROLE {} REPLICATION").format(Identifier(role)))
        t.execute(SQL("GRANT SELECT ON t TO {}").format(Identifier(role)))
        assert theirs.preflight([T]) == []
        assert messages(theirs) == []
    finally:
        t.execute(SQL("DROP OWNED BY {}").format(Identifier(role)))
        t.execute(SQL("DROP ROLE {}").format(Identifier(role)))


@pytest.mark.scenario("C07")
def test_server_without_logical_decoding() -> None:
    with EmbeddedPostgres(settings={"wal_level": "replica"}, parent=quickest_place()) as server:
        slot = ReplicationSlot(PostgresAccess(server.create_database("source")), "s", "p")
        assert codes(slot)[0] == "wal_level"
        with pytest.raises(ConfigurationError, match="set wal_level to 'logical'"):
            slot.set_up([T])


@pytest.mark.scenario("C07")
def test_server_that_has_no_slot_left_or_threw_it_away() -> None:
    """The server keeps less than one file of its log for slots."""
    settings = {"max_replication_slots": "1", "max_slot_wal_keep_size": "1MB", "max_wal_size": "32MB"}
    with EmbeddedPostgres(settings=settings, parent=quickest_place()) as server:
        conninfo = server.create_database("source")
        with psycopg.connect(conninfo, autocommit=True) as source:
            source.execute("CREATE TABLE t (id serial PRIMARY KEY)")
            slot, other = (ReplicationSlot(PostgresAccess(conninfo), name, name) for name in ("s", "other"))
            slot.set_up([T])
            assert codes(other)[0] == "slots_exhausted"
            with pytest.raises(ConfigurationError, match="All 1 replication slots of the server are taken"):
                other.set_up([T])
            source.execute("INSERT INTO t DEFAULT VALUES")
            for _ in range(4):
                source.execute("SELECT pg_logical_emit_message(false, 'fill', repeat('x', 1000000))")
                source.execute("SELECT pg_switch_wal()")
                source.execute("CHECKPOINT")
            assert slot.health().wal_status == "lost"
            assert codes(slot) == ["slot_lost"]
            for attempt in (lambda: messages(slot), lambda: slot.advance(slot.flushed()), lambda: slot.set_up([T])):
                with pytest.raises(StateError, match=r"has removed WAL .* copy the tables afresh"):
                    attempt()
            slot.tear_down()
            slot.set_up([T])
            assert slot.preflight([T]) == []
