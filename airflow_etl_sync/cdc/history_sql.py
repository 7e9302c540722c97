"""Every statement by which changes are appended to a history, one builder each.

Staged values are text, as PostgreSQL writes them under pinned settings. The rows that a value is taken from are
always older than the staged one, by their place in the log and not by when they came.
"""

from __future__ import annotations

from collections.abc import Sequence

from psycopg.sql import SQL, Composable, Composed, Identifier, Literal

from airflow_etl_sync.cdc.apply_sql import MOVED, KeyTypes, as_written
from airflow_etl_sync.core.changes import Lsn, lsn_text
from airflow_etl_sync.core.history import COMMITTED_AT, LSN, OP, SEQUENCE, UNKNOWN
from airflow_etl_sync.core.model import TableName
from airflow_etl_sync.systems.postgres.sql.names import STATE_SCHEMA, all_of, column_list, identifier
from airflow_etl_sync.systems.postgres.sql.staging import read_staged


def index_keys(table: TableName, key: Sequence[str]) -> Composed:
    """Make the rows of a key quick to find, the newest first."""
    return SQL("CREATE INDEX ON {} ({})").format(identifier(table), column_list([*key, LSN, SEQUENCE]))


def read_newest(table: TableName) -> Composed:
    """The last position in a history, as a number."""
    return SQL("SELECT (max({}) - '0/0'::pg_lsn)::bigint FROM {}").format(Identifier(LSN), identifier(table))


def mark_resync(table: TableName, at: Lsn) -> Composed:
    """Say that changes before a position may be missing; a table without rows needs no such word."""
    return SQL("""INSERT INTO {} ({})
SELECT 'resync', {}::pg_lsn, 0, now()
WHERE EXISTS (SELECT FROM {})
ON CONFLICT ({}) DO NOTHING""").format(
        identifier(table),
        column_list([OP, LSN, SEQUENCE, COMMITTED_AT]),
        Literal(lsn_text(at)),
        identifier(table),
        column_list([LSN, SEQUENCE]),
    )


def find_strangers(table: TableName, staging: str) -> Composed:
    """Whether any place in the log that is staged holds another change in the target."""
    return SQL("""SELECT EXISTS (
    SELECT
    FROM {} AS staged
    JOIN {} AS target ON target.{lsn} = staged.{lsn}::pg_lsn AND target.{sequence} = staged.{sequence}
    WHERE target.{op} <> staged.{op} OR target.{at} IS DISTINCT FROM staged.{at}::timestamptz
)""").format(
        Identifier(STATE_SCHEMA, staging),
        identifier(table),
        lsn=Identifier(LSN),
        sequence=Identifier(SEQUENCE),
        op=Identifier(OP),
        at=Identifier(COMMITTED_AT),
    )


# -- the first copy ---------------------------------------------------------------------------------------


def last_of_copy(table: TableName, at: Lsn) -> Composed:
    """The last place that a copy has given; NULL where it has not begun."""
    return SQL("SELECT max({}) FROM {} WHERE {} = {}::pg_lsn").format(
        Identifier(SEQUENCE), identifier(table), Identifier(LSN), Literal(lsn_text(at))
    )


def take_out_copied(table: TableName, staging: str, at: Lsn, key: Sequence[tuple[str, Composable]]) -> Composed:
    """Take out of the staging the rows of keys that the same copy has brought already.

    :param key: the key's columns, and their staged values in the target's types
    """
    same = [SQL("target.{} = {}").format(Identifier(name), value) for name, value in key]
    return SQL("DELETE FROM {} AS staged\nUSING {} AS target\nWHERE {}\n    AND target.{} = {}::pg_lsn").format(
        Identifier(STATE_SCHEMA, staging), identifier(table), all_of(same), Identifier(LSN), Literal(lsn_text(at))
    )


# -- values that the log leaves out -----------------------------------------------------------------------


def fill_columns(
    table: TableName, staging: str, key: KeyTypes, columns: Sequence[str], since: Lsn, copied_until: Lsn, left_out: str
) -> Composed:
    """Fill columns that updates did not touch with the last value that an older row of the same life has.

    Such a value is never NULL. A row of the first copy counts only for changes that come after the copy's end: it
    may be newer than those before. What is not found stays unknown.

    :param columns: those of the target that are left out
    :param left_out: the text that the rows in question have as what is unknown, all columns that are left out
    """
    before = [
        SQL("""LEFT JOIN LATERAL (
        SELECT {value} AS value
        FROM {target} AS target
        WHERE {older}
            AND target.{op} <> 'delete'
            AND target.{column} IS NOT NULL
            AND NOT EXISTS (
                SELECT
                FROM {target} AS later
                WHERE {later_key}
                    AND (later.{lsn}, later.{sequence}) > (target.{lsn}, target.{sequence})
                    AND (later.{lsn}, later.{sequence}) < (staged.{lsn}::pg_lsn, staged.{sequence})
                    AND (
                        later.{op} IN ('insert', 'delete')
                        OR later.{column} IS NULL AND {name} <> ALL (coalesce(later.{unknown}, '{{}}'))
                    )
            )
        ORDER BY target.{lsn} DESC, target.{sequence} DESC
        LIMIT 1
    ) AS {alias} ON TRUE""").format(
            value=as_written(Identifier("target", column)),
            target=identifier(table),
            older=_older(key, since, copied_until),
            later_key=_same_key("later", key),
            column=Identifier(column),
            name=Literal(column),
            alias=Identifier(f"known_{place}"),
            **_NAMES,
        )
        for place, column in enumerate(columns)
    ]
    found = [
        SQL("{}.value AS {}").format(Identifier(f"known_{n}"), Identifier(f"value_{n}")) for n in range(len(columns))
    ]
    known = SQL(", ").join(
        SQL("CASE WHEN found.{} IS NOT NULL THEN {} END").format(Identifier(f"value_{place}"), Literal(column))
        for place, column in enumerate(columns)
    )
    unknown = SQL("""ARRAY(
        SELECT name
        FROM unnest({}::text[]) AS name
        WHERE name <> ALL (array_remove(ARRAY[{}], NULL))
    )""").format(Literal(left_out), known)
    return _fill(staging, columns, found, before, unknown, left_out)


def fill_rows(
    table: TableName, staging: str, key: KeyTypes, columns: Sequence[str], since: Lsn, copied_until: Lsn, left_out: str
) -> Composed:
    """Fill what deletes do not tell with the row as it was: the last one of the key, unless that is a delete.

    Parameters are those of :func:`fill_columns`.
    """
    before = SQL("""LEFT JOIN LATERAL (
        SELECT target.*
        FROM {target} AS target
        WHERE {older}
        ORDER BY target.{lsn} DESC, target.{sequence} DESC
        LIMIT 1
    ) AS former ON former.{op} <> 'delete'""").format(
        target=identifier(table), older=_older(key, since, copied_until), **_NAMES
    )
    found = [
        SQL("{} AS {}").format(as_written(Identifier("former", column)), Identifier(f"value_{place}"))
        for place, column in enumerate(columns)
    ]
    found += [
        SQL("former.{} IS NOT NULL AS is_there").format(Identifier(LSN)),
        SQL("former.{} AS unknown").format(Identifier(UNKNOWN)),
    ]
    filled = SQL("{}::text[]").format(Literal(list(columns)))
    unknown = SQL("""CASE
        WHEN found.is_there THEN ARRAY(
            SELECT name
            FROM unnest({left_out}::text[]) AS name
            WHERE name <> ALL ({filled}) OR name = ANY (found.unknown)
        )
        ELSE {left_out}::text[]
    END""").format(left_out=Literal(left_out), filled=filled)
    return _fill(staging, columns, found, [before], unknown, left_out)


_NAMES = {
    "op": Identifier(OP),
    "lsn": Identifier(LSN),
    "sequence": Identifier(SEQUENCE),
    "unknown": Identifier(UNKNOWN),
}


def _fill(
    staging: str,
    columns: Sequence[str],
    found: Sequence[Composable],
    joins: Sequence[Composable],
    unknown: Composable,
    left_out: str,
) -> Composed:
    return SQL("""UPDATE {staging} AS staged
SET {values}
FROM (
    SELECT staged.ctid AS place, {found}
    FROM {staging} AS staged
    {joins}
    WHERE staged.{unknown_column} = {left_out}
) AS found
WHERE staged.ctid = found.place""").format(
        staging=Identifier(STATE_SCHEMA, staging),
        values=SQL(",\n    ").join(
            [
                *(
                    SQL("{} = found.{}").format(Identifier(name), Identifier(f"value_{n}"))
                    for n, name in enumerate(columns)
                ),
                SQL("{} = nullif(CAST({} AS text), '{{}}')").format(Identifier(UNKNOWN), unknown),
            ]
        ),
        found=SQL(", ").join(found),
        joins=SQL("\n    ").join(joins),
        unknown_column=Identifier(UNKNOWN),
        left_out=Literal(left_out),
    )


def _older(key: KeyTypes, since: Lsn, copied_until: Lsn) -> Composed:
    """Whether a row of the target is of the staged row's key, older, and known to be what the log goes on from."""
    return SQL("""{same}
            AND (target.{lsn}, target.{sequence}) < (staged.{lsn}::pg_lsn, staged.{sequence})
            AND target.{lsn} >= {since}::pg_lsn
            AND (target.{op} <> 'snapshot' OR staged.{lsn}::pg_lsn >= {copied_until}::pg_lsn)""").format(
        same=_same_key("target", key),
        since=Literal(lsn_text(since)),
        copied_until=Literal(lsn_text(copied_until)),
        **_NAMES,
    )


def _same_key(alias: str, key: KeyTypes) -> Composable:
    return all_of(
        [SQL("{} = {}").format(Identifier(alias, name), read_staged(MOVED + name, None, type_)) for name, type_ in key]
    )
