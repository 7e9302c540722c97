"""What the schema contract does where the stream's columns are not those of the table."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from airflow_etl_sync.core.columns import is_inferred, types_of
from airflow_etl_sync.core.contract import Change, SchemaChange
from airflow_etl_sync.core.model import LoadRules
from airflow_etl_sync.errors import ConfigurationError, SchemaError
from airflow_etl_sync.systems.columnar.types import holds, landing_type

if TYPE_CHECKING:
    import pyarrow as pa

Widens = Callable[["pa.DataType", "pa.DataType"], "pa.DataType | None"]
"""The type that a column of one type can be given, so that it holds the values of another too; None where none."""


def never_widens(column: pa.DataType, values: pa.DataType) -> None:
    """Of a system in which a column keeps its type."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """How the staged columns go into the table.

    :param written: the columns that are written, with the types of the table's columns, changed by now
    :param added: those of them that the table lacks
    :param widened: those whose type in the table must become another
    :param refused: columns whose rows, where they have a value there, are set aside
    """

    written: dict[str, pa.DataType]
    added: tuple[str, ...] = ()
    widened: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()
    changes: tuple[SchemaChange, ...] = ()


def fit(
    target: str,
    table: Mapping[str, pa.DataType],
    staged: pa.Schema,
    key: tuple[str, ...],
    rules: LoadRules,
    fits: Callable[[pa.Field, pa.DataType], bool],
    widens: Widens,
) -> Fit:
    """Compare the staged columns with the table's, and act on the differences as the contract says.

    :param table: the table's columns; empty where there is no table yet
    :param fits: whether every staged value of a field is the same in a type
    :param widens: how the system can widen a column
    :raises SchemaError: under ``freeze``, and where the key or the conflict field would be left out
    """
    if not table:
        return Fit(written={field.name: landing_type(field) for field in staged})
    new = [field for field in staged if field.name not in table]
    known = [field for field in staged if field.name in table]
    contract = rules.schema_contract
    misfits = [field for field in known if _is_unlike(field, table) and not fits(field, table[field.name])]
    declared = [field for field in known if _is_unlike(field, table) and not is_inferred(field)]
    unlike = [field for field in known if field in misfits or field in declared]
    _refuse_keyless(target, table, key)
    if contract == "freeze":
        _refuse(target, table, new, unlike)
    leaving = [*new, *unlike] if contract == "discard_column" else new if contract == "discard_row" else []
    _refuse_leaving_out(target, {field.name for field in leaving}, key, rules)
    written = {field.name: table[field.name] for field in known if field not in leaving}
    changes = [_change(target, table, field, "left_out") for field in leaving]
    widened = dict[str, "pa.DataType"]()
    if contract == "evolve":
        written |= {field.name: landing_type(field) for field in new}
        changes += [_change(target, table, field, "added") for field in new]
        found = {field.name: widens(table[field.name], landing_type(field)) for field in misfits}
        widened = {name: type_ for name, type_ in found.items() if type_ is not None}
        changes += [_change(target, table, field, "widened") for field in misfits if field.name in widened]
    return Fit(
        written=written | widened,
        added=tuple(field.name for field in new) if contract == "evolve" else (),
        widened=tuple(widened),
        refused=tuple(field.name for field in new) if contract == "discard_row" else (),
        changes=tuple(changes),
    )


def refuse_bad_rules(target: str, staged: pa.Schema, key: tuple[str, ...], rules: LoadRules) -> None:
    """Refuse what no table can mend.

    :raises ConfigurationError: where the rules name columns that the stream lacks
    """
    missing = next((name for name in key if name not in staged.names), None)
    if missing is not None:
        raise ConfigurationError(f"The stream has no column {missing!r} to be primary_key of {target!r}.")
    if rules.conflict == "latest_wins" and rules.conflict_field not in staged.names:
        raise ConfigurationError(f"The stream has no column {rules.conflict_field!r} to be conflict_field.")
    if rules.synced_at_column in staged.names:
        raise ConfigurationError(
            f"synced_at_column {rules.synced_at_column!r} is a column of the stream too: rename one of them."
        )


def _is_unlike(field: pa.Field, table: Mapping[str, pa.DataType]) -> bool:
    """Whether the table's column may not take every value of the stream's."""
    return is_inferred(field) or not holds(table[field.name], landing_type(field))


def _refuse_keyless(target: str, table: Mapping[str, pa.DataType], key: tuple[str, ...]) -> None:
    missing = next((name for name in key if name not in table), None)
    if missing is not None:
        raise SchemaError(
            f"The table {target!r} has no column {missing!r} to find a row by: add it, or set primary_key to columns "
            "that are there."
        )


def _refuse(target: str, table: Mapping[str, pa.DataType], new: list[pa.Field], unlike: list[pa.Field]) -> None:
    if new:
        raise SchemaError(
            f"The table {target!r} has no column {_listed(new)}, and schema_contract is 'freeze': add what is missing, "
            "or list the columns to read in columns."
        )
    if unlike:
        types = ", ".join(f"{field.name} ({types_of(field).declared} into {table[field.name]})" for field in unlike)
        raise SchemaError(
            f"Columns of {target!r} do not hold every value of the stream's, and schema_contract is 'freeze': {types}. "
            "Change them, or convert the values at the source."
        )


def _refuse_leaving_out(target: str, left_out: set[str], key: tuple[str, ...], rules: LoadRules) -> None:
    needed = {*key, *([rules.conflict_field] if rules.conflict == "latest_wins" else [])}
    missing = sorted(name for name in needed if name in left_out)
    if missing:
        raise SchemaError(
            f"Column {', '.join(missing)} of {target!r} does not fit the stream's and cannot be left out, as it is "
            "part of the key or the conflict field: change the table."
        )


def _change(target: str, table: Mapping[str, pa.DataType], field: pa.Field, change: Change) -> SchemaChange:
    old = table.get(field.name)
    return SchemaChange(
        place=target, column=field.name, change=change,
        old_type=None if old is None else str(old), new_type=types_of(field).declared,
    )  # fmt: skip


def _listed(fields: list[pa.Field]) -> str:
    return ", ".join(field.name for field in fields)
