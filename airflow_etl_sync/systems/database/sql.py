"""Every statement of a stream, in SQLAlchemy's words: identifiers and bound values; the author's SQL as it is."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from sqlalchemy import (
    ColumnElement,
    FromClause,
    Label,
    Select,
    String,
    TextClause,
    and_,
    cast,
    func,
    literal,
    literal_column,
    or_,
    select,
    table,
    text,
)
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql import ClauseElement, Executable, quoted_name
from sqlalchemy.types import NullType

from airflow_etl_sync.core.model import Stream
from airflow_etl_sync.systems.database.columns import DatabaseColumn
from airflow_etl_sync.systems.postgres.placement import without_end

if TYPE_CHECKING:
    from sqlalchemy import Connection

SOURCE = "source"


def describe(stream: Stream) -> Select[Any]:
    """Read no row of the stream: its columns come with the empty result, and the author's condition is checked."""
    return _as_asked(stream).where(literal_column("1 = 0"))


def first_rows(stream: Stream, count: int) -> Select[Any]:
    """So many rows of the stream, whichever they are."""
    return _as_asked(stream).limit(count)


def _as_asked(stream: Stream) -> Select[Any]:
    wanted = dict.fromkeys([*stream.columns, stream.cursor_field, *stream.primary_key]) if stream.columns else ()
    columns: list[ColumnElement[Any]] = [_plain(name).label(quoted_name(name, quote=True)) for name in wanted] or [
        literal_column(f"{SOURCE}.*")
    ]
    return select(*columns).select_from(relation(stream)).where(*author_condition(stream))


def rows(
    stream: Stream,
    columns: Sequence[DatabaseColumn],
    conditions: Sequence[ColumnElement[bool]],
    order: Sequence[DatabaseColumn],
) -> Select[Any]:
    """The rows of a part that meet the conditions, in an order that can be found again."""
    return (
        select(*(_selected(each) for each in columns))
        .select_from(relation(stream))
        .where(*author_condition(stream), *conditions)
        .order_by(*(compared(each) for each in order))
    )


def find(stream: Stream, condition: ColumnElement[bool]) -> Select[Any]:
    """One row, if there is one, that meets a condition."""
    one: Select[Any] = select(literal_column("1")).select_from(relation(stream))
    return one.where(*author_condition(stream), condition).limit(1)


def count(statement: Select[Any]) -> Select[Any]:
    """How many rows a statement gives."""
    return select(func.count()).select_from(statement.order_by(None).subquery())


class Explained(Executable, ClauseElement):
    """EXPLAIN and a statement: what the database expects of it."""

    inherit_cache = False

    def __init__(self, statement: Select[Any]) -> None:
        self.statement = statement


@compiles(Explained)
def _compile_explained(element: Explained, compiler: Any, **options: Any) -> str:
    return f"EXPLAIN {compiler.process(element.statement, **options)}"


def shown(statement: Select[Any], connection: Connection) -> str:
    """A statement for people to read, its values as the driver's placeholders."""
    return str(statement.compile(connection))


def maximum(stream: Stream, cursor: DatabaseColumn, low: Any | None) -> Select[Any]:
    """The largest cursor value from low on."""
    expression = compared(cursor)
    conditions = [] if low is None else [expression >= bound(low)]
    return select(func.max(expression)).select_from(relation(stream)).where(*author_condition(stream), *conditions)


def rows_behind(order: Sequence[DatabaseColumn], values: Sequence[Any], *, is_key_unique: bool) -> ColumnElement[bool]:
    """Only rows behind a position; written out, since not every database has an index serve ``ROW(…) > ROW(…)``.

    Where a key may stand twice or be NULL, rows may be level with the position, or the comparison NULL: such
    rows are read again rather than lost. So are those level with a value that can be written in several ways.
    """
    condition = _behind(list(zip(order, values, strict=True)), is_key_unique=is_key_unique)
    if is_key_unique:
        return condition
    return or_(condition, *(compared(each).is_(None) for each in order))


def _behind(places: list[tuple[DatabaseColumn, Any]], *, is_key_unique: bool) -> ColumnElement[bool]:
    (first, value), *rest = places
    expression, given = compared(first), bound(value)
    if first.is_loosely_written or (not rest and not is_key_unique):
        return expression >= given
    if not rest:
        return expression > given
    deeper = _behind(rest, is_key_unique=is_key_unique)
    return and_(expression >= given, or_(expression > given, deeper))


def is_within(cursor: DatabaseColumn, low: Any | None, below: Any | None) -> list[ColumnElement[bool]]:
    """Whether a row's cursor lies from low on, and below an upper bound.

    Times that are texts have a blank or a T before the time of day. The blank comes first, so by the low an index finds
    no row too few, and what it finds too many is left out.
    """
    conditions = [] if low is None else [compared(cursor) >= bound(low)]
    if not cursor.is_loosely_written:
        return conditions if below is None else [*conditions, compared(cursor) < bound(below)]
    spaced = func.replace(compared(cursor), "T", " ")
    conditions += [] if low is None else [spaced >= bound(low)]
    return conditions if below is None else [*conditions, spaced < bound(below)]


def is_any_of(columns: Sequence[DatabaseColumn], keys: Iterable[Sequence[Any]]) -> ColumnElement[bool]:
    """Whether a row has one of the given keys, as the database compares them.

    Keys of several columns are written out, since not every database has an index serve ``(…) IN (…)``.
    """
    expressions = [compared(each) for each in columns]
    if len(expressions) == 1:
        return expressions[0].in_([bound(value) for (value,) in keys])
    return or_(*(and_(*(each == bound(value) for each, value in zip(expressions, key, strict=True))) for key in keys))


def is_null(cursor: DatabaseColumn) -> ColumnElement[bool]:
    """Whether a row has no cursor value."""
    return compared(cursor).is_(None)


def is_not_null(cursor: DatabaseColumn) -> ColumnElement[bool]:
    """Whether a row has a cursor value."""
    return compared(cursor).is_not(None)


def author_condition(stream: Stream) -> list[TextClause]:
    """The author's own condition, if there is one."""
    return [_as_it_is(f"(\n{stream.where}\n)")] if stream.where else []


def relation(stream: Stream) -> FromClause:
    """What is read, under the name ``source``."""
    if stream.table is not None:
        schema = quoted_name(stream.table.schema, quote=True) if stream.table.schema else None
        return table(quoted_name(stream.table.name, quote=True), schema=schema).alias(SOURCE)
    return _as_it_is(f"\n{without_end(stream.sql or '')}\n").columns().subquery(SOURCE)


def compared(each: DatabaseColumn) -> ColumnElement[Any]:
    """A column as it is compared and ordered by."""
    plain = _plain(each.name)
    if each.form == "double":
        return plain * literal_column("1e0")
    return cast(plain, String()) if each.form == "words" else plain


def bound(value: Any) -> ColumnElement[Any]:
    """A value as the driver takes it."""
    return literal(value, NullType())


def _selected(each: DatabaseColumn) -> Label[Any] | ColumnElement[Any]:
    name = quoted_name(each.name, quote=True)
    return compared(each).label(name) if each.form == "double" else _plain(each.name).label(name)


class _SourceColumn(ColumnElement[Any]):
    """A column of what is read, by whatever name."""

    inherit_cache = False
    type = NullType()

    def __init__(self, name: str) -> None:
        self.column_name = name


@compiles(_SourceColumn)
def _compile_source_column(element: _SourceColumn, compiler: Any, **_: Any) -> str:
    return f"{SOURCE}.{compiler.preparer.quote_identifier(element.column_name)}"


def _plain(name: str) -> ColumnElement[Any]:
    return _SourceColumn(name)


def _as_it_is(sql: str) -> TextClause:
    """The author's SQL, in which a colon is a colon."""
    return text(sql.replace(":", "\\:"))
