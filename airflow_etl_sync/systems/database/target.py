"""The table that is loaded: looked at, made, and given the columns that the schema contract lets it have."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import Column, MetaData, Table, inspect, types
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.schema import CreateColumn, CreateTable
from sqlalchemy.sql import quoted_name

from airflow_etl_sync.core.columns import types_of
from airflow_etl_sync.core.contract import Change, SchemaChange
from airflow_etl_sync.core.model import LoadRules, TableName
from airflow_etl_sync.errors import ConfigurationError, SchemaError
from airflow_etl_sync.systems.database.landing import Landing, Values

if TYPE_CHECKING:
    import pyarrow as pa
    from sqlalchemy import Connection, Dialect


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetColumn:
    """:param is_required: whether a new row must bring a value for it"""

    name: str
    type: types.TypeEngine[Any]
    is_computed: bool
    is_required: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """How the staged columns go into the table.

    :param written: those that are written, key columns included
    :param discarding: columns that the table lacks, and whose values no row may have
    :param changes: what was done about columns that did not fit
    """

    columns: dict[str, TargetColumn]
    written: tuple[str, ...]
    discarding: tuple[str, ...]
    changes: tuple[SchemaChange, ...]


def fit(
    connection: Connection,
    landing: Landing,
    table: TableName,
    schema: pa.Schema,
    key: Sequence[str],
    rules: LoadRules,
    values: Values,
) -> Fit:
    """Look at the table and act on what it lacks, as the contract says; an absent one is made.

    What is made here is committed before any row is: most databases have no transactions for it.

    :param values: gives the staged ones of a column
    :raises ConfigurationError: where the rules name columns that the stream lacks
    :raises SchemaError: where rows cannot be merged into the table
    """
    import pyarrow as pa

    _refuse_bad_rules(table, schema.names, key, rules)
    if not inspect(connection).has_table(table.name, schema=table.schema):
        _create(connection, landing, table, schema, key, rules)
    landing.refuse_unfit(connection, table.name, table.schema)
    columns = read_columns(connection, table)
    _refuse_unfit(connection, table, columns, schema.names, key, rules)
    new = [field for field in schema if field.name not in columns]
    contract = rules.schema_contract
    if new and contract == "freeze":
        raise SchemaError(
            f"The table {str(table)!r} has no column {_listed(new)}, and schema_contract is 'freeze': add what is "
            "missing, or list the columns to read in columns."
        )
    needed = {*key, *([rules.conflict_field] if rules.conflict == "latest_wins" else [])}
    if contract != "evolve" and (missing := [field for field in new if field.name in needed]):
        raise SchemaError(
            f"The table {str(table)!r} has no column {_listed(missing)}, which cannot be left out, as it is part of "
            "the key or the conflict field: add it."
        )
    if contract == "evolve":
        known = [field for field in schema if field.name in columns and not columns[field.name].is_computed]
        changes = landing.widen(connection, table, pa.schema(known), key, values)
        changes += [_add(connection, landing, table, field) for field in new]
        columns = read_columns(connection, table) if changes else columns
    else:
        changes = [_change(table, field, "left_out") for field in new]
    return Fit(
        columns=columns,
        written=tuple(name for name in schema.names if name in columns and not columns[name].is_computed),
        discarding=tuple(field.name for field in new) if contract == "discard_row" else (),
        changes=tuple(changes),
    )


def read_columns(connection: Connection, table: TableName) -> dict[str, TargetColumn]:
    """The columns of the table, by name."""
    found = inspect(connection).get_columns(table.name, schema=table.schema)
    return {
        each["name"]: TargetColumn(
            name=each["name"],
            type=each["type"],
            is_computed="computed" in each,
            is_required=not each["nullable"]
            and each.get("default") is None
            and each.get("autoincrement") is not True
            and not {"computed", "identity"} & each.keys(),
        )
        for each in found
    }


def relation(table: TableName, names: Sequence[str]) -> Table:
    """The table in statements: each column by its place, since names may be of any letters."""
    columns = [Column(quoted_name(name, quote=True), types.NullType(), key=key_of(n)) for n, name in enumerate(names)]
    schema = None if table.schema is None else quoted_name(table.schema, quote=True)
    return Table(quoted_name(table.name, quote=True), MetaData(), *columns, schema=schema)


def key_of(place: int) -> str:
    """What a column is called in statements."""
    return f"c{place}"


def _create(
    connection: Connection,
    landing: Landing,
    table: TableName,
    schema: pa.Schema,
    key: Sequence[str],
    rules: LoadRules,
) -> None:
    if not rules.create_table:
        raise SchemaError(f"The destination has no table {str(table)!r} and create_table is off: create it first.")
    columns = [
        Column(
            quoted_name(field.name, quote=True),
            landing.type_of(connection, field, is_key=field.name in key),
            primary_key=field.name in key,
            autoincrement=False,
        )
        for field in schema
    ]
    if rules.synced_at_column:
        columns.append(Column(quoted_name(rules.synced_at_column, quote=True), landing.plain("timestamptz", "")))
    made = Table(
        quoted_name(table.name, quote=True), MetaData(), *columns,
        schema=table.schema and quoted_name(table.schema, quote=True), mysql_engine="InnoDB", mysql_charset="utf8mb4",
    )  # fmt: skip
    make(
        connection,
        lambda: connection.execute(CreateTable(made)),
        lambda: inspect(connection).has_table(table.name, schema=table.schema),
    )


def make(connection: Connection, make_it: Callable[[], object], is_there: Callable[[], bool]) -> None:
    """Make something that another load may be making at the same time."""
    try:
        make_it()
        connection.commit()
    except SQLAlchemyError:
        connection.rollback()
        if not is_there():
            raise


def _add(connection: Connection, landing: Landing, table: TableName, field: pa.Field) -> SchemaChange:
    type_ = landing.type_of(connection, field, is_key=False)
    column: Column[Any] = Column(quoted_name(field.name, quote=True), type_)
    dialect: Dialect = connection.dialect
    relation_name = dialect.identifier_preparer.format_table(relation(table, ()))
    statement = f"ALTER TABLE {relation_name} ADD COLUMN {CreateColumn(column).compile(dialect=dialect)}"
    make(
        connection,
        lambda: connection.exec_driver_sql(statement),
        lambda: field.name in read_columns(connection, table),
    )
    return _change(table, field, "added", type_.compile(dialect=dialect))


def _change(table: TableName, field: pa.Field, change: Change, new_type: str | None = None) -> SchemaChange:
    return SchemaChange(
        place=str(table), column=field.name, change=change, new_type=new_type or types_of(field).declared
    )


def _refuse_bad_rules(table: TableName, names: list[str], key: Sequence[str], rules: LoadRules) -> None:
    if not key:
        raise ConfigurationError(f"Nothing names a record of {str(table)!r}: set primary_key.")
    missing = next((name for name in key if name not in names), None)
    if missing is not None:
        raise ConfigurationError(f"The stream has no column {missing!r} to be primary_key of {str(table)!r}.")
    if rules.conflict == "latest_wins" and rules.conflict_field not in names:
        raise ConfigurationError(f"The stream has no column {rules.conflict_field!r} to be conflict_field.")
    if rules.synced_at_column in names:
        raise ConfigurationError(
            f"synced_at_column {rules.synced_at_column!r} is a column of the stream too: rename one of them."
        )


def _refuse_unfit(
    connection: Connection,
    table: TableName,
    columns: dict[str, TargetColumn],
    names: Sequence[str],
    key: Sequence[str],
    rules: LoadRules,
) -> None:
    name = str(table)
    if rules.synced_at_column and rules.synced_at_column not in columns:
        raise SchemaError(f"The table {name!r} has no column {rules.synced_at_column} to be synced_at_column: add it.")
    given = {*names, rules.synced_at_column}
    required = [column.name for column in columns.values() if column.is_required and column.name not in given]
    if required:
        raise SchemaError(
            f"Column {', '.join(required)} of {name!r} is NOT NULL without a default, and the stream does not have it: "
            "give it a default, or let it be NULL."
        )
    if set(key) not in _unique_keys(connection, table):
        raise SchemaError(
            f"The table {name!r} has no primary key or unique index on exactly ({', '.join(key)}): create "
            "one, so that a row can be found again, or set primary_key to the columns of one that is there."
        )


def _unique_keys(connection: Connection, table: TableName) -> list[set[str | None]]:
    inspector = inspect(connection)
    where: dict[str, Any] = {"table_name": table.name, "schema": table.schema}
    keys: list[set[str | None]] = [set(inspector.get_pk_constraint(**where)["constrained_columns"])]
    keys += [set(each["column_names"]) for each in inspector.get_unique_constraints(**where)]
    for index in inspector.get_indexes(**where):
        if index["unique"] and not _is_of_some(index.get("dialect_options", {})):
            keys.append(set(index["column_names"]))
    return keys


def _is_of_some(options: dict[str, Any]) -> bool:
    """Whether an index has only some rows, or only the beginnings of texts."""
    return any(value and name.endswith(("_where", "_length")) for name, value in options.items())


def _listed(fields: Sequence[pa.Field]) -> str:
    return ", ".join(field.name for field in fields)
