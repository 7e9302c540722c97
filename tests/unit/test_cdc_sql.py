"""The text of every statement of change data capture. That each runs is shown by the scenarios."""

from __future__ import annotations

from textwrap import dedent

from psycopg.sql import Composable

from airflow_etl_sync.cdc.postgres import sql
from airflow_etl_sync.core.model import TableName

HOSTILE = """x"; DROP TABLE t; --'"""
TABLES = [TableName("orders", "shop"), TableName(HOSTILE)]


def text(statement: Composable) -> str:
    return statement.as_string(None)


def assert_text(statement: Composable, expected: str) -> None:
    assert text(statement).strip() == dedent(expected).strip()


def test_sessions() -> None:
    assert_text(
        sql.pin_settings(),
        """
        SELECT
            set_config('DateStyle', 'ISO, YMD', false),
            set_config('IntervalStyle', 'iso_8601', false),
            set_config('TimeZone', 'UTC', false),
            set_config('extra_float_digits', '3', false),
            set_config('bytea_output', 'hex', false),
            set_config('lc_monetary', 'C', false)
        """,
    )
    assert text(sql.CHECK_FOR_A_LOST_READER) == "SET client_connection_check_interval = '1s'"
    assert text(sql.LET_IT_LAST) == "SET statement_timeout = 0"
    assert text(sql.GIVE_UP_SOON) == "SET statement_timeout = '10s'"
    assert text(sql.BE_PATIENT) == "SET lock_timeout = '60s'"


def test_peek_takes_nothing_out_of_the_slot() -> None:
    assert_text(
        sql.peek("orders", "0/16B3748", 1000, ["orders", HOSTILE]),
        """
        COPY (
            SELECT data
            FROM pg_logical_slot_peek_binary_changes(
                'orders', '0/16B3748', 1000,
                'proto_version', '1', 'publication_names', '"orders","x""; DROP TABLE t; --''"'
            )
        ) TO STDOUT (FORMAT BINARY)
        """,
    )


def test_publication_names_are_quoted_as_identifiers_are() -> None:
    assert sql.publication_names(["orders"]) == '"orders"'
    assert sql.publication_names(["A b", 'a"b', "a,b"]) == '"A b","a""b","a,b"'


def test_publications() -> None:
    hostile = '"x""; DROP TABLE t; --\'"'
    assert_text(
        sql.create_publication(HOSTILE, TABLES),
        f"""
        CREATE PUBLICATION {hostile}
        FOR TABLE "shop"."orders", {hostile}
        WITH (publish_via_partition_root = true)
        """,
    )
    assert text(sql.publish("p", TABLES)) == f'ALTER PUBLICATION "p"\nADD TABLE "shop"."orders", {hostile}'
    assert text(sql.mark_publication("p")) == "COMMENT ON PUBLICATION \"p\" IS 'made by airflow-etl-sync'"
    assert text(sql.drop_publication(HOSTILE)) == f"DROP PUBLICATION IF EXISTS {hostile}"


def test_slots() -> None:
    assert text(sql.CREATE_SLOT) == "SELECT pg_create_logical_replication_slot(%(slot)s, 'pgoutput')"
    assert text(sql.DROP_SLOT) == "SELECT pg_drop_replication_slot(%(slot)s)"


def test_advance_never_goes_back() -> None:
    assert_text(
        sql.ADVANCE,
        """
        SELECT pg_replication_slot_advance(slot_name, %(to)s::pg_lsn)
        FROM pg_replication_slots
        WHERE slot_name = %(slot)s AND confirmed_flush_lsn < %(to)s::pg_lsn
        """,
    )


def test_positions_are_asked_of_a_standby_too() -> None:
    now = "CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_flush_lsn() END"
    assert text(sql.READ_FLUSHED) == f"SELECT ({now} - '0/0'::pg_lsn)::bigint"
    assert_text(
        sql.READ_SLOT,
        f"""
        SELECT
            slot_type = 'logical',
            plugin,
            database,
            active_pid,
            coalesce(wal_status, 'lost'),
            (confirmed_flush_lsn - '0/0'::pg_lsn)::bigint,
            pg_wal_lsn_diff({now}, restart_lsn)::bigint,
            pg_wal_lsn_diff({now}, confirmed_flush_lsn)::bigint
        FROM pg_replication_slots
        WHERE slot_name = %(slot)s
        """,
    )


def test_what_there_is_is_asked_with_bound_values() -> None:
    for statement, values in (
        (sql.READ_SERVER, []),
        (sql.READ_PUBLICATIONS, ["%(mark)s", "%(slot)s", "ANY(%(publications)s)"]),
        (sql.READ_TABLES, ["ANY(%(publications)s)", "ANY(%(publications)s)", "%(relations)s::text[]"]),
        (sql.KNOWN_TYPES, ["%(oids)s::oid[]"]),
    ):
        assert text(statement).strip().startswith("SELECT")
        assert [value for value in values if value not in text(statement)] == []
        assert text(statement).count("%(") == len(values)
