"""What a real server writes into its log is decoded as what was done."""

from __future__ import annotations

from collections.abc import Iterator
from secrets import token_hex

import psycopg
import pytest

from airflow_etl_sync.cdc.fold import Fold, TableFold, Upsert
from airflow_etl_sync.cdc.pgoutput import Decoder
from airflow_etl_sync.core.changes import (
    UNCHANGED,
    Begin,
    Commit,
    Delete,
    Insert,
    LogicalMessage,
    Message,
    Truncate,
    TypeMessage,
    Update,
)
from airflow_etl_sync.errors import StateError

BIG, OTHER_BIG = token_hex(20_000), token_hex(20_000)
TABLES = """
    CREATE TYPE mood AS ENUM ('good', 'bad');
    CREATE DOMAIN euros AS numeric(8, 2);
    CREATE TABLE t (id integer PRIMARY KEY, v varchar(20), m mood, big text);
    CREATE TABLE f (id integer PRIMARY KEY DEFERRABLE, big text);
    CREATE TABLE r (id integer PRIMARY KEY, big text) PARTITION BY RANGE (id);
    CREATE TABLE r1 PARTITION OF r FOR VALUES FROM (0) TO (10);
    CREATE TABLE k (id text PRIMARY KEY, price euros);
    ALTER TABLE t ALTER COLUMN big SET STORAGE EXTERNAL;
    ALTER TABLE k ALTER COLUMN id SET STORAGE EXTERNAL;
    ALTER TABLE f REPLICA IDENTITY FULL;
    ALTER TABLE r REPLICA IDENTITY FULL;
    CREATE PUBLICATION decoded FOR TABLE t, f, r, k WITH (publish_via_partition_root = true);
"""


@pytest.fixture
def slot(source: psycopg.Connection) -> Iterator[str]:
    source.execute(TABLES)
    name = f"decoded_{token_hex(6)}"
    source.execute("SELECT pg_create_logical_replication_slot(%s, 'pgoutput')", [name])
    yield name
    source.execute("SELECT pg_drop_replication_slot(%s)", [name])


@pytest.fixture
def shop(source: psycopg.Connection, slot: str) -> psycopg.Connection:
    """A source whose changes a slot keeps."""
    return source


def messages(source: psycopg.Connection) -> list[bytes]:
    query = """
        SELECT data
        FROM
            pg_replication_slots,
            pg_logical_slot_peek_binary_changes(
                slot_name, NULL, NULL, 'proto_version', '1', 'publication_names', 'decoded', 'messages', 'true'
            )
        WHERE database = current_database()
    """
    return [bytes(data) for (data,) in source.execute(query)]


def decoded(source: psycopg.Connection) -> list[Message]:
    decoder = Decoder()
    return [decoder.decode(data) for data in messages(source)]


def transactions(source: psycopg.Connection) -> list[Message]:
    """The changes, and where transactions begin and end."""
    of_transactions = (Begin, Commit, Insert, Update, Delete, Truncate)
    return [message for message in decoded(source) if isinstance(message, of_transactions)]


def told(source: psycopg.Connection) -> list[object]:
    """The changes without the transactions around them, as kinds and values."""
    found: list[object] = []
    for message in transactions(source):
        if isinstance(message, Insert):
            found.append(("insert", message.relation.name, message.new))
        elif isinstance(message, Update):
            found.append(("update", message.relation.name, message.old, message.new, message.is_old_key))
        elif isinstance(message, Delete):
            found.append(("delete", message.relation.name, message.old, message.is_old_key))
        elif isinstance(message, Truncate):
            found.append(("truncate", [relation.name for relation in message.relations]))
    return found


def test_every_kind_of_change(shop: psycopg.Connection) -> None:
    shop.execute("INSERT INTO t VALUES (1, 'a', 'good', NULL)")
    shop.execute("UPDATE t SET v = 'ü' WHERE id = 1")
    shop.execute("UPDATE t SET id = 2 WHERE id = 1")
    shop.execute("DELETE FROM t")
    shop.execute("TRUNCATE t, f")
    assert told(shop) == [
        ("insert", "t", ("1", "a", "good", None)),
        ("update", "t", None, ("1", "ü", "good", None), True),
        ("update", "t", ("1", None, None, None), ("2", "ü", "good", None), True),
        ("delete", "t", ("2", None, None, None), True),
        ("truncate", ["t", "f"]),
    ]


def test_values_out_of_line_are_told_once(shop: psycopg.Connection) -> None:
    shop.execute("INSERT INTO t VALUES (1, 'a', NULL, %s)", [BIG])
    shop.execute("UPDATE t SET v = 'b'")
    shop.execute("UPDATE t SET id = 2")
    shop.execute("INSERT INTO f VALUES (1, %s)", [BIG])
    shop.execute("UPDATE f SET id = 2")
    shop.execute("DELETE FROM f")
    assert told(shop) == [
        ("insert", "t", ("1", "a", None, BIG)),
        ("update", "t", None, ("1", "b", None, UNCHANGED), True),
        ("update", "t", ("1", None, None, None), ("2", "b", None, UNCHANGED), True),
        ("insert", "f", ("1", BIG)),
        ("update", "f", ("1", BIG), ("2", UNCHANGED), False),
        ("delete", "f", ("2", BIG), False),
    ]


def test_swapped_keys_are_told_row_by_row(shop: psycopg.Connection) -> None:
    shop.execute("INSERT INTO t VALUES (1, 'a', NULL, %s), (2, 'b', NULL, %s)", [BIG, OTHER_BIG])
    shop.execute("INSERT INTO f VALUES (1, 'a'), (2, 'b')")
    before = len(told(shop))
    with shop.transaction():
        for former, new in ((1, 3), (2, 1), (3, 2)):
            shop.execute("UPDATE t SET id = %s WHERE id = %s", [new, former])
        shop.execute("SET CONSTRAINTS ALL DEFERRED")
        shop.execute("UPDATE f SET id = 3 - id")
    assert told(shop)[before:] == [
        ("update", "t", ("1", None, None, None), ("3", "a", None, UNCHANGED), True),
        ("update", "t", ("2", None, None, None), ("1", "b", None, UNCHANGED), True),
        ("update", "t", ("3", None, None, None), ("2", "a", None, UNCHANGED), True),
        ("update", "f", ("1", "a"), ("2", "a"), False),
        ("update", "f", ("2", "b"), ("1", "b"), False),
    ]


def test_a_key_out_of_line_is_told_in_the_old_row(shop: psycopg.Connection) -> None:
    key = token_hex(1_200)
    shop.execute("INSERT INTO k VALUES (%s, 1)", [key])
    shop.execute("UPDATE k SET price = 2.5")
    shop.execute("DELETE FROM k")
    assert told(shop) == [
        ("insert", "k", (key, "1.00")),
        ("update", "k", (key, None), (UNCHANGED, "2.50"), True),
        ("delete", "k", (key, None), True),
    ]
    table = folded(shop)["k"]
    assert (table.upserts, table.deletes) == ({}, {(key,): None})


def test_partitions_of_a_table_with_full_tell_keys_only_and_call_them_rows(shop: psycopg.Connection) -> None:
    shop.execute("INSERT INTO r VALUES (1, %s)", [BIG])
    shop.execute("UPDATE r SET id = 2")
    assert told(shop) == [
        ("insert", "r", ("1", BIG)),
        ("update", "r", ("1", None), ("2", UNCHANGED), False),
    ]
    assert folded(shop)["r"].upserts == {("2",): Upsert(("2", BIG))}
    assert folded(shop, skipped=1)["r"].upserts == {("2",): Upsert(("2", UNCHANGED), moved_from=("1",))}


def test_a_row_that_a_filter_lets_in_may_come_without_values(shop: psycopg.Connection, server_version: int) -> None:
    if server_version < 150_000:
        pytest.skip("row filters came with PostgreSQL 15")
    shop.execute("ALTER PUBLICATION decoded SET TABLE t WHERE (id > 5)")
    shop.execute("INSERT INTO t VALUES (7, 'old', NULL, %s), (1, 'new', NULL, %s)", [BIG, OTHER_BIG])
    shop.execute("DELETE FROM t WHERE id = 7")
    shop.execute("UPDATE t SET id = 7")
    assert told(shop)[1:] == [
        ("delete", "t", ("7", None, None, None), True),
        ("insert", "t", ("7", "new", None, UNCHANGED)),
    ]
    assert folded(shop)["t"].upserts == {("7",): Upsert(("7", "new", None, UNCHANGED), is_new=True)}


@pytest.fixture
def server_version(source: psycopg.Connection) -> int:
    return source.info.server_version


def folded(source: psycopg.Connection, skipped: int = 0) -> dict[str, TableFold]:
    """What is folded from all changes but the first, by the table's name."""
    fold = Fold({"public.r": ["id"]})
    changes = [each for each in transactions(source) if isinstance(each, (Insert, Update, Delete, Truncate))]
    for change in changes[skipped:]:
        fold.add(change)
    return {table.relation.name: table for table in fold.tables.values()}


def test_texts_of_a_database_in_another_encoding(shop: psycopg.Connection) -> None:
    """What decides is the session's encoding, which by default is the database's."""
    shop.execute("INSERT INTO t VALUES (1, 'Größe')")
    shop.execute("SET client_encoding = 'LATIN1'")
    with pytest.raises(StateError, match="client_encoding UTF8"):
        told(shop)
    shop.execute("SET client_encoding = 'UTF8'")
    assert told(shop) == [("insert", "t", ("1", "Größe", None, None))]


def test_transactions_come_whole_in_the_order_of_their_commits(shop: psycopg.Connection, source_db: str) -> None:
    with psycopg.connect(source_db) as early, psycopg.connect(source_db) as late:
        late.execute("INSERT INTO t VALUES (1)")
        early.execute("INSERT INTO t VALUES (2)")
        early.execute("SAVEPOINT s")
        early.execute("INSERT INTO t VALUES (3)")
        early.execute("ROLLBACK TO s")
        early.execute("SAVEPOINT kept")
        early.execute("INSERT INTO t VALUES (5)")
        early.execute("RELEASE kept")
        early.commit()
        late.execute("INSERT INTO t VALUES (4)")
        late.commit()
    found = transactions(shop)
    assert [type(each) for each in found] == [Begin, Insert, Insert, Commit, Begin, Insert, Insert, Commit]
    assert [each.new[0] for each in found if isinstance(each, Insert)] == ["2", "5", "1", "4"]
    begins = [each for each in found if isinstance(each, Begin)]
    commits = [each for each in found if isinstance(each, Commit)]
    assert [each.final_lsn for each in begins] == [each.lsn for each in commits]
    assert [each.committed_at for each in begins] == [each.committed_at for each in commits]
    assert commits[0].lsn < commits[0].end_lsn <= commits[1].lsn < commits[1].end_lsn


def test_tables_and_types_are_told_before_they_are_used(shop: psycopg.Connection) -> None:
    shop.execute("INSERT INTO t VALUES (1, 'a', 'bad', NULL)")
    shop.execute("ALTER TABLE t ADD COLUMN w integer")
    shop.execute("INSERT INTO t VALUES (2, 'b', 'bad', NULL, 7)")
    shop.execute("INSERT INTO k VALUES ('k', 9.99)")
    shop.execute("SELECT pg_logical_emit_message(false, 'note', '')")
    shop.execute("SELECT pg_logical_emit_message(true, 'note', 'hello')")
    found = decoded(shop)
    first, second, third = (each for each in found if isinstance(each, Insert))
    assert [column.name for column in first.relation.columns] == ["id", "v", "m", "big"]
    assert [column.name for column in second.relation.columns] == ["id", "v", "m", "big", "w"]
    assert [column.is_key for column in first.relation.columns] == [True, False, False, False]
    assert first.relation.columns[1].type_modifier == 24, "varchar(20), and four bytes of its header"
    types = {each.oid: each for each in found if isinstance(each, TypeMessage)}
    assert types[first.relation.columns[2].type_oid].name == "mood"
    assert types[third.relation.columns[1].type_oid].name == "numeric", "of a domain the name of what it is over"
    notes = [(each.prefix, each.content, each.is_transactional) for each in found if isinstance(each, LogicalMessage)]
    assert sorted(notes) == [("note", b"", False), ("note", b"hello", True)]
