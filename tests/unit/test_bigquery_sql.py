"""The text of BigQuery's statements. That each runs is shown on an emulator, by the contract and integration tests."""

from __future__ import annotations

from textwrap import dedent
from typing import Any

import pyarrow as pa
import pytest

from airflow_etl_sync.core.model import ConflictStrategy, LoadRules
from airflow_etl_sync.errors import SchemaError
from airflow_etl_sync.systems.bigquery import sql
from airflow_etl_sync.systems.bigquery.names import path, refuse_bad_columns
from airflow_etl_sync.systems.bigquery.types import (
    BIGQUERY,
    arrow_type_of,
    clustered,
    declared_type,
    staged_array,
    staged_type,
    unstaged,
    wider,
)

VALUES = {"id": "c0", "At": "DATETIME(c1, 'UTC')"}
HEAD = """
    MERGE INTO `p.d.orders` AS target
    USING (SELECT
        c0 AS `id`,
        DATETIME(c1, 'UTC') AS `At`
    FROM `p.d.staged`) AS source
    ON target.`id` = source.`id`
"""
TAIL = """
    WHEN NOT MATCHED THEN INSERT (`id`, `At`)
    VALUES (source.`id`, source.`At`)
"""
CHANGED = """
    WHEN MATCHED AND (source.`At` IS DISTINCT FROM target.`At`) THEN UPDATE SET
        `At` = source.`At`
"""
NEWER = CHANGED.replace("AND (", "AND (target.`At` IS NULL OR source.`At` >= target.`At`)\n        AND (")
FILLED = """
    WHEN MATCHED AND (COALESCE(source.`At`, target.`At`) IS DISTINCT FROM target.`At`) THEN UPDATE SET
        `At` = COALESCE(source.`At`, target.`At`)
"""


def lines(*parts: str) -> str:
    return "\n".join(dedent(part).strip() for part in parts if part)


@pytest.mark.parametrize(
    ("conflict", "matched"),
    [("source_wins", CHANGED), ("dest_wins", ""), ("latest_wins", NEWER), ("merge_non_null", FILLED)],
)
def test_merge(conflict: ConflictStrategy, matched: str) -> None:
    rules = LoadRules(conflict=conflict, conflict_field="at")
    assert sql.merge("p.d.orders", "p.d.staged", VALUES, ("id",), rules, ()) == lines(HEAD, matched, TAIL)


def test_a_key_that_may_be_no_number_is_joined_by_equalities() -> None:
    text = sql.merge("t", "s", {"k": "c0", "d": "c1"}, ("k", "d"), LoadRules(), ("k",))
    assert "ON IS_NAN(target.`k`) = IS_NAN(source.`k`) AND IF(IS_NAN(target.`k`), 0, target.`k`) = " in text
    assert "AND target.`d` = source.`d`\nWHEN NOT" in text


def test_script() -> None:
    expected = """
        DECLARE etl_sync_before INT64;
        DECLARE etl_sync_changed INT64;
        DECLARE etl_sync_inserted INT64;
        DECLARE etl_sync_outcome STRING DEFAULT 'refused';
        BEGIN TRANSACTION;
        UPDATE `p.d.memory` SET merges = merges + 1, turn = IF(sync_key = @sync_key, GREATEST(turn, @turn), turn)
        WHERE run IS NULL AND target = @target
        AND NOT EXISTS (SELECT 1 FROM `p.d.memory` AS landed
            WHERE landed.target = @target AND landed.run = @run AND landed.chunk = @chunk);
        IF @@row_count > 0 THEN
        SET etl_sync_before = (SELECT COUNT(*) FROM `p.d.t`);
        MERGE;
        SET etl_sync_changed = @@row_count;
        SET etl_sync_inserted = (SELECT COUNT(*) FROM `p.d.t`) - etl_sync_before;
        IF etl_sync_changed > @most_rows THEN
        ROLLBACK TRANSACTION;
        SET etl_sync_outcome = 'several';
        ELSE
        INSERT INTO `p.d.memory` (target, run, chunk, sync_key, turn, yields, content, inserted, updated)
        VALUES (@target, @run, @chunk, @sync_key, @turn, @yields, @content, etl_sync_inserted,
            etl_sync_changed - etl_sync_inserted);
        DELETE FROM `p.d.memory`
        WHERE run IS NOT NULL AND target = @target AND sync_key = @sync_key AND turn < @turn
        AND (yields OR turn < @oldest);
        COMMIT TRANSACTION;
        SET etl_sync_outcome = 'merged';
        END IF;
        ELSE
        ROLLBACK TRANSACTION;
        END IF;
        SELECT etl_sync_outcome AS outcome, etl_sync_inserted AS inserted, etl_sync_changed AS changed;
    """
    assert sql.script("p.d.memory", "p.d.t", "MERGE", yields=False, overtakes=True) == lines(expected)


def test_a_run_that_yields_looks_for_a_newer_one_and_one_that_does_not_overtake_forgets_nothing() -> None:
    text = sql.script("p.d.memory", "p.d.t", "MERGE", yields=True, overtakes=False)
    assert "newer.sync_key = @sync_key AND newer.turn > @turn);\nIF @@row_count" in text
    assert "DELETE" not in text and "GREATEST" not in text


def test_tables_and_columns() -> None:
    types = {"id": "INT64", "V": "STRING"}
    assert sql.create_table("p.d.t", types, ["id"]) == (
        "CREATE TABLE IF NOT EXISTS `p.d.t` (`id` INT64, `V` STRING)\nCLUSTER BY `id`"
    )
    assert sql.create_table("p.d.t", types, []).endswith("STRING)")
    assert sql.add_column("p.d.t", "w", "BOOL") == "ALTER TABLE `p.d.t` ADD COLUMN IF NOT EXISTS `w` BOOL"
    assert sql.widen_column("p.d.t", "n", "NUMERIC(9,2)") == (
        "ALTER TABLE `p.d.t` ALTER COLUMN `n` SET DATA TYPE NUMERIC(9,2)"
    )
    assert sql.create_staged("p.d.s", ["INT64", "STRING"]) == (
        "CREATE TABLE `p.d.s` (`c0` INT64, `c1` STRING)\n"
        "OPTIONS (expiration_timestamp = TIMESTAMP_ADD(CURRENT_TIMESTAMP(), INTERVAL 24 HOUR))"
    )
    assert sql.drop_staged("p.d.s") == "DROP TABLE IF EXISTS `p.d.s`"


def test_memory() -> None:
    assert sql.create_memory("p.d.m").startswith("CREATE TABLE IF NOT EXISTS `p.d.m` (\n    target STRING, run STRING,")
    assert sql.enter_sync("p.d.m") == lines("""
        INSERT INTO `p.d.m` (target, sync_key, turn, merges)
        SELECT ?, ?, 0, 0
        FROM (SELECT 1)
        WHERE NOT EXISTS (SELECT 1 FROM `p.d.m` WHERE run IS NULL AND target = ? AND sync_key = ?)
    """)
    asked = sql.remembering("p.d.m")
    assert asked.find_landed == (
        "SELECT chunk, content, inserted, updated\nFROM `p.d.m` WHERE target = ? AND run = ? ORDER BY chunk"
    )
    assert asked.find_turn == "SELECT MAX(turn) FROM `p.d.m` WHERE run IS NULL AND target = ? AND sync_key = ?"


def test_names() -> None:
    assert path("acme.com:shop-1", "raw", "Größe 1") == "acme.com:shop-1.raw.Größe 1"
    assert BIGQUERY.told_apart(["id", "A b"]) == {"id": "id", "a b": "A b"}
    with pytest.raises(SchemaError, match="columns 'id' and 'ID' are one in BigQuery"):
        BIGQUERY.told_apart(["id", "ID"])
    refuse_bad_columns(["id", "_x", "größe", "a b", "a-b", "etl_sync_at"])


@pytest.mark.parametrize("name", ["a`b", "a.b", 'a"b', "", "1a", "_TABLE_x", "_partitionTime", "x" * 301, "a\nb"])
def test_names_of_columns_that_cannot_be(name: str) -> None:
    with pytest.raises(SchemaError, match="BigQuery takes no column of the name"):
        refuse_bad_columns([name])


@pytest.mark.parametrize(
    ("kind", "declared", "staged"),
    [
        (pa.int16(), "INT64", "INT64"),
        (pa.float32(), "FLOAT64", "FLOAT64"),
        (pa.decimal128(12, 2), "NUMERIC(12,2)", "NUMERIC"),
        (pa.decimal128(38, 9), "NUMERIC(38,9)", "NUMERIC"),
        (pa.decimal128(30, 0), "BIGNUMERIC(30,0)", "BIGNUMERIC"),
        (pa.decimal128(12, 10), "BIGNUMERIC(12,10)", "BIGNUMERIC"),
        (pa.decimal256(76, 38), "BIGNUMERIC(76,38)", "STRING"),
        (pa.timestamp("us"), "DATETIME", "TIMESTAMP"),
        (pa.timestamp("us", "UTC"), "TIMESTAMP", "TIMESTAMP"),
        (pa.binary(), "BYTES", "BYTES"),
        (pa.string(), "STRING", "STRING"),
    ],
)
def test_types_of_new_columns(kind: pa.DataType, declared: str, staged: str) -> None:
    assert (declared_type(kind), staged_type(kind)) == (declared, staged)


@pytest.mark.parametrize(
    ("declared", "kind"),
    [
        ("NUMERIC", pa.decimal128(38, 9)),
        ("NUMERIC(5)", pa.decimal128(5, 0)),
        ("BIGNUMERIC(40,2)", pa.decimal256(40, 2)),
        ("BIGNUMERIC", pa.decimal256(76, 38)),
        ("STRING(3)", pa.string()),
        ("BYTES(3)", pa.binary()),
        ("INT64", pa.int64()),
        *[(each, None) for each in ("JSON", "TIME", "STRUCT", "ARRAY<INT64>", "GEOGRAPHY", "STRING COLLATE und:ci")],
    ],
)
def test_types_of_columns_that_are_there(declared: str, kind: pa.DataType | None) -> None:
    assert arrow_type_of(declared) == kind


def test_what_is_staged_otherwise_comes_back_as_it_was() -> None:
    naive = pa.chunked_array([pa.array([1_500_000], pa.timestamp("us"))])
    assert staged_array(naive).type == pa.timestamp("us", "UTC")
    assert staged_array(naive).cast(pa.int64()).to_pylist() == [1_500_000]
    assert staged_array(pa.chunked_array([pa.array([1], pa.int64())])).type == pa.int64()
    assert [unstaged("c0", *pair) for pair in (
        ("TIMESTAMP", "DATETIME"), ("STRING", "BIGNUMERIC(76,38)"), ("NUMERIC", "NUMERIC(5,2)")
    )] == ["DATETIME(c0, 'UTC')", "CAST(c0 AS BIGNUMERIC)", "c0"]  # fmt: skip


@pytest.mark.parametrize(
    ("column", "values", "expected"),
    [
        (pa.decimal128(3, 0), pa.decimal128(12, 2), pa.decimal128(12, 2)),
        (pa.decimal128(12, 2), pa.int32(), pa.decimal128(21, 2)),
        (pa.int64(), pa.decimal128(22, 2), pa.decimal128(22, 2)),
        (pa.decimal128(38, 9), pa.decimal128(38, 0), None),
        (pa.int64(), pa.string(), None),
        (pa.date32(), pa.timestamp("us"), None),
    ],
)
def test_numbers_become_wider(column: pa.DataType, values: pa.DataType, expected: Any) -> None:
    assert wider(column, values) == expected


def test_a_table_is_clustered_by_what_can_be() -> None:
    key = {"a": "FLOAT64", "b": "NUMERIC(5,2)", "c": "BYTES", **dict.fromkeys("defg", "STRING")}
    assert clustered(key) == ["b", "d", "e", "f"]
