"""The tables that changes are applied to, as they are before a piece, and in which order they may be written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from airflow_etl_sync.cdc import apply_sql
from airflow_etl_sync.cdc.apply_sql import KeyTypes
from airflow_etl_sync.cdc.tables import CdcTable
from airflow_etl_sync.core.keys import SOFT_DELETED
from airflow_etl_sync.core.model import TableName
from airflow_etl_sync.errors import SchemaError
from airflow_etl_sync.systems.postgres import sql
from airflow_etl_sync.systems.postgres.target import TargetColumn, read_columns

if TYPE_CHECKING:
    import psycopg


@dataclass(frozen=True, slots=True)
class TargetState:
    """A target before a piece.

    :param columns: empty where the table is not there yet
    :param unique_keys: the columns of each unique index
    :param is_referenced: whether a foreign key leads to it
    """

    terms: CdcTable
    columns: dict[str, TargetColumn]
    unique_keys: tuple[tuple[str, ...], ...]
    is_referenced: bool

    @property
    def exists(self) -> bool:
        return bool(self.columns)

    @property
    def key(self) -> KeyTypes:
        """
        The key's columns with the types that they have here.

        :raises SchemaError: where one is missing
        """
        missing = [name for name in self.terms.key if name not in self.columns]
        if missing:
            raise SchemaError(f"The table {str(self.terms.target)!r} has no column {', '.join(missing)} of the key.")
        return [(name, self.columns[name].type) for name in self.terms.key]

    @property
    def further_keys(self) -> list[KeyTypes]:
        """What else is unique. Rows are deleted and inserted anew where they change in it, if nothing forbids that."""
        if self.is_referenced or self.terms.rules.conflict != "source_wins":
            return []
        others = [columns for columns in self.unique_keys if set(columns) != set(self.terms.key)]
        return [[(name, self.columns[name].type) for name in columns] for columns in others]


def look_at(driver: psycopg.Connection[Any], tables: Sequence[CdcTable]) -> list[TargetState]:
    """The targets in an order in which none references one that comes after it, as far as there is such an order."""
    relations = [sql.names.relation_name(table.target) for table in tables]
    references = driver.execute(apply_sql.FOREIGN_KEYS, {"relations": relations}).fetchall()
    referenced = {parent - 1 for _, parent in references}
    parents: dict[int, set[int]] = {place: set() for place in range(len(tables))}
    for child, parent in references:
        if child is not None and child != parent:
            parents[child - 1].add(parent - 1)
    return [_state(driver, tables[place], is_referenced=place in referenced) for place in _parents_first(parents)]


def refer_to_each_other(driver: psycopg.Connection[Any], tables: Sequence[CdcTable]) -> bool:
    """Whether one of the targets references one of them."""
    relations = [sql.names.relation_name(table.target) for table in tables]
    references = driver.execute(apply_sql.FOREIGN_KEYS, {"relations": relations}).fetchall()
    return any(child is not None for child, _ in references)


def _parents_first(parents: dict[int, set[int]]) -> list[int]:
    ordered: list[int] = []
    waiting = dict(parents)
    while waiting:
        free = [place for place, above in waiting.items() if not above & waiting.keys()]
        for place in free or [min(waiting)]:  # in a circle of references, any is the first
            ordered.append(place)
            del waiting[place]
    return ordered


def _state(driver: psycopg.Connection[Any], terms: CdcTable, *, is_referenced: bool) -> TargetState:
    relation = {"relation": sql.names.relation_name(terms.target)}
    columns = read_columns(driver, terms.target)
    unique = tuple(tuple(row[0]) for row in driver.execute(sql.target.UNIQUE_KEYS, relation)) if columns else ()
    return TargetState(terms, columns, unique, is_referenced)


def with_flag(driver: psycopg.Connection[Any], target: TargetState) -> TargetState:
    """The target with the column that flags rows as deleted, which is added where it is absent.

    :raises SchemaError: where the column is something else
    """
    if not target.exists:
        return target
    if SOFT_DELETED not in target.columns:
        driver.execute(sql.sessions.BE_PATIENT)
        driver.execute(sql.reconciling.add_flag(target.terms.target))
        return _state(driver, target.terms, is_referenced=target.is_referenced)
    if target.columns[SOFT_DELETED].type != "boolean":
        name = str(target.terms.target)
        raise SchemaError(f"The column {SOFT_DELETED} of {name!r} is no boolean: the name is reserved.")
    return target


def empty(driver: psycopg.Connection[Any], targets: Sequence[TargetState]) -> int:
    """Empty targets, given parents first; the number of rows that were counted on the way."""
    import psycopg

    hard = [target.terms.target for target in targets if target.terms.delete == "hard"]
    rows = 0
    try:
        with driver.transaction():
            if hard:
                driver.execute(sql.sessions.BE_PATIENT)
                driver.execute(apply_sql.truncate(hard))
    except psycopg.errors.FeatureNotSupported:  # another table references one of them
        rows += _delete_all(driver, hard[::-1])
    for target in targets:
        if target.terms.delete == "soft":
            statement = apply_sql.flag_all(target.terms.target, target.terms.rules.synced_at_column)
            rows += driver.execute(statement).rowcount
    return rows


def _delete_all(driver: psycopg.Connection[Any], tables: Sequence[TableName]) -> int:
    return sum(driver.execute(apply_sql.delete_all(table)).rowcount for table in tables)
