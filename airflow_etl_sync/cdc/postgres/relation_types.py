"""Which types the columns of a source's relations have."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from airflow_etl_sync.cdc.postgres import sql
from airflow_etl_sync.core.columns import ColumnTypes
from airflow_etl_sync.systems.postgres.sql.streams import TYPES_OF_COLUMNS

if TYPE_CHECKING:
    import psycopg


class TypedColumn(Protocol):
    """A column of a relation as pgoutput tells it."""

    @property
    def name(self) -> str: ...
    @property
    def type_oid(self) -> int: ...
    @property
    def type_modifier(self) -> int: ...


class TypedRelation(Protocol):
    """A relation as pgoutput tells it."""

    @property
    def id(self) -> int: ...
    @property
    def columns(self) -> Sequence[TypedColumn]: ...


def read_relation_types(
    connection: psycopg.Connection[Any], relations: Iterable[TypedRelation]
) -> dict[int, dict[str, ColumnTypes]]:
    """The types by the relation's id and the column's name; a type that is not there any more is text."""
    columns = {relation.id: relation.columns for relation in relations}
    pairs = dict.fromkeys((each.type_oid, each.type_modifier) for of in columns.values() for each in of)
    types = _types(connection, list(pairs))
    return {id_: {each.name: types[each.type_oid, each.type_modifier] for each in of} for id_, of in columns.items()}


def _types(
    connection: psycopg.Connection[Any], wanted: Sequence[tuple[int, int]]
) -> dict[tuple[int, int], ColumnTypes]:
    known = {oid for (oid,) in connection.execute(sql.KNOWN_TYPES, {"oids": [oid for oid, _ in wanted]})}
    asked = [pair for pair in wanted if pair[0] in known]
    values = {"oids": [oid for oid, _ in asked], "modifiers": [modifier for _, modifier in asked]}
    rows = connection.execute(TYPES_OF_COLUMNS, values).fetchall()
    told = {pair: ColumnTypes(row[0], row[3]) for pair, row in zip(asked, rows, strict=True)}
    return {pair: told.get(pair, ColumnTypes("text", "text")) for pair in wanted}
