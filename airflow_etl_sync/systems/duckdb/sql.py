"""The statements of DuckDB. Names are quoted here, values are bound, and rows come as a registered Arrow table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from airflow_etl_sync.core.model import LoadRules, TableName
from airflow_etl_sync.systems.columnar.memory import MemoryStatements

if TYPE_CHECKING:
    import pyarrow as pa

SOURCE = "etl_sync_source"
"""By this name the rows are registered."""

TABLE_COLUMNS = """SELECT column_name, data_type, is_nullable
FROM duckdb_columns()
WHERE database_name = current_database() AND schema_name = ? AND table_name = ?
ORDER BY column_index"""

CREATE_MEMORY = """CREATE SCHEMA IF NOT EXISTS etl_sync;
CREATE TABLE IF NOT EXISTS etl_sync.turn (target VARCHAR, sync_key VARCHAR, turn BIGINT);
CREATE TABLE IF NOT EXISTS etl_sync.landed (
    target VARCHAR, run VARCHAR, number INTEGER, sync_key VARCHAR, turn BIGINT, yields BOOLEAN, content VARCHAR
)"""
HAS_MEMORY = "SELECT count(*) FROM duckdb_tables() WHERE schema_name = 'etl_sync' AND table_name = 'landed'"
MEMORY = MemoryStatements(
    find_landed="SELECT number, content FROM etl_sync.landed WHERE target = ? AND run = ? ORDER BY number",
    find_turn="SELECT max(turn) FROM etl_sync.turn WHERE target = ? AND sync_key = ?",
    note_landed="INSERT INTO etl_sync.landed VALUES (?, ?, ?, ?, ?, ?, ?)",
    raise_turn=(
        "DELETE FROM etl_sync.turn WHERE turn <= ? AND target = ? AND sync_key = ?",
        "INSERT INTO etl_sync.turn (turn, target, sync_key) VALUES (?, ?, ?)",
    ),
    forget_landed="DELETE FROM etl_sync.landed WHERE target = ? AND sync_key = ? AND turn < ? AND (yields OR turn < ?)",
)


def create_schema(table: TableName) -> str:
    """Make the table's schema where it is absent."""
    return f"CREATE SCHEMA IF NOT EXISTS {quoted(table.schema or 'main')}"


def create_table(table: TableName, types: Mapping[str, str]) -> str:
    """Make the table."""
    columns = ", ".join(f"{quoted(name)} {type_}" for name, type_ in types.items())
    return f"CREATE TABLE {_table(table)} ({columns})"


def add_column(table: TableName, name: str, type_: str) -> str:
    """Add a column, empty in the rows that are there."""
    return f"ALTER TABLE {_table(table)} ADD COLUMN {quoted(name)} {type_}"


def widen_column(table: TableName, name: str, type_: str) -> str:
    """Give a column a type that holds its values too."""
    return f"ALTER TABLE {_table(table)} ALTER {quoted(name)} TYPE {type_}"


def update(
    table: TableName, source: pa.Schema, types: Mapping[str, str], key: Sequence[str], rules: LoadRules
) -> str | None:
    """Change the rows that are there and differ; None where none is ever changed.

    :param types: the types of the table's columns
    """
    names = [name for name in source.names if name not in key]
    if rules.conflict == "dest_wins" or not names:
        return None
    values = {name: _new_value(name, types, rules) for name in names}
    changes = ",\n    ".join(f"{quoted(name)} = {value}" for name, value in values.items())
    compared = [name for name in names if name != rules.synced_at_column]
    differs = " OR ".join(_differs(name, values[name], types) for name in compared) or "FALSE"
    newer = ""
    if rules.conflict == "latest_wins" and rules.conflict_field:
        there, here = _target(rules.conflict_field), _source(rules.conflict_field, types)
        newer = f"\n    AND ({there} IS NULL OR {here} >= {there})"
    return (  # names are quoted, types are DuckDB's own
        f"UPDATE {_table(table)} AS target\nSET {changes}\nFROM {SOURCE} AS source\n"
        f"WHERE {_same_key(key, types)}{newer}\n    AND ({differs})"
    )


def insert(table: TableName, source: pa.Schema, types: Mapping[str, str], key: Sequence[str]) -> str:
    """Insert the rows that are not there."""
    names = ", ".join(quoted(name) for name in source.names)
    values = ", ".join(_source(name, types) for name in source.names)
    return (  # names are quoted, types are DuckDB's own
        f"INSERT INTO {_table(table)} ({names})\nSELECT {values}\nFROM {SOURCE} AS source\n"  # noqa: S608
        f"WHERE NOT EXISTS (SELECT 1 FROM {_table(table)} AS target WHERE {_same_key(key, types)})"
    )


def _new_value(name: str, types: Mapping[str, str], rules: LoadRules) -> str:
    incoming = _source(name, types)
    return f"coalesce({incoming}, {_target(name)})" if rules.conflict == "merge_non_null" else incoming


def _differs(name: str, value: str, types: Mapping[str, str]) -> str:
    there = _target(name)
    if types[name] in ("FLOAT", "DOUBLE"):  # 0 and -0 are equal there, and not the same
        value, there = f"CAST({value} AS VARCHAR)", f"CAST({there} AS VARCHAR)"
    return f"{value} IS DISTINCT FROM {there}"


def _same_key(key: Sequence[str], types: Mapping[str, str]) -> str:
    return " AND ".join(f"{_target(name)} = {_source(name, types)}" for name in key)


def _source(name: str, types: Mapping[str, str]) -> str:
    return f"CAST(source.{quoted(name)} AS {types[name]})"


def _target(name: str) -> str:
    return f"target.{quoted(name)}"


def _table(table: TableName) -> str:
    return f"{quoted(table.schema or 'main')}.{quoted(table.name)}"


def quoted(name: str) -> str:
    """A name taken literally."""
    return '"' + name.replace('"', '""') + '"'
