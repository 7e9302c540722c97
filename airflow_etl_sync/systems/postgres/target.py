"""The table that is loaded, as it is when a chunk comes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from airflow_etl_sync.core.columns import has_declared_type, types_of
from airflow_etl_sync.core.keys import SOFT_DELETED
from airflow_etl_sync.core.model import LoadRules, TableName
from airflow_etl_sync.errors import ConfigurationError, SchemaError
from airflow_etl_sync.systems.base import StagedChunk
from airflow_etl_sync.systems.postgres import sql

if TYPE_CHECKING:
    import psycopg
    import pyarrow as pa

_TABLE, _PARTITIONED = "r", "p"


@dataclass(frozen=True, slots=True)
class TargetColumn:
    """A column of the table.

    :param type: its type without length or precision
    :param is_generated: computed by the database, so never written
    :param is_always_identity: written only with OVERRIDING SYSTEM VALUE
    :param declared: its type with length and precision
    :param base: the type below any domain, without length and precision
    :param base_declared: the same with them
    :param is_required: whether a new row must bring a value for it
    """

    name: str
    type: str
    is_generated: bool
    is_always_identity: bool
    declared: str
    base: str
    base_declared: str
    is_required: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """:param unique_keys: the columns of each primary key and unique index that ON CONFLICT can use"""

    table: TableName
    kind: str
    columns: dict[str, TargetColumn]
    unique_keys: list[set[str]]

    @property
    def is_partitioned(self) -> bool:
        return self.kind == _PARTITIONED

    def can_flag(self, staged: StagedChunk) -> bool:
        """Whether rows are flagged as deleted; a stream with a column of that name says itself what it means."""
        return SOFT_DELETED in self.columns and SOFT_DELETED not in staged.schema.names


def open_target(
    driver: psycopg.Connection[Any], table: TableName, staged: StagedChunk, key: tuple[str, ...], rules: LoadRules
) -> Target:
    """Look at the table; an absent one is created first, by one load at a time."""
    relation = {"relation": sql.names.relation_name(table)}
    if not _one(driver.execute(sql.streams.TABLE_EXISTS, relation))[0]:
        if not rules.create_table:
            raise SchemaError(f"The destination has no table {str(table)!r} and create_table is off: create it first.")
        driver.execute(sql.target.LOCK_CREATION, relation)
        driver.execute(sql.target.create_target(table, _created_columns(driver, staged, rules), key))
    kind = _one(driver.execute(sql.target.KIND_OF_RELATION, relation))[0]
    return Target(
        table=table,
        kind=kind.decode() if isinstance(kind, bytes) else str(kind),
        columns=read_columns(driver, table),
        unique_keys=[set(row[0]) for row in driver.execute(sql.target.UNIQUE_KEYS, relation)],
    )


def read_columns(driver: psycopg.Connection[Any], table: TableName) -> dict[str, TargetColumn]:
    """The columns of the table, by name."""
    found = driver.execute(sql.target.TARGET_COLUMNS, {"relation": sql.names.relation_name(table)}).fetchall()
    return {row[0]: TargetColumn(*row) for row in found}


def created_type(driver: psycopg.Connection[Any], field: pa.Field) -> str:
    """The type that a new column gets: the source's, or its nearest built-in one where that is not known here."""
    types = types_of(field)
    known = next(
        (type_ for type_ in (types if has_declared_type(field) else types[:1]) if is_type(driver, type_)), None
    )
    if known is None:
        raise SchemaError(f"Column {field.name!r} comes with a type that this database does not have.")
    return known


def is_type(driver: psycopg.Connection[Any], name: str) -> bool:
    """Whether the whole text is the name of a type here; what it says comes from the staged chunk."""
    return bool(_one(driver.execute(sql.target.TYPE_EXISTS, {"type": name}))[0])


def refuse_unfit(target: Target, staged: StagedChunk, key: tuple[str, ...], rules: LoadRules) -> None:
    """Refuse what no contract mends.

    :raises ConfigurationError: where the rules name columns that the stream lacks
    :raises SchemaError: where the table cannot be merged into
    """
    _refuse_bad_rules(target.table, staged.schema.names, key, rules)
    name, columns = str(target.table), target.columns
    if target.kind not in (_TABLE, _PARTITIONED):
        raise SchemaError(f"{name!r} is no table: rows can be merged into ordinary and partitioned tables.")
    if rules.synced_at_column and rules.synced_at_column not in columns:
        raise SchemaError(f"The table {name!r} has no column {rules.synced_at_column} to be synced_at_column: add it.")
    given = {*staged.schema.names, rules.synced_at_column}
    required = [column.name for column in columns.values() if column.is_required and column.name not in given]
    if required:
        raise SchemaError(
            f"Column {', '.join(required)} of {name!r} is NOT NULL without a default, and the stream does not have it: "
            "give it a default, or let it be NULL."
        )
    fixed = [
        field
        for field in staged.schema.names
        if field in columns and columns[field].is_always_identity and field not in key
    ]
    if fixed and (rules.conflict != "dest_wins" or target.can_flag(staged)):
        raise SchemaError(
            f"Column {', '.join(fixed)} of {name!r} is GENERATED ALWAYS AS IDENTITY and no part of the key, "
            "so it cannot be updated: make it GENERATED BY DEFAULT, or leave it out of columns."
        )
    if set(key) not in target.unique_keys:
        raise SchemaError(
            f"The table {name!r} has no primary key or unique index on exactly ({', '.join(key)}): create "
            "one, so that a row can be found again, or set primary_key to the columns of one that is there."
        )


def _refuse_bad_rules(table: TableName, names: list[str], key: tuple[str, ...], rules: LoadRules) -> None:
    missing = next((name for name in key if name not in names), None)
    if missing is not None:
        raise ConfigurationError(f"The stream has no column {missing!r} to be primary_key of {str(table)!r}.")
    if rules.conflict == "latest_wins" and rules.conflict_field == sql.names.XMIN:
        raise ConfigurationError(
            "latest_wins compares a column of the stream, and cursor_field xmin is none: name one as conflict_field."
        )
    if rules.conflict == "latest_wins" and rules.conflict_field not in names:
        raise ConfigurationError(f"The stream has no column {rules.conflict_field!r} to be conflict_field.")
    if rules.synced_at_column in names:
        raise ConfigurationError(
            f"synced_at_column {rules.synced_at_column!r} is a column of the stream too: rename one of them."
        )


def _created_columns(driver: psycopg.Connection[Any], staged: StagedChunk, rules: LoadRules) -> list[tuple[str, str]]:
    columns = [(field.name, created_type(driver, field)) for field in staged.schema]
    if rules.synced_at_column:
        columns.append((rules.synced_at_column, "timestamp with time zone"))
    return columns


def _one(cursor: psycopg.Cursor[Any]) -> tuple[Any, ...]:
    row: tuple[Any, ...] | None = cursor.fetchone()
    return row or ()
