"""Folds of tables that changed their shape meanwhile, made one: of a row the last of them has the word."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TypeVar

from airflow_etl_sync.cdc.fold import Fold, TableFold, Upsert
from airflow_etl_sync.cdc.keyed import Key
from airflow_etl_sync.core.changes import UNCHANGED, Relation, RelationColumn

T = TypeVar("T")


def together(folds: Sequence[Fold]) -> Fold:
    """The folds as one, to be applied at once; each shape of a table stays by itself, the former ones first."""
    whole = Fold()
    by_name: dict[str, list[TableFold]] = {}
    for fold in folds:
        whole.changes += fold.changes
        for table in fold.tables.values():
            former = by_name.setdefault(str(table.relation), [])
            former.append(_told_after(former, table))
        for history in fold.histories.values():
            whole.histories[len(whole.histories)] = history
    for number, table in enumerate(table for shapes in by_name.values() for table in shapes):
        whole.tables[number] = table
    return whole


def _told_after(former: list[TableFold], table: TableFold) -> TableFold:
    """The changes of a table with what former shapes know of its rows, which forget them; each row is in one only."""
    if table.is_truncated:
        former[:] = [replace(each, upserts={}, deletes={}) for each in former]
    upserts = {key: _known_from(former, table.relation, key, row) for key, row in table.upserts.items()}
    former[:] = [
        replace(
            each,
            upserts=_without(each.upserts, upserts, table.deletes),
            deletes=_without(each.deletes, upserts, table.deletes),
        )
        for each in former
    ]
    return replace(table, upserts=upserts, deletes=dict(table.deletes))


def _known_from(former: Iterable[TableFold], relation: Relation, key: Key, row: Upsert) -> Upsert:
    """A row, with the values that the log leaves out and that a former shape of its table has."""
    before = key if row.moved_from is None else row.moved_from
    told = next((each for each in former if before in each.upserts), None)
    if row.is_whole or row.is_new or told is None:
        return row
    known = told.upserts[before]
    by_column = dict(zip(map(_as_it_is_stored, told.relation.columns), known.values, strict=True))
    columns = [_as_it_is_stored(column) for column in relation.columns]
    left_out = [column for column, value in zip(columns, row.values, strict=True) if value is UNCHANGED]
    values = tuple(
        by_column.get(column, UNCHANGED) if value is UNCHANGED else value
        for column, value in zip(columns, row.values, strict=True)
    )
    if UNCHANGED not in values:
        return Upsert(values)
    if known.is_new or any(column not in by_column for column in left_out):
        return Upsert(values, is_new=True)  # what a column has become that was rewritten, only the source can tell
    return Upsert(values, row.moved_from if known.moved_from is None else known.moved_from)


def _as_it_is_stored(column: RelationColumn) -> tuple[str, int, int]:
    return column.name, column.type_oid, column.type_modifier


def _without(rows: Mapping[Key, T], *told: Container[Key]) -> dict[Key, T]:
    return {key: row for key, row in rows.items() if not any(key in each for each in told)}
