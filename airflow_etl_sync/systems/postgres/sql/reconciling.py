"""Keys of both sides compared, and rows that are gone removed or flagged."""

from __future__ import annotations

from collections.abc import Sequence

from psycopg.sql import SQL, Composable, Composed, Identifier

from airflow_etl_sync.core.keys import SOFT_DELETED
from airflow_etl_sync.core.model import Stream, TableName
from airflow_etl_sync.systems.postgres.sql.merging import _is_flagged
from airflow_etl_sync.systems.postgres.sql.names import STATE_SCHEMA, all_of, identifier
from airflow_etl_sync.systems.postgres.sql.streams import author_condition, relation, source_column


def find_present(stream: Stream, types: Sequence[str]) -> Composed:
    """Which of the given keys the stream has: their places, from 1. Column by column they are $1, $2 and so on.

    The condition on single columns says nothing new: it is what the database can push into the author's query.

    :param types: of the key's columns, without length or precision
    """
    key = stream.primary_key
    narrow = [
        SQL("{} = ANY(CAST(CAST({} AS text[]) AS {}[]))").format(source_column(name), SQL(f"${place}"), SQL(type_))
        for place, (name, type_) in enumerate(zip(key, types, strict=True), start=1)
        if not type_.endswith("]")
    ]
    asked = [Identifier(f"key_{place}") for place in range(len(key))]
    same = [
        SQL("found.{} = CAST(asked.{} AS {})").format(Identifier(name), text, SQL(type_))
        for name, text, type_ in zip(key, asked, types, strict=True)
    ]
    return SQL("""WITH found AS (
    SELECT {key}
    FROM {relation}
    WHERE {conditions}
)
SELECT DISTINCT asked.place
FROM unnest({arrays}) WITH ORDINALITY AS asked ({asked}, place)
JOIN found ON {same}""").format(
        key=SQL(", ").join(source_column(name) for name in key),
        relation=relation(stream),
        conditions=all_of([*author_condition(stream), *narrow]),
        arrays=SQL(", ").join(SQL(f"CAST(${place} AS text[])") for place in range(1, len(key) + 1)),
        asked=SQL(", ").join(asked),
        same=SQL(" AND ").join(same),
    )


def analyze_staging(name: str) -> Composed:
    """Count what the planner wants to know: nothing else does for a table without autovacuum."""
    return SQL("ANALYZE {}").format(Identifier(STATE_SCHEMA, name))


def count_compared(table: TableName, key: Sequence[str], scope: str | None, *, live_only: bool) -> Composed:
    """How many rows of the target are compared."""
    return SQL("SELECT count(*)\nFROM {} AS target\nWHERE {}").format(
        identifier(table), all_of(_compared(key, scope, live_only=live_only))
    )


def create_suspects(
    table: TableName,
    staging: str,
    suspects: str,
    key: Sequence[tuple[str, Composable]],
    scope: str | None,
    *,
    live_only: bool,
    has_flag: bool,
) -> Composed:
    """Number the rows that are not at the source, and the flagged ones that are, and keep their keys.

    :param key: names, and their staged values in the target's types
    :param live_only: whether flagged rows that are not at the source are as they should be
    """
    names = [name for name, _ in key]
    kept = [SQL("target.{} AS {}").format(Identifier(name), Identifier(f"key_{n}")) for n, name in enumerate(names)]
    staged = SQL("EXISTS (\n        SELECT FROM {} AS staged\n        WHERE {}\n    )").format(
        Identifier(STATE_SCHEMA, staging),
        SQL(" AND ").join(SQL("{} = target.{}").format(value, Identifier(name)) for name, value in key),
    )
    absent = [*_compared(names, scope, live_only=live_only), SQL("NOT {}").format(staged)]
    returned = [*_compared(names, scope, live_only=False), _is_flagged(), staged]
    wanted = [(absent, SQL("FALSE")), (returned, SQL("TRUE"))] if has_flag else [(absent, SQL("FALSE"))]
    return SQL("""CREATE UNLOGGED TABLE {suspects} WITH (autovacuum_enabled = false) AS
SELECT row_number() OVER (ORDER BY {order}) AS place, suspect.*
FROM (
{rows}
) AS suspect""").format(
        suspects=Identifier(STATE_SCHEMA, suspects),
        order=SQL(", ").join(Identifier(f"key_{place}") for place in range(len(key))),
        rows=SQL("\nUNION ALL\n").join(
            SQL("SELECT {}, {} AS is_present\nFROM {} AS target\nWHERE {}").format(
                SQL(", ").join(kept), is_present, identifier(table), all_of(conditions)
            )
            for conditions, is_present in wanted
        ),
    )


def _compared(key: Sequence[str], scope: str | None, *, live_only: bool) -> list[Composable]:
    """Rows without a key were not put there by a sync."""
    conditions: list[Composable] = [SQL("(\n{}\n)").format(SQL(scope))] if scope else []
    conditions += [SQL("target.{} IS NOT NULL").format(Identifier(name)) for name in key]
    return [*conditions, SQL("{} IS NOT TRUE").format(Identifier("target", SOFT_DELETED))] if live_only else conditions


def index_suspects(suspects: str) -> Composed:
    """Let a block's rows be found by their numbers."""
    return SQL("ALTER TABLE {} ADD PRIMARY KEY (place)").format(Identifier(STATE_SCHEMA, suspects))


def count_suspects(suspects: str) -> Composed:
    """How many are not at the source, and how many flagged ones are."""
    return SQL("SELECT count(*) FILTER (WHERE NOT is_present), count(*) FILTER (WHERE is_present)\nFROM {}").format(
        Identifier(STATE_SCHEMA, suspects)
    )


def read_suspects(suspects: str, types: Sequence[str]) -> Composed:
    """A block of keys as text of the types that the source has."""
    keys = [
        SQL("CAST(CAST({} AS {}) AS text)").format(Identifier(f"key_{place}"), SQL(type_))
        for place, type_ in enumerate(types)
    ]
    return SQL(
        "SELECT place, is_present, {}\nFROM {}\nWHERE place BETWEEN %(first)s AND %(last)s\nORDER BY place"
    ).format(SQL(", ").join(keys), Identifier(STATE_SCHEMA, suspects))


def lock_writers_out(table: TableName) -> Composed:
    """Until the transaction ends nobody else writes to the table; everybody may read it."""
    return SQL("LOCK TABLE {} IN SHARE ROW EXCLUSIVE MODE").format(identifier(table))


def add_flag(table: TableName) -> Composed:
    """Add the column that flags rows as deleted."""
    return SQL("ALTER TABLE {} ADD COLUMN IF NOT EXISTS {} boolean NOT NULL DEFAULT FALSE").format(
        identifier(table), Identifier(SOFT_DELETED)
    )


def delete_suspects(table: TableName, suspects: str, key: Sequence[str], scope: str | None) -> Composed:
    """Delete the rows of the suspects whose numbers are $1."""
    return SQL("DELETE FROM {} AS target\nWHERE {}").format(
        identifier(table), all_of([*_compared(key, scope, live_only=False), _is_suspect(suspects, key)])
    )


def flag_suspects(
    table: TableName, suspects: str, key: Sequence[str], scope: str | None, synced_at_column: str | None, *, flag: bool
) -> Composed:
    """Flag the rows of the suspects whose numbers are $1 as deleted, or take their flag off."""
    changes = [SQL("{} = {}").format(Identifier(SOFT_DELETED), SQL("TRUE" if flag else "FALSE"))]
    if synced_at_column:
        changes.append(SQL("{} = now()").format(Identifier(synced_at_column)))
    differs = SQL("{} IS {}").format(Identifier("target", SOFT_DELETED), SQL("NOT TRUE" if flag else "TRUE"))
    return SQL("UPDATE {} AS target\nSET {}\nWHERE {}").format(
        identifier(table),
        SQL(", ").join(changes),
        all_of([*_compared(key, scope, live_only=False), differs, _is_suspect(suspects, key)]),
    )


def _is_suspect(suspects: str, key: Sequence[str]) -> Composed:
    same = [
        SQL("suspect.{} = target.{}").format(Identifier(f"key_{place}"), Identifier(name))
        for place, name in enumerate(key)
    ]
    return SQL(
        "EXISTS (\n        SELECT FROM {} AS suspect\n        WHERE suspect.place = ANY($1) AND {}\n    )"
    ).format(Identifier(STATE_SCHEMA, suspects), SQL(" AND ").join(same))
