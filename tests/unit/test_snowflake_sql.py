"""The text of Snowflake's statements. That each runs is shown on an emulator, by the contract and integration tests."""

from __future__ import annotations

from textwrap import dedent

import pyarrow as pa
import pytest

from airflow_etl_sync.core.model import ConflictStrategy, LoadRules
from airflow_etl_sync.errors import SchemaError
from airflow_etl_sync.systems.snowflake import sql
from airflow_etl_sync.systems.snowflake.names import folded, unfolded
from airflow_etl_sync.systems.snowflake.sql import Written
from airflow_etl_sync.systems.snowflake.types import SNOWFLAKE, arrow_type_of, declared_type, wider

NUMBER = "NUMBER(38,0)"
ID, AT = (
    Written(name="ID", staged=NUMBER, declared=NUMBER),
    Written(name="AT", staged="VARCHAR", declared="TIME(9)"),
)
NOTE = Written(name='a "note"', staged="VARCHAR", declared="VARCHAR(10)")
HEAD = """
    MERGE INTO "ORDERS" AS target
    USING (SELECT
        C0 AS "ID",
        CAST(C1 AS TIME(9)) AS "AT",
        C2 AS "a ""note\"""
    FROM ETL_SYNC_STAGED) AS source
    ON target."ID" = source."ID"
"""
TAIL = """
    WHEN NOT MATCHED THEN INSERT ("ID", "AT", "a ""note\""")
    VALUES (source."ID", source."AT", source."a ""note\""")
"""
CHANGED = """
    WHEN MATCHED AND (source."AT" IS DISTINCT FROM target."AT"
        OR source."a ""note\""" IS DISTINCT FROM target."a ""note\""") THEN UPDATE SET
        "AT" = source."AT",
        "a ""note\""" = source."a ""note\"""
"""
NEWER = CHANGED.replace("AND (", 'AND (target."AT" IS NULL OR source."AT" >= target."AT")\n        AND (')
FILLED = """
    WHEN MATCHED AND (COALESCE(source."AT", target."AT") IS DISTINCT FROM target."AT"
        OR COALESCE(source."a ""note\""", target."a ""note\""") IS DISTINCT FROM target."a ""note\""") THEN UPDATE SET
        "AT" = COALESCE(source."AT", target."AT"),
        "a ""note\""" = COALESCE(source."a ""note\""", target."a ""note\""")
"""


def lines(*parts: str) -> str:
    return "\n".join(dedent(part).strip() for part in parts if part)


@pytest.mark.parametrize(
    ("conflict", "matched"),
    [("source_wins", CHANGED), ("dest_wins", ""), ("latest_wins", NEWER), ("merge_non_null", FILLED)],
)
def test_merge(conflict: ConflictStrategy, matched: str) -> None:
    rules = LoadRules(conflict=conflict, conflict_field="at")
    assert sql.merge("ORDERS", (ID, AT, NOTE), ("ID",), rules) == lines(HEAD, matched, TAIL)


def test_the_time_of_loading_alone_changes_no_row() -> None:
    when = Written(name="SYNCED_AT", staged="TIMESTAMP_LTZ(9)", declared="TIMESTAMP_LTZ(9)")
    rules = LoadRules(synced_at_column="synced_at")
    assert "WHEN MATCHED" not in sql.merge("ORDERS", (ID, when), ("ID",), rules)
    text = sql.merge("ORDERS", (ID, NOTE, when), ("ID",), rules)
    assert 'source."SYNCED_AT" IS DISTINCT' not in text and '"SYNCED_AT" = source."SYNCED_AT"' in text


def test_a_key_of_several_columns_and_nothing_else() -> None:
    text = sql.merge("T", (ID, Written(name="AT", staged="DATE", declared="DATE")), ("ID", "AT"), LoadRules())
    assert 'ON target."ID" = source."ID" AND target."AT" = source."AT"\nWHEN NOT MATCHED' in text


def test_tables_and_columns() -> None:
    types = {"ID": NUMBER, 'x"; DROP': "VARCHAR"}
    assert sql.create_table("T", types) == 'CREATE TABLE IF NOT EXISTS "T" ("ID" NUMBER(38,0), "x""; DROP" VARCHAR)'
    assert sql.add_column("T", "V", "FLOAT") == 'ALTER TABLE "T" ADD COLUMN IF NOT EXISTS "V" FLOAT'
    assert sql.widen_column("T", "V", NUMBER) == 'ALTER TABLE "T" ALTER COLUMN "V" SET DATA TYPE NUMBER(38,0)'
    assert sql.describe_table('a "b"') == 'DESCRIBE TABLE "a ""b"""'
    assert sql.use_schema("my raw") == 'USE SCHEMA "my raw"'


def test_staging() -> None:
    assert sql.create_staged([NUMBER, "FLOAT"]) == (
        "CREATE OR REPLACE TEMPORARY TABLE ETL_SYNC_STAGED (C0 NUMBER(38,0), C1 FLOAT)"
    )
    assert sql.put_staged("/tmp/it's/rows.parquet") == (
        r"PUT 'file:///tmp/it\'s/rows.parquet' @ETL_SYNC_FILES AUTO_COMPRESS = FALSE OVERWRITE = TRUE"
    )
    assert (
        dedent(
            """\
        COPY INTO ETL_SYNC_STAGED
        FROM @ETL_SYNC_FILES
        FILE_FORMAT = (TYPE = PARQUET USE_LOGICAL_TYPE = TRUE BINARY_AS_TEXT = FALSE NULL_IF = ())
        MATCH_BY_COLUMN_NAME = CASE_SENSITIVE
        ON_ERROR = ABORT_STATEMENT"""
        )
        == sql.COPY_STAGED
    )


@pytest.mark.parametrize(
    ("name", "there"),
    [
        ("orders", "ORDERS"),
        ("_a$1", "_A$1"),
        ("Orders", "Orders"),
        ("ORDERS", "ORDERS"),
        ("größe", "größe"),
        ("1a", "1a"),
    ],
)
def test_names_fold_as_they_do_without_quotes(name: str, there: str) -> None:
    assert folded(name) == there
    assert unfolded(there) == (name if name != "ORDERS" else "orders")


def test_two_names_that_are_one_there_are_refused() -> None:
    assert SNOWFLAKE.told_apart(["id", "Id", "A b"]) == {"ID": "id", "Id": "Id", "A b": "A b"}
    with pytest.raises(SchemaError, match="The columns 'id' and 'ID' are one in Snowflake"):
        SNOWFLAKE.told_apart(["id", "ID"])


@pytest.mark.parametrize(
    ("declared", "kind"),
    [
        ("NUMBER(38,0)", pa.decimal128(38, 0)),
        ("NUMBER(10,2)", pa.decimal128(10, 2)),
        ("FLOAT", pa.float64()),
        ("VARCHAR(16777216)", pa.string()),
        ("BINARY(8388608)", pa.binary()),
        ("BOOLEAN", pa.bool_()),
        ("DATE", pa.date32()),
        ("TIME(9)", pa.string()),
        ("TIMESTAMP_NTZ(6)", pa.timestamp("us")),
        ("TIMESTAMP_LTZ(9)", pa.timestamp("us", "UTC")),
        ("TIMESTAMP_TZ(9)", pa.timestamp("us", "UTC")),
        ("TIMESTAMP_NTZ(3)", None),
        ("TIME(0)", None),
        ("VARIANT", None),
        ("VARCHAR(10) COLLATE 'en-ci'", None),
        ("VECTOR(FLOAT, 3)", None),
    ],
)
def test_types_that_hold_values_as_they_are(declared: str, kind: pa.DataType | None) -> None:
    assert arrow_type_of(declared) == kind


@pytest.mark.parametrize(
    ("kind", "declared"),
    [
        (pa.int16(), "NUMBER(38,0)"),
        (pa.int64(), "NUMBER(38,0)"),
        (pa.decimal128(12, 2), "NUMBER(12,2)"),
        (pa.float32(), "FLOAT"),
        (pa.string(), "VARCHAR"),
        (pa.binary(), "BINARY"),
        (pa.bool_(), "BOOLEAN"),
        (pa.date32(), "DATE"),
        (pa.timestamp("us"), "TIMESTAMP_NTZ(9)"),
        (pa.timestamp("us", "UTC"), "TIMESTAMP_LTZ(9)"),
    ],
)
def test_types_of_new_columns(kind: pa.DataType, declared: str) -> None:
    assert declared_type(kind) == declared


@pytest.mark.parametrize(
    ("column", "values", "becomes"),
    [
        (pa.decimal128(5, 0), pa.int64(), pa.decimal128(38, 0)),
        (pa.decimal128(10, 2), pa.decimal128(12, 2), pa.decimal128(12, 2)),
        (pa.decimal128(10, 2), pa.decimal128(12, 3), None),
        (pa.decimal128(12, 2), pa.decimal128(10, 2), None),
        (pa.date32(), pa.timestamp("us"), None),
        (pa.decimal128(5, 0), pa.string(), None),
    ],
)
def test_only_numbers_of_one_scale_become_wider(
    column: pa.DataType, values: pa.DataType, becomes: pa.DataType | None
) -> None:
    assert wider(column, values) == becomes
