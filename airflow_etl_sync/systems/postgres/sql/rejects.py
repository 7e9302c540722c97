"""Rows that cannot be loaded: counted, numbered, taken out."""

from __future__ import annotations

from collections.abc import Sequence

from psycopg.sql import SQL, Composable, Composed, Identifier, Literal

from airflow_etl_sync.systems.postgres.sql.names import STATE_SCHEMA, column_list


def has_no_key(key: Sequence[str]) -> Composed:
    """Whether a staged row has NULL in its key."""
    return SQL("({})").format(SQL(" OR ").join(SQL("{} IS NULL").format(Identifier("staged", name)) for name in key))


def has_value(column: str) -> Composed:
    """Whether a staged row has a value in a column."""
    return SQL("({} IS NOT NULL)").format(Identifier("staged", column))


def take_out(name: str, condition: Composable, returned: Sequence[Composable]) -> Composed:
    """Take the rows that meet a condition out of the staging."""
    return SQL("DELETE FROM {} AS staged\nWHERE {}\nRETURNING {}").format(
        Identifier(STATE_SCHEMA, name), condition, SQL(", ").join(returned)
    )


def number_staged(name: str, key: Sequence[str], oldest_first: Sequence[str]) -> Composed:
    """Number the staged rows: all rows of a key make one piece, the newest of them has the highest number."""
    order = SQL("").join(SQL(", {} NULLS FIRST").format(Identifier("staged", column)) for column in oldest_first)
    return SQL("""CREATE UNLOGGED TABLE {numbered} AS
SELECT
    staged.ctid AS place,
    dense_rank() OVER (ORDER BY {key}) AS piece,
    row_number() OVER (ORDER BY {key}{order}, staged.ctid) AS number
FROM {staging} AS staged""").format(
        numbered=_numbered(name),
        key=SQL(", ").join(Identifier("staged", column) for column in key),
        order=order,
        staging=Identifier(STATE_SCHEMA, name),
    )


def index_numbers(name: str, column: str) -> Composed:
    """Make rows quick to find by their number or piece."""
    return SQL("CREATE INDEX ON {} ({})").format(_numbered(name), Identifier(column))


def count_pieces(name: str) -> Composed:
    """The number of the last piece; NULL where there is none."""
    return SQL("SELECT max(piece)\nFROM {}").format(_numbered(name))


def numbers_of_piece(name: str, piece: int) -> Composed:
    """The rows of one piece, the newest first."""
    return SQL("SELECT number\nFROM {}\nWHERE piece = {}\nORDER BY number DESC").format(_numbered(name), Literal(piece))


def is_within(name: str, column: str, first: int, last: int) -> Composed:
    """Whether a staged row's piece or number lies between two."""
    return SQL("staged.ctid = ANY (ARRAY(SELECT place FROM {} WHERE {} BETWEEN {} AND {}))").format(
        _numbered(name), Identifier(column), Literal(first), Literal(last)
    )


def drop_numbers(name: str) -> Composed:
    """Drop the numbering."""
    return SQL("DROP TABLE IF EXISTS {}").format(_numbered(name))


def _numbered(name: str) -> Identifier:
    return Identifier(STATE_SCHEMA, f"{name}_numbered")


def find_watched(name: str, key: Sequence[Composable]) -> Composed:
    """Those of the watched keys, one text array a column, of which a row is staged."""
    columns = [SQL("watched.{}").format(Identifier(f"k{place}")) for place in range(len(key))]
    arrays = SQL(", ").join(SQL("%s::text[]") for _ in key)
    same = SQL(" AND ").join(SQL("{} = {}").format(column, value) for column, value in zip(columns, key, strict=True))
    return SQL("""SELECT {columns}
FROM unnest({arrays}) AS watched ({names})
WHERE EXISTS (SELECT FROM {staging} AS staged WHERE {same})""").format(
        columns=SQL(", ").join(columns),
        arrays=arrays,
        names=column_list([f"k{place}" for place in range(len(key))]),
        staging=_beside_values(Identifier(STATE_SCHEMA, name)),
        same=_beside_values(same),
    )


def _beside_values(part: Composable) -> SQL:
    """A part of a statement that has placeholders, in which the per cent signs of names are none."""
    return SQL(part.as_string(None).replace("%", "%%"))
