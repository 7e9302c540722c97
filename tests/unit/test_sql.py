"""The text of every statement. That each runs is shown by the integration tests."""

from __future__ import annotations

from textwrap import dedent

import pytest
from psycopg.sql import SQL, Composable

from airflow_etl_sync.core.model import ConflictStrategy, CursorValue, LoadRules, OnCursorNull, Stream, TableName
from airflow_etl_sync.systems.postgres import sql
from airflow_etl_sync.systems.postgres.types import StreamColumn

ORDERS = TableName("orders", "shop")
STREAM = Stream(sync_key="orders", cursor_field="at", table=ORDERS)
COLUMNS = (
    StreamColumn("id", "integer", "integer", "int4", "integer"),
    StreamColumn("at", "timestamp(3) with time zone", "timestamp with time zone", "timestamptz", "timestamptz"),
    StreamColumn("tags", "text[]", "text[]", "", "text"),
)
HOSTILE = 'x"; DROP TABLE t; --'


def text(statement: Composable | str) -> str:
    return statement if isinstance(statement, str) else statement.as_string(None)


def assert_text(statement: Composable | str, expected: str) -> None:
    assert text(statement).strip() == dedent(expected).strip()


def test_relation_name_is_quoted() -> None:
    assert sql.names.relation_name(TableName('a"b.c', "S")) == '"S"."a""b.c"'
    assert sql.names.relation_name(TableName("t")) == '"t"'


def test_describe_stream() -> None:
    assert_text(sql.streams.describe_stream(STREAM), 'SELECT source.*\nFROM "shop"."orders" AS source\nWHERE FALSE')
    chosen = Stream(
        sync_key="a", cursor_field="at", sql=" SELECT 1 -- one;\n; ", columns=("b", "at"), primary_key=("id",)
    )
    assert_text(
        sql.streams.describe_stream(chosen),
        """
        SELECT "source"."b", "source"."at", "source"."id"
        FROM (
        SELECT 1 -- one;
        ) AS source
        WHERE FALSE
        """,
    )


def test_types_of_stream() -> None:
    assert_text(
        sql.streams.types_of_stream(STREAM, ["id", "a b"]),
        """
        SELECT ARRAY[pg_typeof("source"."id")::oid, pg_typeof("source"."a b")::oid]::oid[]::text
        FROM (VALUES (1)) AS one
        LEFT JOIN "shop"."orders" AS source ON FALSE
        """,
    )


def test_find_null_cursor() -> None:
    stream = Stream(sync_key="a", cursor_field="at", table=ORDERS, where="id > 5 -- or not")
    assert_text(
        sql.streams.find_null_cursor(stream),
        """
        SELECT EXISTS (SELECT FROM "shop"."orders" AS source WHERE (
        id > 5 -- or not
        )
            AND "source"."at" IS NULL)
        """,
    )


LOW = CursorValue("integer", "7'")


def test_read_maximum() -> None:
    everything = 'SELECT max("source"."at")::text\nFROM "shop"."orders" AS source\nWHERE '
    assert_text(sql.window.read_maximum(STREAM, "integer", "bigint", LOW), everything + "TRUE")
    assert_text(
        sql.window.read_maximum(STREAM, "numeric", "numeric", None), everything + '"source"."at" < numeric \'Infinity\''
    )


def test_highest() -> None:
    assert text(sql.window.highest("bigint", with_lag=True)) == (
        "SELECT CAST(greatest(%(low)s::bigint, %(fence)s::bigint - %(lag)s) AS text)"
    )
    assert (
        text(sql.window.highest("text", with_lag=False))
        == "SELECT CAST(greatest(%(low)s::text, %(fence)s::text) AS text)"
    )


def test_as_canonical_text() -> None:
    assert text(sql.window.as_canonical_text("date")) == "SELECT CAST(%(value)s AS date)::text"


def test_cap_date_uses_the_date_of_the_low() -> None:
    assert "%(low)s::date::timestamp" in text(sql.window.cap_date())
    assert text(sql.window.cap_date()).endswith("AS date)::text")


@pytest.mark.parametrize(
    ("on_cursor_null", "condition"), [("include", "TRUE"), ("raise", "TRUE"), ("exclude", '"source"."at" IS NOT NULL')]
)
def test_read_by_key(on_cursor_null: OnCursorNull, condition: str) -> None:
    stream = Stream(sync_key="a", cursor_field="at", table=ORDERS, on_cursor_null=on_cursor_null)
    assert_text(
        sql.reading.read_by_key(stream, COLUMNS, ["id"], None),
        f"""
        SELECT "source"."id", "source"."at", CAST("source"."tags" AS text) AS "tags"
        FROM "shop"."orders" AS source
        WHERE {condition}
        ORDER BY "source"."id"
        """,
    )


def test_read_window() -> None:
    statement = sql.reading.read_window(STREAM, COLUMNS[:1], ["id"], "timestamp with time zone", ["low", "below"], None)
    assert_text(
        statement,
        """
        SELECT "source"."id"
        FROM "shop"."orders" AS source
        WHERE "source"."at" >= CAST(current_setting('etl_sync.low') AS timestamp with time zone)
            AND "source"."at" < CAST(current_setting('etl_sync.below') AS timestamp with time zone)
        ORDER BY "source"."at", "source"."id"
        """,
    )


PLACED = Stream(
    sync_key="a",
    cursor_field="at",
    sql="SELECT id, at FROM o WHERE :window(o.at) OR :window(u.at)",
    primary_key=("id",),
)


@pytest.mark.parametrize(
    ("statement", "condition"),
    [
        (
            sql.reading.read_window(PLACED, COLUMNS[:1], ["id"], "date", ["low"], None),
            "((o.at) >= CAST(current_setting('etl_sync.low') AS date))",
        ),
        (sql.reading.read_null_cursors(PLACED, COLUMNS[:1], ["id"], None), "((o.at) IS NULL)"),
        (sql.reading.read_by_key(PLACED, COLUMNS[:1], ["id"], None), "TRUE"),
        (sql.streams.describe_stream(PLACED), "TRUE"),
        (sql.reconciling.find_present(PLACED, ["integer"]), "TRUE"),
        (sql.window.read_maximum(PLACED, "integer", "bigint", LOW), "((o.at) >= CAST('7''' AS bigint))"),
        (sql.window.read_maximum(PLACED, "integer", "bigint", None), "TRUE"),
        (sql.streams.check_places(PLACED, COLUMNS[1]), "(coalesce((o.at), NULL) <@ CAST(NULL AS tstzrange) OR TRUE)"),
        (sql.streams.check_places(PLACED, COLUMNS[0]), "((o.at) >= CAST(NULL AS integer) OR TRUE)"),
    ],
    ids=["window", "nulls", "all", "describe", "keys", "maximum", "first maximum", "times", "numbers"],
)
def test_the_window_goes_where_the_query_places_it(statement: Composable | str, condition: str) -> None:
    again = condition.replace("o.at", "u.at")
    assert f"SELECT id, at FROM o WHERE {condition} OR {again}\n) AS source" in text(statement)
    assert '"source"."at" >=' not in text(statement)


def test_read_null_cursors_after_a_position() -> None:
    after = sql.reading.rows_after(COLUMNS[:1], is_key_unique=True)
    assert_text(
        sql.reading.read_null_cursors(STREAM, COLUMNS[:1], ["id"], after),
        """
        SELECT "source"."id"
        FROM "shop"."orders" AS source
        WHERE "source"."at" IS NULL
            AND ROW("source"."id") > ROW(CAST(current_setting('etl_sync.after_0') AS integer))
        ORDER BY "source"."id"
        """,
    )


def test_rows_after_reads_rows_level_with_the_position_again_where_the_key_is_not_unique() -> None:
    assert text(sql.reading.rows_after(COLUMNS[:2], is_key_unique=False)) == (
        '(ROW("source"."id", "source"."at") >= ROW(CAST(current_setting(\'etl_sync.after_0\') AS integer), '
        "CAST(current_setting('etl_sync.after_1') AS timestamp with time zone))) IS NOT FALSE"
    )


def test_create_target() -> None:
    assert_text(
        sql.target.create_target(ORDERS, [("id", "integer"), (HOSTILE, "text")], ["id", HOSTILE]),
        """
        CREATE TABLE IF NOT EXISTS "shop"."orders" (
            "id" integer,
            "x""; DROP TABLE t; --" text,
            PRIMARY KEY ("id", "x""; DROP TABLE t; --")
        )
        """,
    )


def test_staging() -> None:
    assert_text(
        sql.staging.create_staging("stage_a", [("id", "integer"), (HOSTILE, "text")]),
        """
        CREATE UNLOGGED TABLE "etl_sync"."stage_a" (
            "id" integer,
            "x""; DROP TABLE t; --" text
        ) WITH (autovacuum_enabled = false)
        """,
    )
    assert text(sql.staging.drop_staging(HOSTILE)) == 'DROP TABLE IF EXISTS "etl_sync"."x""; DROP TABLE t; --"'
    assert_text(
        sql.staging.count_staged("stage_a", [sql.rejects.has_no_key(["id", "B"]), sql.rejects.has_value("c")]),
        """
        SELECT count(*), count(*) FILTER (WHERE ("staged"."id" IS NULL OR "staged"."B" IS NULL)), """
        """count(*) FILTER (WHERE ("staged"."c" IS NOT NULL))
        FROM "etl_sync"."stage_a" AS staged
        """,
    )


def test_find_bent() -> None:
    assert_text(
        sql.staging.find_bent("stage_a", [("price", None, "numeric", "numeric(10,2)")]),
        """
        SELECT bool_or(CAST(CAST(CAST("staged"."price" AS numeric) AS numeric(10,2)) AS numeric) """
        """IS DISTINCT FROM CAST("staged"."price" AS numeric))
        FROM "etl_sync"."stage_a" AS staged
        """,
    )


@pytest.mark.parametrize(
    ("encoding", "target", "expected"),
    [
        (None, "bpchar", 'CAST("staged"."v" AS bpchar)'),
        (None, "regclass", 'CAST(CAST("staged"."v" AS bpchar) AS regclass)'),
        (
            "date",
            "date",
            (
                'CAST(CASE "staged"."v" '
                "WHEN 2147483647 THEN date 'infinity' WHEN -2147483648 THEN date '-infinity' "
                'ELSE date \'2000-01-01\' + "staged"."v" END AS date)'
            ),
        ),
    ],
)
def test_read_staged(encoding: str | None, target: str, expected: str) -> None:
    assert text(sql.staging.read_staged("v", encoding, target)) == expected


def merged(
    conflict: ConflictStrategy = "source_wins",
    *,
    key: tuple[str, ...] = ("id",),
    has_identity: bool = False,
    is_partitioned: bool = False,
    synced_at_column: str | None = None,
    revives: bool = False,
) -> str:
    expressions = [(name, SQL(f"staged.{name}")) for name in ("id", "at", "name")]
    rules = LoadRules(conflict=conflict, conflict_field="at", synced_at_column=synced_at_column)
    return text(
        sql.merging.merge(
            *(ORDERS, "stage_a", expressions, key, ["at"], rules),
            has_identity=has_identity,
            is_partitioned=is_partitioned,
            revives=revives,
        )
    )


def test_merge() -> None:
    assert_text(
        merged(),
        """
        WITH source AS (
            SELECT DISTINCT ON ("id") "id", "at", "name"
            FROM (
                SELECT staged.id AS "id", staged.at AS "at", staged.name AS "name", staged.ctid AS "etl_sync.place"
                FROM "etl_sync"."stage_a" AS staged
            ) AS staged
            ORDER BY "id", "at" DESC NULLS LAST, "etl_sync.place" DESC
        ), merged AS (
            INSERT INTO "shop"."orders" AS target ("id", "at", "name")
            SELECT "source"."id", "source"."at", "source"."name"
            FROM source
            ON CONFLICT ("id") DO UPDATE SET
                "at" = "excluded"."at",
                "name" = "excluded"."name"
            WHERE ROW("excluded"."at", "excluded"."name")::record *<> ROW("target"."at", "target"."name")::record
            RETURNING xmax = 0 AS is_new
        )
        SELECT
            count(*) FILTER (WHERE is_new),
            count(*) FILTER (WHERE NOT is_new)
        FROM merged
        """,
    )


@pytest.mark.parametrize(
    ("conflict", "words"),
    [
        ("dest_wins", 'ON CONFLICT ("id") DO NOTHING'),
        ("latest_wins", 'WHERE ("target"."at" IS NULL OR "excluded"."at" >= "target"."at")\n        AND ROW('),
        ("merge_non_null", '"name" = coalesce("excluded"."name", "target"."name")'),
        ("merge_non_null", 'WHERE ROW(coalesce("excluded"."at", "target"."at")'),
    ],
)
def test_merge_by_strategy(conflict: ConflictStrategy, words: str) -> None:
    assert words in merged(conflict)


def test_merge_of_keys_alone() -> None:
    assert "DO NOTHING" in merged(key=("id", "at", "name"))


@pytest.mark.parametrize(
    ("conflict", "words"),
    [
        ("source_wins", 'WHERE "target"."_sync_deleted" IS TRUE\n        OR ROW('),
        ("latest_wins", 'WHERE "target"."_sync_deleted" IS TRUE\n        OR ("target"."at" IS NULL'),
        (
            "dest_wins",
            '"_sync_deleted" = FALSE\n    WHERE "target"."_sync_deleted" IS TRUE\n',
        ),
        ("merge_non_null", '"name" = CASE WHEN "target"."_sync_deleted" IS TRUE THEN "excluded"."name" ELSE coalesce('),
    ],
)
def test_merge_over_a_flagged_row_takes_the_incoming_one_whole(conflict: ConflictStrategy, words: str) -> None:
    assert words in merged(conflict, revives=True)
    assert "_sync_deleted" not in merged(conflict)


def test_merge_of_keys_alone_takes_the_flag_off() -> None:
    assert 'DO UPDATE SET\n        "_sync_deleted" = FALSE\n    WHERE' in merged(key=("id", "at", "name"), revives=True)


def test_merge_into_identity() -> None:
    assert "OVERRIDING SYSTEM VALUE\n    SELECT" in merged(has_identity=True)


def test_merge_sets_the_synced_at_column_and_does_not_compare_it() -> None:
    statement = merged(synced_at_column="synced")
    assert '("id", "at", "name", "synced")' in statement
    assert '"source"."name", now()' in statement
    assert '"synced" = now()' in statement
    assert '"target"."synced"' not in statement


def test_merge_into_partitions_counts_by_key() -> None:
    statement = merged(is_partitioned=True)
    assert 'RETURNING "target"."id"' in statement
    assert 'LEFT JOIN "shop"."orders" AS before ON "before"."id" = "merged"."id"' in statement
    assert "xmax" not in statement


def test_no_value_of_a_window_stands_in_a_statement() -> None:
    stream = Stream(sync_key=HOSTILE, cursor_field=HOSTILE, table=TableName(HOSTILE))
    column = StreamColumn(HOSTILE, "text", "text", "text", "text")
    statement = sql.reading.read_window(
        stream, [column], [HOSTILE], "text", ["low"], sql.reading.rows_after([column], is_key_unique=True)
    )
    assert HOSTILE not in statement
    assert '"x""; DROP TABLE t; --"' in statement


def test_rows_taken_out_of_the_staging() -> None:
    assert_text(
        sql.rejects.take_out(
            "stage_a",
            sql.rejects.has_no_key(["id"]),
            [sql.staging.staged_text("id", None), sql.staging.staged_text("at", None)],
        ),
        """
        DELETE FROM "etl_sync"."stage_a" AS staged
        WHERE ("staged"."id" IS NULL)
        RETURNING CAST("staged"."id" AS text), CAST("staged"."at" AS text)
        """,
    )


def test_numbers_of_the_staged_rows() -> None:
    assert_text(
        sql.rejects.number_staged("stage_a", ["id"], ["at"]),
        """
        CREATE UNLOGGED TABLE "etl_sync"."stage_a_numbered" AS
        SELECT
            staged.ctid AS place,
            dense_rank() OVER (ORDER BY "staged"."id") AS piece,
            row_number() OVER (ORDER BY "staged"."id", "staged"."at" NULLS FIRST, staged.ctid) AS number
        FROM "etl_sync"."stage_a" AS staged
        """,
    )
    assert_text(
        sql.rejects.is_within("stage_a", "piece", 3, 7),
        'staged.ctid = ANY (ARRAY(SELECT place FROM "etl_sync"."stage_a_numbered" WHERE "piece" BETWEEN 3 AND 7))',
    )
    assert (
        text(sql.rejects.index_numbers("stage_a", "piece")) == 'CREATE INDEX ON "etl_sync"."stage_a_numbered" ("piece")'
    )
    assert text(sql.rejects.count_pieces("stage_a")) == 'SELECT max(piece)\nFROM "etl_sync"."stage_a_numbered"'
    assert text(sql.rejects.drop_numbers("stage_a")) == 'DROP TABLE IF EXISTS "etl_sync"."stage_a_numbered"'
    assert_text(
        sql.rejects.numbers_of_piece("stage_a", 3),
        """
        SELECT number
        FROM "etl_sync"."stage_a_numbered"
        WHERE piece = 3
        ORDER BY number DESC
        """,
    )


def test_watched_keys() -> None:
    assert_text(
        sql.rejects.find_watched(
            "stage_a", [sql.staging.staged_text("100%", None), sql.staging.staged_text("b", None)]
        ),
        """
        SELECT watched."k0", watched."k1"
        FROM unnest(%s::text[], %s::text[]) AS watched ("k0", "k1")
        WHERE EXISTS (SELECT FROM "etl_sync"."stage_a" AS staged WHERE """
        """watched."k0" = CAST("staged"."100%%" AS text) AND watched."k1" = CAST("staged"."b" AS text))
        """,
    )


def test_columns_that_grow() -> None:
    assert_text(
        sql.target.add_column(ORDERS, "w", "integer"),
        'ALTER TABLE "shop"."orders" ADD COLUMN IF NOT EXISTS "w" integer',
    )
    assert_text(
        sql.target.widen_column(ORDERS, "n", "bigint"), 'ALTER TABLE "shop"."orders" ALTER COLUMN "n" TYPE bigint'
    )


def test_a_lossless_value_names_itself_or_is_read() -> None:
    assert_text(
        sql.staging.read_lossless("n", None, "numeric", ("integer", "integer")),
        'CASE WHEN CAST(CAST(CAST("staged"."n" AS numeric) AS integer) AS numeric) IS DISTINCT FROM '
        'CAST("staged"."n" AS numeric) THEN '
        'CAST(CAST(CAST(CAST("staged"."n" AS numeric) AS text) || \' does not fit\' AS boolean)::text AS integer) '
        'ELSE CAST("staged"."n" AS integer) END',
    )


def test_merge_of_some_rows() -> None:
    statement = text(
        sql.merging.merge(
            *(ORDERS, "stage_a", [("id", SQL("staged.id"))], ("id",), [], LoadRules()),
            has_identity=False,
            is_partitioned=False,
            within=sql.rejects.is_within("stage_a", "number", 1, 1),
        )
    )
    assert 'FROM "etl_sync"."stage_a" AS staged\n        WHERE staged.ctid = ANY' in statement


KEYS = Stream(
    sync_key="a", cursor_field="id", table=ORDERS, primary_key=("id", "B"), columns=("id", "B"), where="id > 5"
)
SCOPE = "tenant = '%'"


def test_find_present() -> None:
    assert_text(
        sql.reconciling.find_present(KEYS, ["integer", "text[]"]),
        """
        WITH found AS (
            SELECT "source"."id", "source"."B"
            FROM "shop"."orders" AS source
            WHERE (
        id > 5
        )
            AND "source"."id" = ANY(CAST(CAST($1 AS text[]) AS integer[]))
        )
        SELECT DISTINCT asked.place
        FROM unnest(CAST($1 AS text[]), CAST($2 AS text[])) WITH ORDINALITY AS asked ("key_0", "key_1", place)
        JOIN found ON found."id" = CAST(asked."key_0" AS integer) AND found."B" = CAST(asked."key_1" AS text[])
        """,
    )


def test_count_compared() -> None:
    assert_text(
        sql.reconciling.count_compared(ORDERS, ["id"], SCOPE, live_only=True),
        """
        SELECT count(*)
        FROM "shop"."orders" AS target
        WHERE (
        tenant = '%'
        )
            AND target."id" IS NOT NULL
            AND "target"."_sync_deleted" IS NOT TRUE
        """,
    )


def test_create_suspects() -> None:
    statement = sql.reconciling.create_suspects(
        ORDERS, "stage_a", "stage_b", [("id", SQL("staged.id"))], None, live_only=True, has_flag=True
    )
    assert_text(
        statement,
        """
        CREATE UNLOGGED TABLE "etl_sync"."stage_b" WITH (autovacuum_enabled = false) AS
        SELECT row_number() OVER (ORDER BY "key_0") AS place, suspect.*
        FROM (
        SELECT target."id" AS "key_0", FALSE AS is_present
        FROM "shop"."orders" AS target
        WHERE target."id" IS NOT NULL
            AND "target"."_sync_deleted" IS NOT TRUE
            AND NOT EXISTS (
                SELECT FROM "etl_sync"."stage_a" AS staged
                WHERE staged.id = target."id"
            )
        UNION ALL
        SELECT target."id" AS "key_0", TRUE AS is_present
        FROM "shop"."orders" AS target
        WHERE target."id" IS NOT NULL
            AND "target"."_sync_deleted" IS TRUE
            AND EXISTS (
                SELECT FROM "etl_sync"."stage_a" AS staged
                WHERE staged.id = target."id"
            )
        ) AS suspect
        """,
    )


def test_create_suspects_without_a_flag() -> None:
    statement = text(
        sql.reconciling.create_suspects(ORDERS, "a", "b", [("id", SQL("x"))], None, live_only=False, has_flag=False)
    )
    assert "UNION" not in statement
    assert "_sync_deleted" not in statement


def test_suspects() -> None:
    assert text(sql.reconciling.analyze_staging("b")) == 'ANALYZE "etl_sync"."b"'
    assert text(sql.reconciling.index_suspects("b")) == 'ALTER TABLE "etl_sync"."b" ADD PRIMARY KEY (place)'
    assert_text(
        sql.reconciling.count_suspects("b"),
        """
        SELECT count(*) FILTER (WHERE NOT is_present), count(*) FILTER (WHERE is_present)
        FROM "etl_sync"."b"
        """,
    )
    assert_text(
        sql.reconciling.read_suspects("b", ["integer"]),
        """
        SELECT place, is_present, CAST(CAST("key_0" AS integer) AS text)
        FROM "etl_sync"."b"
        WHERE place BETWEEN %(first)s AND %(last)s
        ORDER BY place
        """,
    )


def test_lock_and_flag() -> None:
    assert text(sql.reconciling.lock_writers_out(ORDERS)) == 'LOCK TABLE "shop"."orders" IN SHARE ROW EXCLUSIVE MODE'
    assert text(sql.reconciling.add_flag(ORDERS)) == (
        'ALTER TABLE "shop"."orders" ADD COLUMN IF NOT EXISTS "_sync_deleted" boolean NOT NULL DEFAULT FALSE'
    )


def test_delete_suspects() -> None:
    assert_text(
        sql.reconciling.delete_suspects(ORDERS, "b", ["id"], SCOPE),
        """
        DELETE FROM "shop"."orders" AS target
        WHERE (
        tenant = '%'
        )
            AND target."id" IS NOT NULL
            AND EXISTS (
                SELECT FROM "etl_sync"."b" AS suspect
                WHERE suspect.place = ANY($1) AND suspect."key_0" = target."id"
            )
        """,
    )


@pytest.mark.parametrize(("flag", "was"), [(True, "NOT TRUE"), (False, "TRUE")])
def test_flag_suspects(flag: bool, was: str) -> None:
    assert_text(
        sql.reconciling.flag_suspects(ORDERS, "b", ["id"], None, "synced", flag=flag),
        f"""
        UPDATE "shop"."orders" AS target
        SET "_sync_deleted" = {str(flag).upper()}, "synced" = now()
        WHERE target."id" IS NOT NULL
            AND "target"."_sync_deleted" IS {was}
            AND EXISTS (
                SELECT FROM "etl_sync"."b" AS suspect
                WHERE suspect.place = ANY($1) AND suspect."key_0" = target."id"
            )
        """,
    )


def test_plan() -> None:
    assert sql.sessions.plan("SELECT 1") == "EXPLAIN SELECT 1"
    assert_text(sql.sessions.estimate("SELECT 1"), "EXPLAIN (FORMAT JSON) SELECT 1")


def test_insert() -> None:
    rules = LoadRules(synced_at_column="synced")
    assert_text(
        sql.merging.insert(ORDERS, "stage_a", [("id", SQL("staged.id"))], rules, has_identity=True),
        """
        WITH inserted AS (
            INSERT INTO "shop"."orders" ("id", "synced")
            OVERRIDING SYSTEM VALUE
            SELECT staged.id, now()
            FROM "etl_sync"."stage_a" AS staged
            RETURNING 1
        )
        SELECT count(*), 0
        FROM inserted
        """,
    )


def test_find_any() -> None:
    assert_text(
        sql.merging.find_any(ORDERS, "stage_a", [("id", SQL("staged.id")), ("b", SQL("staged.b"))]),
        """
        SELECT EXISTS (
            SELECT FROM (SELECT staged.id AS "id", staged.b AS "b" FROM "etl_sync"."stage_a" AS staged LIMIT 100) """
        """AS source
            JOIN "shop"."orders" AS target ON "target"."id" = "source"."id"
            AND "target"."b" = "source"."b"
        )
        """,
    )
