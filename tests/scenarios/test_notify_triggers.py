"""C14: what the source tells of its statements, and that telling never stands in a statement's way."""

from __future__ import annotations

import json
import threading
from typing import Any

import psycopg
import pytest
from psycopg.sql import SQL, Composed, Identifier

from airflow_etl_sync import ConfigurationError, EtlSyncError, PostgresCdcHook, SourceError
from airflow_etl_sync.cdc.postgres import notify_sql
from airflow_etl_sync.cdc.postgres.notify import (
    apply_notify_triggers,
    notify_removal_sql,
    notify_trigger_sql,
    remove_notify_triggers,
)
from airflow_etl_sync.core.model import TableName
from airflow_etl_sync.systems.postgres.sql.names import identifier
from tests.scenarios.listening import define

pytestmark = pytest.mark.scenario("C14")

ORDERS = TableName("orders", "public")
HOSTILE = TableName('a"; DROP TABLE orders; --', "s'$notify${x}%s")
ABOUT = {"schema": "public", "table": "orders"}


@pytest.fixture
def listener(source_db: str, source: psycopg.Connection) -> psycopg.Connection:
    """Table ``orders``, and a connection that hears the channel ``orders_changed``."""
    source.execute("CREATE TABLE orders (id bigint PRIMARY KEY, status text)")
    listener = psycopg.connect(source_db, autocommit=True)
    listener.execute("LISTEN orders_changed")
    return listener


@pytest.fixture(autouse=True)
def _closed(listener: psycopg.Connection) -> Any:
    yield
    listener.close()


def told(listener: psycopg.Connection) -> list[dict[str, Any]]:
    """Give the payloads since the last call: whatever was sent before a connection's answer comes before it."""
    listener.execute("SELECT 1")
    return [json.loads(notification.payload) for notification in listener.notifies(timeout=0)]


def about(operation: str, *keys: int) -> dict[str, Any]:
    return {**ABOUT, "operation": operation, "keys": [{"id": key} for key in keys]}


def test_each_statement_tells_once(source: psycopg.Connection, listener: psycopg.Connection) -> None:
    apply_notify_triggers(source, ORDERS, "orders_changed")
    source.execute("INSERT INTO orders SELECT i, 'new' FROM generate_series(1, 3) AS i")
    source.execute("UPDATE orders SET status = 'paid' WHERE id = 2")
    source.execute("DELETE FROM orders WHERE id = 3")
    source.execute("TRUNCATE orders")
    assert told(listener) == [
        about("INSERT", 1, 2, 3), about("UPDATE", 2), about("DELETE", 3), {**ABOUT, "operation": "TRUNCATE"},
    ]  # fmt: skip


def test_copy_and_upsert_tell_too(source: psycopg.Connection, listener: psycopg.Connection) -> None:
    apply_notify_triggers(source, ORDERS, "orders_changed")
    with source.cursor().copy("COPY orders FROM STDIN") as copy:
        copy.write_row([1, "new"])
    source.execute("INSERT INTO orders VALUES (1, 'x'), (2, 'x') ON CONFLICT (id) DO UPDATE SET status = 'y'")
    assert told(listener) == [about("INSERT", 1), about("UPDATE", 1), about("INSERT", 2)]


def test_what_changes_nothing_tells_nothing(source: psycopg.Connection, listener: psycopg.Connection) -> None:
    apply_notify_triggers(source, ORDERS, "orders_changed")
    source.execute("UPDATE orders SET status = 'x'")
    source.execute("DELETE FROM orders")
    with source.transaction(force_rollback=True):
        source.execute("INSERT INTO orders VALUES (1)")
    assert told(listener) == []


@pytest.mark.parametrize(("rows", "has_keys"), [(100, True), (101, False)])
def test_many_keys_are_left_out(
    source: psycopg.Connection, listener: psycopg.Connection, rows: int, has_keys: bool
) -> None:
    apply_notify_triggers(source, ORDERS, "orders_changed")
    source.execute("INSERT INTO orders SELECT i FROM generate_series(1, %s) AS i", [rows])
    [payload] = told(listener)
    assert payload["operation"] == "INSERT" and ("keys" in payload) is has_keys


def test_long_keys_are_left_out_before_notify_refuses_them(
    source: psycopg.Connection, listener: psycopg.Connection
) -> None:
    source.execute('CREATE TABLE notes (id text COLLATE "C")')
    apply_notify_triggers(source, TableName("notes"), "orders_changed", key=["id"])
    for length in range(7_880, 7_960):
        source.execute("INSERT INTO notes VALUES (repeat('x', %s))", [length])
        source.execute("INSERT INTO notes VALUES (repeat('€', %s))", [length // 3])
    payloads = told(listener)
    assert len(payloads) == 160
    assert {"keys" in payload for payload in payloads} == {True, False}


def test_keys_may_be_kept_secret(source: psycopg.Connection, listener: psycopg.Connection) -> None:
    apply_notify_triggers(source, ORDERS, "orders_changed", max_keys=0)
    source.execute("INSERT INTO orders VALUES (1)")
    assert told(listener) == [{**ABOUT, "operation": "INSERT"}]


def test_a_table_without_a_key_tells_the_operation(source: psycopg.Connection, listener: psycopg.Connection) -> None:
    source.execute("ALTER TABLE orders DROP CONSTRAINT orders_pkey")
    apply_notify_triggers(source, ORDERS, "orders_changed")
    source.execute("INSERT INTO orders VALUES (1)")
    assert told(listener) == [{**ABOUT, "operation": "INSERT"}]


@pytest.mark.parametrize("change", ["RENAME id TO order_id", "DROP COLUMN id"])
def test_a_changed_table_can_still_be_written(
    source: psycopg.Connection, listener: psycopg.Connection, change: str
) -> None:
    apply_notify_triggers(source, ORDERS, "orders_changed")
    source.execute("INSERT INTO orders VALUES (1)")
    source.execute(SQL("ALTER TABLE orders {}").format(SQL(change)))
    source.execute("INSERT INTO orders (status) VALUES ('x')" if "DROP" in change else "INSERT INTO orders VALUES (2)")
    assert told(listener) == [about("INSERT", 1), {**ABOUT, "operation": "INSERT"}]


def test_columns_may_be_called_like_the_function_s_own(
    source: psycopg.Connection, listener: psycopg.Connection
) -> None:
    source.execute("CREATE TABLE odd (told int, with_keys int, changed int, changes int, PRIMARY KEY (told, changed))")
    apply_notify_triggers(source, TableName("odd"), "orders_changed")
    source.execute("INSERT INTO odd VALUES (1, 2, 3, 4)")
    [payload] = told(listener)
    assert payload["keys"] == [{"told": 1, "changed": 3}]


def test_a_writer_needs_no_rights_of_its_own(source: psycopg.Connection, listener: psycopg.Connection) -> None:
    apply_notify_triggers(source, ORDERS, "orders_changed")
    source.execute(
        "DROP ROLE IF EXISTS notify_writer; CREATE ROLE notify_writer; GRANT INSERT ON orders TO notify_writer"
    )
    source.execute("SET ROLE notify_writer; SET search_path = pg_temp")
    source.execute("CREATE TEMP TABLE changed (id int)")
    source.execute("INSERT INTO public.orders VALUES (1)")
    source.execute("RESET ROLE; DROP TABLE pg_temp.changed; REVOKE ALL ON public.orders FROM notify_writer")
    source.execute("DROP ROLE notify_writer")
    assert told(listener) == [about("INSERT", 1)]


def test_a_partitioned_table_tells(source: psycopg.Connection, listener: psycopg.Connection) -> None:
    source.execute("DROP TABLE orders; CREATE TABLE orders (id bigint PRIMARY KEY) PARTITION BY HASH (id)")
    source.execute("CREATE TABLE orders_1 PARTITION OF orders FOR VALUES WITH (MODULUS 1, REMAINDER 0)")
    apply_notify_triggers(source, ORDERS, "orders_changed")
    source.execute("INSERT INTO orders VALUES (1)")
    assert told(listener) == [about("INSERT", 1)]


def hostile(statement: str) -> Composed:
    return SQL(statement).format(identifier(HOSTILE), Identifier('k"ey$notify$'))


def test_names_may_hold_anything(source: psycopg.Connection, listener: psycopg.Connection) -> None:
    channel = "it's; $notify$ {} %s \\"
    source.execute(SQL("CREATE SCHEMA {}").format(Identifier(str(HOSTILE.schema))))
    source.execute(hostile("CREATE TABLE {} ({} text PRIMARY KEY)"))
    apply_notify_triggers(source, HOSTILE, channel)
    listener.execute(SQL("LISTEN {}").format(Identifier(channel)))
    source.execute(hostile("INSERT INTO {} VALUES ('x\"y')"))
    [payload] = told(listener)
    assert payload == {
        "schema": HOSTILE.schema, "table": HOSTILE.name, "operation": "INSERT", "keys": [{'k"ey$notify$': 'x"y'}],
    }  # fmt: skip
    assert source.execute("SELECT to_regclass('orders') IS NOT NULL").fetchone() == (True,)
    remove_notify_triggers(source, HOSTILE)


def left(source: psycopg.Connection) -> tuple[Any, ...] | None:
    return source.execute(
        "SELECT (SELECT count(*) FROM pg_trigger WHERE NOT tgisinternal),"
        " (SELECT count(*) FROM pg_proc WHERE proname LIKE 'etl_sync%')"
    ).fetchone()


def test_applying_again_replaces_and_removing_leaves_nothing(
    source: psycopg.Connection, listener: psycopg.Connection
) -> None:
    apply_notify_triggers(source, ORDERS, "another")
    apply_notify_triggers(source, ORDERS, "orders_changed")
    assert left(source) == (4, 1)
    source.execute("INSERT INTO orders VALUES (1)")
    assert len(told(listener)) == 1
    remove_notify_triggers(source, ORDERS)
    remove_notify_triggers(source, ORDERS)
    assert left(source) == (0, 0)


def test_the_sql_can_be_run_by_hand(source: psycopg.Connection, listener: psycopg.Connection) -> None:
    source.execute(notify_trigger_sql(ORDERS, "orders_changed", key=["id"]).encode())
    source.execute("INSERT INTO orders VALUES (1)")
    assert told(listener) == [about("INSERT", 1)]
    source.execute(notify_removal_sql(ORDERS).encode())
    assert left(source) == (0, 0)


def test_a_long_name_has_a_function_of_its_own(source: psycopg.Connection, listener: psycopg.Connection) -> None:
    names = ["o" * 60 + end for end in ("1", "2")]
    for name in names:
        source.execute(SQL("CREATE TABLE {} (id int PRIMARY KEY)").format(Identifier(name)))
        apply_notify_triggers(source, TableName(name), "orders_changed")
        source.execute(SQL("INSERT INTO {} VALUES (1)").format(Identifier(name)))
    assert left(source) == (8, 2)
    assert [payload["table"] for payload in told(listener)] == names


def test_a_table_that_is_none_is_named(source: psycopg.Connection, listener: psycopg.Connection) -> None:
    with pytest.raises(Exception, match="make triggers that notify of changes of 'nothing'"):
        apply_notify_triggers(source, TableName("nothing"), "orders_changed")
    assert left(source) == (0, 0)
    with pytest.raises(ConfigurationError, match="max_keys"):
        notify_trigger_sql(ORDERS, "orders_changed", max_keys=-1)


def test_writers_are_not_held_up_for_long(
    source: psycopg.Connection, source_db: str, listener: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notify_sql, "BE_BRIEF", SQL("SET LOCAL lock_timeout = '200ms'"))
    with psycopg.connect(source_db) as writer:
        writer.execute("INSERT INTO orders VALUES (1)")
        with pytest.raises(SourceError, match="lock timeout"):
            apply_notify_triggers(source, ORDERS, "orders_changed")
        release = threading.Timer(0.1, writer.rollback)
        release.start()
        apply_notify_triggers(source, ORDERS, "orders_changed")
        release.join()
    assert left(source) == (4, 1)


@pytest.fixture
def hook(source_db: str, monkeypatch: pytest.MonkeyPatch) -> PostgresCdcHook:
    define(monkeypatch, "shop", source_db)
    return PostgresCdcHook("shop")


def test_the_hook_makes_and_removes_triggers(
    hook: PostgresCdcHook, source: psycopg.Connection, listener: psycopg.Connection
) -> None:
    hook.apply_notify_triggers("public.orders", "orders_changed", max_keys=1)
    source.execute("INSERT INTO orders VALUES (1, 'new')")
    source.execute("INSERT INTO orders VALUES (2, 'new'), (3, 'new')")
    assert told(listener) == [about("INSERT", 1), {**ABOUT, "operation": "INSERT"}]
    hook.remove_notify_triggers("public.orders")
    source.execute("INSERT INTO orders VALUES (4, 'new')")
    assert told(listener) == []


def test_the_hook_gives_the_sql_for_who_owns_the_table(
    hook: PostgresCdcHook, source: psycopg.Connection, listener: psycopg.Connection
) -> None:
    source.execute(hook.notify_trigger_sql("public.orders", "orders_changed", key=["id"]).encode())
    source.execute("DELETE FROM orders")
    source.execute("INSERT INTO orders VALUES (1, 'new')")
    assert told(listener) == [about("INSERT", 1)]


def test_the_hook_says_what_it_may_not(hook: PostgresCdcHook, listener: psycopg.Connection) -> None:
    for table, said in (("a.b.c", "is not a table name"), ("public.nowhere", "make triggers that notify of changes")):
        with pytest.raises(EtlSyncError, match=said):
            hook.apply_notify_triggers(table, "orders_changed")
