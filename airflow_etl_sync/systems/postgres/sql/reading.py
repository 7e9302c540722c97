"""The rows of a window, in an order that can be found again."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from psycopg.sql import SQL, Composable, Composed, Identifier

from airflow_etl_sync.core.model import Stream, Window
from airflow_etl_sync.systems.postgres.placement import is_placed
from airflow_etl_sync.systems.postgres.sql.names import XMIN, all_of
from airflow_etl_sync.systems.postgres.sql.sessions import setting_value
from airflow_etl_sync.systems.postgres.sql.streams import author_condition, has_no_cursor, relation, source_column
from airflow_etl_sync.systems.postgres.sql.window import whole_xid
from airflow_etl_sync.systems.postgres.types import StreamColumn


def read_by_key(stream: Stream, columns: Sequence[StreamColumn], order: Sequence[str], after: Composable | None) -> str:
    """Everything, in the order of the key, which is always indexed; where it is not unique, then of the cursor."""
    conditions = [*author_condition(stream), *_without_nulls(stream)]
    return _read(stream, columns, conditions, order, after)


def read_window(
    stream: Stream,
    columns: Sequence[StreamColumn],
    key: Sequence[str],
    cursor_type: str,
    bounds: Sequence[str],
    after: Composable | None,
) -> str:
    """The window's rows, in the order of the cursor; ``bounds`` names those of low and below that are set.

    Where the author's query places the window, it stands there and not around the query. A row may then be in it by
    the value of another table, and have no cursor value itself.
    """

    def is_within(expression: Composable) -> Composable:
        return SQL("({})").format(all_of(comparisons(expression, cursor_type, bounds)))

    placed = is_placed(stream.sql or "")
    around = _without_nulls(stream) if placed else comparisons(source_column(stream.cursor_field), cursor_type, bounds)
    conditions = [*author_condition(stream), *around]
    return _read(stream, columns, conditions, [stream.cursor_field, *key], after, is_within)


def bounds_of(window: Window) -> list[str]:
    """The names of those bounds that a window has; their values stand in settings of these names."""
    return [name for name in ("low", "below") if getattr(window, name) is not None]


def comparisons(expression: Composable, cursor_type: str, bounds: Sequence[str]) -> list[Composable]:
    """What holds of a value that is within the bounds."""
    return [
        SQL("{} {} {}").format(expression, SQL(sign), setting_value(bound, cursor_type))
        for bound, sign in (("low", ">="), ("below", "<"))
        if bound in bounds
    ]


def _without_nulls(stream: Stream) -> list[Composable]:
    if stream.on_cursor_null != "exclude":
        return []
    return [SQL("{} IS NOT NULL").format(source_column(stream.cursor_field))]


def read_transactions(
    stream: Stream, columns: Sequence[StreamColumn], key: Sequence[str], after: Composable | None
) -> str:
    """The rows that transactions from low on have written, in the order of the key; no index helps to find them."""
    next_xid = SQL("(SELECT CAST(CAST(pg_snapshot_xmax(pg_current_snapshot()) AS text) AS bigint))")
    is_new = SQL("{} >= {}").format(whole_xid(next_xid, source_column(XMIN)), setting_value("low", "bigint"))
    return _read(stream, columns, [*author_condition(stream), is_new], key, after)


def read_null_cursors(
    stream: Stream, columns: Sequence[StreamColumn], key: Sequence[str], after: Composable | None
) -> str:
    """The rows without a cursor value, which no window holds."""

    def is_null(expression: Composable) -> Composable:
        return SQL("({} IS NULL)").format(expression)

    return _read(stream, columns, [*author_condition(stream), has_no_cursor(stream)], key, after, is_null)


def rows_after(order: Sequence[StreamColumn], *, is_key_unique: bool) -> Composed:
    """Only rows behind a position, whose values stand in the settings after_0, after_1 and so on.

    Where a key may stand twice or be NULL, rows may be level with the position, or the comparison NULL: such
    rows are read again rather than lost.
    """
    names = SQL(", ").join(source_column(column.name) for column in order)
    values = SQL(", ").join(setting_value(f"after_{place}", column.plain_type) for place, column in enumerate(order))
    if is_key_unique:
        return SQL("ROW({}) > ROW({})").format(names, values)
    return SQL("(ROW({}) >= ROW({})) IS NOT FALSE").format(names, values)


def _read(
    stream: Stream,
    columns: Sequence[StreamColumn],
    conditions: list[Composable],
    order: Sequence[str],
    after: Composable | None,
    placed: Callable[[Composable], Composable] | None = None,
) -> str:
    return (
        SQL("SELECT {}\nFROM {}\nWHERE {}\nORDER BY {}")
        .format(
            SQL(", ").join(_selected(column) for column in columns),
            relation(stream, placed),
            all_of(conditions if after is None else [*conditions, after]),
            SQL(", ").join(source_column(name) for name in dict.fromkeys(order)),
        )
        .as_string(None)
    )


def _selected(column: StreamColumn) -> Composable:
    if column.is_exact:
        return source_column(column.name)
    return SQL("CAST({} AS text) AS {}").format(source_column(column.name), Identifier(column.name))
