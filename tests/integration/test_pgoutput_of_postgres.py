"""What a real server writes into its log is decoded as what was done."""

from __future__ import annotations

from collections.abc import Iterator
from secrets import token_hex

import psycopg
import pytest

from airflow_etl_sync.cdc.pgoutput import Decoder, transactions
from airflow_etl_sync.core.changes import (
    UNCHANGED,
    Begin,
    Commit,
    Delete,
    Insert,
    LogicalMessage,
    Truncate,
    TypeMessage,
    Update,
)

SLOT = "decoded"
BIG = token_hex(20_000)


@pytest.fixture
def shop(source: psycopg.Connection) -> Iterator[psycopg.Connection]:
    source.execute("CREATE TYPE mood AS ENUM ('good', 'bad')")
    source.execute("CREATE TABLE t (id integer PRIMARY KEY, v varchar(20), m mood, big text)")
    source.execute("ALTER TABLE t ALTER COLUMN big SET STORAGE EXTERNAL")
    source.execute("CREATE TABLE f (id integer PRIMARY KEY, big text)")
    source.execute("ALTER TABLE f REPLICA IDENTITY FULL")
    source.execute("CREATE PUBLICATION decoded FOR TABLE t, f")
    source.execute("SELECT pg_create_logical_replication_slot(%s, 'pgoutput')", [SLOT])
    yield source
    source.execute("SELECT pg_drop_replication_slot(%s)", [SLOT])


def messages(source: psycopg.Connection) -> list[tuple[int, bytes]]:
    query = """
        SELECT lsn - '0/0', data
        FROM pg_logical_slot_get_binary_changes(
            'decoded', NULL, NULL, 'proto_version', '1', 'publication_names', 'decoded', 'messages', 'true'
        )
    """
    return [(int(lsn), bytes(data)) for lsn, data in source.execute(query)]


def told(source: psycopg.Connection) -> list[object]:
    """The changes without the transactions around them, as kinds and values."""
    found: list[object] = []
    for message in transactions(messages(source), Decoder()):
        if isinstance(message, Insert):
            found.append(("insert", message.relation.name, message.new))
        elif isinstance(message, Update):
            found.append(("update", message.relation.name, message.old, message.new, message.is_old_key))
        elif isinstance(message, Delete):
            found.append(("delete", message.relation.name, message.old))
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
        ("delete", "t", ("2", None, None, None)),
        ("truncate", ["t", "f"]),
    ]


def test_values_out_of_line_are_told_once(shop: psycopg.Connection) -> None:
    shop.execute("INSERT INTO t VALUES (1, 'a', NULL, %s)", [BIG])
    shop.execute("UPDATE t SET v = 'b'")
    shop.execute("UPDATE t SET id = 2")
    shop.execute("INSERT INTO f VALUES (1, %s)", [BIG])
    shop.execute("UPDATE f SET id = 2")
    assert told(shop) == [
        ("insert", "t", ("1", "a", None, BIG)),
        ("update", "t", None, ("1", "b", None, UNCHANGED), True),
        ("update", "t", ("1", None, None, None), ("2", "b", None, UNCHANGED), True),
        ("insert", "f", ("1", BIG)),
        ("update", "f", ("1", BIG), ("2", UNCHANGED), False),
    ]


def test_transactions_come_whole_in_the_order_of_their_commits(shop: psycopg.Connection, source_db: str) -> None:
    with psycopg.connect(source_db) as early, psycopg.connect(source_db) as late:
        late.execute("INSERT INTO t VALUES (1)")
        early.execute("INSERT INTO t VALUES (2)")
        early.execute("SAVEPOINT s")
        early.execute("INSERT INTO t VALUES (3)")
        early.execute("ROLLBACK TO s")
        early.commit()
        late.execute("INSERT INTO t VALUES (4)")
        late.commit()
    found = list(transactions(messages(shop), Decoder()))
    assert [type(each) for each in found] == [Begin, Insert, Commit, Begin, Insert, Insert, Commit]
    assert [each.new[0] for each in found if isinstance(each, Insert)] == ["2", "1", "4"]
    ends = [each.end_lsn for each in found if isinstance(each, Commit)]
    assert ends == sorted(ends)


def test_tables_and_types_are_told_before_they_are_used(shop: psycopg.Connection) -> None:
    shop.execute("INSERT INTO t VALUES (1, 'a', 'bad', NULL)")
    shop.execute("ALTER TABLE t ADD COLUMN w integer")
    shop.execute("INSERT INTO t VALUES (2, 'b', 'bad', NULL, 7)")
    shop.execute("SELECT pg_logical_emit_message(true, 'note', 'hello')")
    decoder = Decoder()
    found = [decoder.decode(data) for _, data in messages(shop)]
    first, second = (each for each in found if isinstance(each, Insert))
    assert [column.name for column in first.relation.columns] == ["id", "v", "m", "big"]
    assert [column.name for column in second.relation.columns] == ["id", "v", "m", "big", "w"]
    assert [column.is_key for column in first.relation.columns] == [True, False, False, False]
    assert first.relation.columns[1].type_modifier == 24, "varchar(20), and four bytes of its header"
    assert any(isinstance(each, TypeMessage) and each.name == "mood" for each in found)
    assert any(isinstance(each, LogicalMessage) and each.content == b"hello" for each in found)
