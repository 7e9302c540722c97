"""The text of every statement of waiting and telling, and what is refused before any is sent."""

from __future__ import annotations

from textwrap import dedent

import pytest
from psycopg.sql import Composable, Identifier

from airflow_etl_sync.cdc.postgres import notify_sql
from airflow_etl_sync.cdc.postgres.notify import notify_removal_sql, notify_trigger_sql
from airflow_etl_sync.core.channel import Probe, probe_of
from airflow_etl_sync.core.model import TableName
from airflow_etl_sync.errors import ConfigurationError

ORDERS = TableName("orders", "shop")
FUNCTION = Identifier("shop", "etl_sync_notify_orders")


def assert_text(statement: Composable, expected: str) -> None:
    assert statement.as_string(None).strip() == dedent(expected).strip()


def test_sessions_that_wait() -> None:
    assert_text(notify_sql.ASK_QUICKLY, "SELECT set_config('statement_timeout', '30s', false)")
    assert_text(
        notify_sql.STAY_IDLE,
        """
        SELECT set_config(name, '0', false)
        FROM pg_settings
        WHERE name = 'idle_session_timeout'
        """,
    )
    assert_text(notify_sql.IS_THERE, "SELECT 1")
    assert_text(notify_sql.BE_BRIEF, "SET LOCAL lock_timeout = '10s'")


def test_listen() -> None:
    assert_text(notify_sql.listen('a"; --'), 'LISTEN "a""; --"')


def test_newest_cursor() -> None:
    assert_text(
        notify_sql.newest_cursor(Probe(ORDERS, "updated at")),
        'SELECT max(source."updated at")::text\nFROM "shop"."orders" AS source',
    )


def test_read_slot_standing() -> None:
    assert_text(
        notify_sql.READ_SLOT_STANDING,
        """
        SELECT
            CASE
                WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn()
                ELSE pg_current_wal_flush_lsn()
            END - '0/0'::pg_lsn,
            slot.confirmed_flush_lsn - '0/0'::pg_lsn,
            coalesce(slot.wal_status = 'lost', FALSE)
        FROM (VALUES (1)) AS one
        LEFT JOIN pg_replication_slots AS slot ON slot.slot_name = %(slot)s
        """,
    )


def test_create_notify_function() -> None:
    assert_text(
        notify_sql.create_notify_function(FUNCTION, "it's", ["id", 'a"b'], 5),
        """
        CREATE OR REPLACE FUNCTION "shop"."etl_sync_notify_orders"()
        RETURNS trigger
        LANGUAGE plpgsql
        SET search_path = ''
        AS $notify$
        #variable_conflict use_variable
        DECLARE
            told jsonb := jsonb_build_object('schema', TG_TABLE_SCHEMA, 'table', TG_TABLE_NAME, 'operation', TG_OP);
            with_keys jsonb;
            changes bigint;
        BEGIN
            IF TG_OP <> 'TRUNCATE' THEN
                SELECT count(*) INTO changes FROM (SELECT FROM changed LIMIT 6) AS few;
                IF changes = 0 THEN
                    RETURN NULL;
                END IF;
                IF changes <= 5 THEN
                    BEGIN
                        SELECT told || jsonb_build_object('keys', jsonb_agg(jsonb_build_object('id', changed."id", 'a"b', changed."a""b")))
                        INTO with_keys
                        FROM changed;
                    EXCEPTION WHEN OTHERS THEN
                        with_keys := NULL;  -- such as a renamed column: the statement itself must not fail
                    END;
                END IF;
            END IF;
            IF octet_length(with_keys::text) <= 7999 THEN
                told := with_keys;
            END IF;
            PERFORM pg_notify('it''s', told::text);
            RETURN NULL;
        END
        $notify$
        """,  # noqa: E501
    )


def test_a_body_that_holds_its_quotes_has_others() -> None:
    text = notify_sql.create_notify_function(FUNCTION, "$notify$ {}", [], 5).as_string(None)
    assert text.count("$notify_$") == 2 and "'$notify$ {}'" in text
    assert "changes <= 0" in text and "jsonb_agg" in text


@pytest.mark.parametrize(("operation", "rows"), [("INSERT", "NEW"), ("UPDATE", "NEW"), ("DELETE", "OLD")])
def test_create_notify_trigger(operation: str, rows: str) -> None:
    assert_text(
        notify_sql.create_notify_trigger(ORDERS, operation, FUNCTION),
        f"""
        CREATE OR REPLACE TRIGGER "etl_sync_notify_{operation.lower()}"
        AFTER {operation} ON "shop"."orders"
        REFERENCING {rows} TABLE AS changed
        FOR EACH STATEMENT
        EXECUTE FUNCTION "shop"."etl_sync_notify_orders"()
        """,
    )


def test_create_notify_trigger_of_truncate() -> None:
    assert_text(
        notify_sql.create_notify_trigger(ORDERS, "TRUNCATE", FUNCTION),
        """
        CREATE OR REPLACE TRIGGER "etl_sync_notify_truncate"
        AFTER TRUNCATE ON "shop"."orders"
        FOR EACH STATEMENT
        EXECUTE FUNCTION "shop"."etl_sync_notify_orders"()
        """,
    )


def test_the_script_makes_one_function_and_four_triggers() -> None:
    script = notify_trigger_sql(ORDERS, "orders_changed", key=["id"])
    assert script.count("CREATE OR REPLACE FUNCTION") == 1
    assert script.count("CREATE OR REPLACE TRIGGER") == 4


def test_the_removal() -> None:
    assert notify_removal_sql(TableName("orders")) == (
        'DROP TRIGGER IF EXISTS "etl_sync_notify_insert" ON "orders";\n'
        'DROP TRIGGER IF EXISTS "etl_sync_notify_update" ON "orders";\n'
        'DROP TRIGGER IF EXISTS "etl_sync_notify_delete" ON "orders";\n'
        'DROP TRIGGER IF EXISTS "etl_sync_notify_truncate" ON "orders";\n'
        'DROP FUNCTION IF EXISTS "etl_sync_notify_orders"();\n'
    )


def test_a_probe_is_a_table_and_its_cursor() -> None:
    assert probe_of("shop.orders", "at") == Probe(ORDERS, "at")
    assert probe_of(None, None) is None


@pytest.mark.parametrize(("table", "cursor"), [("t", None), (None, "c"), ("t", "xmin"), ("t", "a\0"), ("a.b.c", "d")])
def test_half_a_probe_is_refused(table: str | None, cursor: str | None) -> None:
    with pytest.raises(ConfigurationError):
        probe_of(table, cursor)
