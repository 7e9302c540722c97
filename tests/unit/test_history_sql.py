"""The text of each statement by which changes are appended to a history."""

from __future__ import annotations

from psycopg.sql import Composable, Identifier

from airflow_etl_sync.cdc import history_sql
from airflow_etl_sync.core.model import TableName

TABLE = TableName('or"ders', "shop")
KEY = [("id", "bigint"), ('k"ey', "text")]


def text(statement: Composable) -> str:
    return statement.as_string(None)


def same(alias: str) -> str:
    return (
        f'"{alias}"."id" = CAST("staged"."etl_sync.moved.id" AS bigint)\n'
        f'    AND "{alias}"."k""ey" = CAST("staged"."etl_sync.moved.k""ey" AS text)'
    )


OLDER = f"""{same("target")}
            AND (target."_sync_lsn", target."_sync_sequence") < (staged."_sync_lsn"::pg_lsn, staged."_sync_sequence")
            AND target."_sync_lsn" >= '0/8'::pg_lsn
            AND (target."_sync_op" <> 'snapshot' OR staged."_sync_lsn"::pg_lsn >= '1/0'::pg_lsn)"""


def test_the_table() -> None:
    assert text(history_sql.index_keys(TABLE, ["id", 'k"ey'])) == (
        'CREATE INDEX ON "shop"."or""ders" ("id", "k""ey", "_sync_lsn", "_sync_sequence")'
    )
    assert text(history_sql.read_newest(TABLE)) == (
        """SELECT (max("_sync_lsn") - '0/0'::pg_lsn)::bigint FROM "shop"."or""ders\""""
    )
    assert text(history_sql.mark_resync(TABLE, 15)) == (
        'INSERT INTO "shop"."or""ders" ("_sync_op", "_sync_lsn", "_sync_sequence", "_sync_committed_at")\n'
        "SELECT 'resync', '0/F'::pg_lsn, 0, now()\n"
        'WHERE EXISTS (SELECT FROM "shop"."or""ders")\n'
        'ON CONFLICT ("_sync_lsn", "_sync_sequence") DO NOTHING'
    )


def test_what_is_there_already() -> None:
    strangers = text(history_sql.find_strangers(TABLE, "stage_1"))
    assert 'FROM "etl_sync"."stage_1" AS staged\n    JOIN "shop"."or""ders" AS target' in strangers
    assert (
        'WHERE target."_sync_op" <> staged."_sync_op" OR target."_sync_committed_at" IS DISTINCT FROM'
        ' staged."_sync_committed_at"::timestamptz' in strangers
    )
    assert text(history_sql.last_of_copy(TABLE, 15)) == (
        """SELECT max("_sync_sequence") FROM "shop"."or""ders" WHERE "_sync_lsn" = '0/F'::pg_lsn"""
    )
    assert text(history_sql.take_out_copied(TABLE, "stage_1", 15, [("id", Identifier("staged", "id"))])) == (
        'DELETE FROM "etl_sync"."stage_1" AS staged\nUSING "shop"."or""ders" AS target\n'
        """WHERE target."id" = "staged"."id"\n    AND target."_sync_lsn" = '0/F'::pg_lsn"""
    )


def test_values_that_updates_leave_out_come_from_the_last_row_that_has_them() -> None:
    statement = text(history_sql.fill_columns(TABLE, "stage_1", KEY, ["body"], 8, 2**32, '{"body","b\'c"}'))
    assert statement.startswith('UPDATE "etl_sync"."stage_1" AS staged\nSET "body" = found."value_0"')
    assert f"WHERE {OLDER}" in statement
    assert same("later") in statement
    assert 'AND target."body" IS NOT NULL' in statement
    assert "array_remove(ARRAY[CASE WHEN found.\"value_0\" IS NOT NULL THEN 'body' END], NULL)" in statement
    assert """WHERE staged."_sync_unknown" = '{"body","b''c"}'""" in statement


def test_what_deletes_leave_out_comes_from_the_last_row() -> None:
    statement = text(history_sql.fill_rows(TABLE, "stage_1", KEY, ["v", "body"], 8, 2**32, '{"v","body"}'))
    assert f"WHERE {OLDER}" in statement
    assert """AS former ON former."_sync_op" <> 'delete'""" in statement
    assert 'SET "v" = found."value_0",\n    "body" = found."value_1"' in statement
    assert "OR name = ANY (found.unknown)" in statement
