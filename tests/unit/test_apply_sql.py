"""The text of each statement by which changes are applied."""

from __future__ import annotations

from psycopg.sql import Composable, Identifier

from airflow_etl_sync.cdc import apply_sql
from airflow_etl_sync.cdc.postgres import rows_sql
from airflow_etl_sync.core.model import TableName

TABLE = TableName('or"ders', "shop")
KEY = [("id", "bigint"), ('k"ey', "text")]
SAME = """target"."id" = CAST("staged"."id" AS bigint)
    AND "target"."k""ey" = CAST("staged"."k""ey" AS text)"""
FORMER = """target"."id" = CAST("staged"."etl_sync.moved.id" AS bigint)
    AND "target"."k""ey" = CAST("staged"."etl_sync.moved.k""ey" AS text)"""


def text(statement: Composable) -> str:
    return statement.as_string(None)


def test_emptying() -> None:
    assert text(apply_sql.truncate([TABLE, TableName("users")])) == 'TRUNCATE "shop"."or""ders", "users"'
    assert text(apply_sql.delete_all(TABLE)) == 'DELETE FROM "shop"."or""ders"'
    assert text(apply_sql.flag_all(TABLE, "at")) == (
        'UPDATE "shop"."or""ders" AS target\n'
        'SET "_sync_deleted" = TRUE, "at" = now()\n'
        'WHERE "target"."_sync_deleted" IS NOT TRUE'
    )


def test_deleting() -> None:
    assert text(apply_sql.delete_staged(TABLE, "stage_1", KEY)) == (
        f'DELETE FROM "shop"."or""ders" AS target\nUSING "etl_sync"."stage_1" AS staged\nWHERE "{SAME}'
    )
    assert text(apply_sql.flag_staged(TABLE, "stage_1", KEY, None)) == (
        'UPDATE "shop"."or""ders" AS target\nSET "_sync_deleted" = TRUE\nFROM "etl_sync"."stage_1" AS staged\n'
        f'WHERE "{SAME}\n    AND "target"."_sync_deleted" IS NOT TRUE'
    )


def test_rows_that_change_in_another_unique_key() -> None:
    statement = apply_sql.delete_rekeyed(
        TABLE, "stage_1", KEY[:1], [[("email", "citext")], [("a", "int"), ("b", "int")]]
    )
    assert text(statement) == (
        'DELETE FROM "shop"."or""ders" AS target\nUSING "etl_sync"."stage_1" AS staged\n'
        'WHERE "target"."id" = CAST("staged"."id" AS bigint)\n'
        '    AND (ROW(CAST("staged"."email" AS citext))::record *<> ROW("target"."email")::record'
        ' OR ROW(CAST("staged"."a" AS int), CAST("staged"."b" AS int))::record'
        ' *<> ROW("target"."a", "target"."b")::record)'
    )


def test_values_that_an_update_did_not_touch() -> None:
    assert text(apply_sql.take_out_absent(TABLE, "stage_1", KEY, is_moved=False)) == (
        'DELETE FROM "etl_sync"."stage_1" AS staged\n'
        f'WHERE NOT EXISTS (SELECT FROM "shop"."or""ders" AS target WHERE "{SAME})\n'
        'RETURNING "staged"."id", "staged"."k""ey"'
    )
    assert text(apply_sql.fill_from_target(TABLE, "stage_1", KEY, ["body"], is_moved=True)) == (
        'UPDATE "etl_sync"."stage_1" AS staged\n'
        """SET "body" = CASE WHEN "target"."body" IS DISTINCT FROM NULL THEN format('%s', "target"."body") END\n"""
        f'FROM "shop"."or""ders" AS target\nWHERE "{FORMER}'
    )


def test_asking_the_source_again() -> None:
    assert text(rows_sql.reselect(TABLE, KEY, ["body"])) == (
        'SELECT asked.place, CASE WHEN "source"."body" IS DISTINCT FROM NULL'
        """ THEN format('%s', "source"."body") END\n"""
        'FROM unnest(CAST($1 AS text[]), CAST($2 AS text[])) WITH ORDINALITY AS asked ("key_0", "key_1", place)\n'
        'JOIN "shop"."or""ders" AS source'
        ' ON source."id" = CAST(asked."key_0" AS bigint) AND source."k""ey" = CAST(asked."key_1" AS text)'
    )


def test_a_value_as_it_is_written() -> None:
    assert (
        text(apply_sql.as_written(Identifier("x")))
        == """CASE WHEN "x" IS DISTINCT FROM NULL THEN format('%s', "x") END"""
    )
