"""A snapshot of the source in which no table looks empty that is not.

A snapshot that is older than a rewrite of a table (ALTER COLUMN TYPE, TRUNCATE) shows that table as empty (see
`Caveats <https://www.postgresql.org/docs/current/mvcc-caveats.html>`__). A reader may get into this by waiting for the
rewrite to end, since its snapshot is taken before it waits. So the statements are planned first, which locks their
tables against rewrites, and then the snapshot is asked whether it knows the tables' files as they are: it does not
know those of a table that was made later and took another's name.

What was read of the columns, the key and the precisions was read before. A snapshot's rows keep to what holds after
it was taken and before anything is locked, so it is read once more then. With locks held, a change of the table that
waits for them would be waited for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from airflow_etl_sync.errors import SchemaError, SourceError
from airflow_etl_sync.faults import sqlstate_of
from airflow_etl_sync.systems.postgres import sql

_ATTEMPTS = 5
_GONE = ("42703", "42P01")  # undefined_column, undefined_table


class Asking(Protocol):
    """A session in which statements are asked one after another, all in one transaction."""

    def ask(self, statement: str, values: Sequence[str] = ()) -> Any:
        """The first value that a statement gives; it must be fit to be asked without COPY."""

    def rollback(self) -> None:
        """End the transaction; the next statement begins another."""


def open_snapshot(
    session: Asking,
    settings: Mapping[str, str],
    statements: Sequence[str],
    described: tuple[str, str],
    is_as_described: Callable[[], bool],
) -> None:
    """Begin a transaction whose one snapshot fits the tables that the statements read.

    :param settings: what is set in it, by name
    :param statements: what will be read
    :param described: a query that gives the types of the stream's columns as one text, and what it gave before
    :param is_as_described: looks at the stream once more, on another connection
    :raises SourceError: (retryable) where the columns are not those described any more, or tables are rewritten
        again and again
    """
    for _ in range(_ATTEMPTS):
        session.ask(sql.sessions.BEGIN_SNAPSHOT)
        for name, value in settings.items():
            session.ask(sql.sessions.SET_VALUE, [name, value])
        _refuse_changed(is_as_described)
        if _fits(session, statements, described):
            return
        session.rollback()
    raise _changed()


def _refuse_changed(is_as_described: Callable[[], bool]) -> None:
    try:
        is_same = is_as_described()
    except SchemaError:
        raise _changed() from None
    if not is_same:
        raise _changed()


def _fits(session: Asking, statements: Sequence[str], described: tuple[str, str]) -> bool:
    """Whether no table of the statements was rewritten after the snapshot; from here on none can be."""
    try:
        for statement in statements:
            session.ask(sql.sessions.plan(statement))
        query, types = described
        if session.ask(query) != types:
            raise _changed()
        return bool(session.ask(sql.sessions.IS_NOTHING_REWRITTEN))
    except Exception as error:
        if sqlstate_of(error) in _GONE:
            raise _changed() from None
        raise


def _changed() -> SourceError:
    return SourceError("The stream's tables were changed while the run began: the next try looks at them anew.")
