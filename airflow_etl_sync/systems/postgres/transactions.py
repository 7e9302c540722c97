"""The window of a stream whose cursor is ``xmin``: the transactions that wrote its rows, told by their ids.

Ids grow in the order in which transactions begin to write. Below the oldest that is still in flight, prepared ones
too, all have ended: there the next window starts. A savepoint has an id above its transaction's, so the transaction
stands for it. All of this is the snapshot's own knowledge: it takes no privilege, and a standby has it as well.
"""

from __future__ import annotations

import time
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow_etl_sync.core.model import CursorValue, Stream, Window, WindowRules
from airflow_etl_sync.errors import ConfigurationError, SourceError
from airflow_etl_sync.state.watermarks import Watermark
from airflow_etl_sync.systems.base import OpenedWindow
from airflow_etl_sync.systems.bounds import refuse_other_type
from airflow_etl_sync.systems.postgres import sql
from airflow_etl_sync.systems.postgres.snapshots import Asking

if TYPE_CHECKING:
    import psycopg

LOG_WAIT_SECONDS = 2.0
"""The server's log writer comes by every ``wal_writer_delay``, by default 0.2 seconds."""

_KINDS = ("r", "p")  # ordinary and partitioned tables
_UNSAVED = "watermark stays: the source has not brought its log to the disk"


def refuse_without_xmin(connection: psycopg.Connection[Any], stream: Stream) -> None:
    """Stop where a stream is read by ``xmin`` and has none, or a rule that supposes a column.

    :raises ConfigurationError: before any data moves
    """
    if stream.cursor_field != sql.names.XMIN:
        return
    if stream.on_cursor_null != "include":
        raise ConfigurationError("on_cursor_null does not go with cursor_field xmin: every row has one, leave it out.")
    relation = {"relation": sql.names.relation_name(stream.table)} if stream.table else {"relation": None}
    row = connection.execute(sql.streams.KINDS_OF_TREE, relation).fetchone()
    kinds = set(row[0] or ()) if row else set()
    if not kinds or not kinds.issubset(_KINDS):
        raise ConfigurationError(
            f"cursor_field xmin goes with tables only, and {stream.sync_key!r} reads something else, such as a query, "
            "a view or a foreign table: name a column."
        )


def open_xid_window(
    connection: psycopg.Connection[Any], stream: Stream, watermark: Watermark, rules: WindowRules
) -> OpenedWindow:
    """Choose the window of a run.

    :param connection: one in autocommit mode, so that each statement sees the newest state
    :raises ConfigurationError: for rules that suppose a column, and where the source is not the one it was
    """
    for name in ("lag", "initial_value", "range_start", "range_end"):
        if getattr(rules, name) not in (None, 0, timedelta(0)):
            raise ConfigurationError(
                f"{name} does not go with cursor_field xmin, where transactions in flight are waited for and nobody "
                "knows them by number: leave it out."
            )
    refuse_other_type(stream, "xid", watermark)
    oldest, following = connection.execute(sql.window.READ_TRANSACTION_BOUNDS).fetchone() or ("0", "0")
    stored = watermark.cursor
    if stored and int(stored.text) > int(following):
        raise ConfigurationError(
            f"The watermark of {stream.sync_key!r} is a transaction that this source has not come to yet: it was "
            "restored or is another server. Reset the watermark (etl-sync watermark reset) to read everything once."
        )
    low = None if rules.full_refresh else stored
    if not _is_log_brought_to_disk(connection):
        return OpenedWindow(Window(low=low, high=stored, protection=_UNSAVED), [])
    high = CursorValue("xid", str(max(int(oldest), int(stored.text) if stored else 0)))
    return OpenedWindow(Window(low=low, high=high, protection="oldest transaction in flight, by its id"), [])


def _is_log_brought_to_disk(connection: psycopg.Connection[Any]) -> bool:
    """Whether a crash of the source would remember all transactions that have ended.

    Nobody waits for the log of those that were rolled back, or that commit asynchronously. A server that has lost it
    gives their ids once more, to rows that would lie below the watermark.
    """
    (end,) = connection.execute(sql.window.READ_LOG_END).fetchone() or (None,)
    deadline = time.monotonic() + LOG_WAIT_SECONDS
    if _is_on_disk(connection, end):
        return True
    connection.execute(sql.window.TAKE_XID)
    while not _is_on_disk(connection, end):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def _is_on_disk(connection: psycopg.Connection[Any], end: str | None) -> bool:
    row = connection.execute(sql.window.IS_LOG_ON_DISK, {"end": end}).fetchone()
    return bool(end is None or (row and row[0]))


def refuse_older_state(session: Asking, stream: Stream, window: Window) -> None:
    """Stop where a snapshot shows less than its window was chosen by: behind the connection is another server now.

    :raises SourceError: (retryable) where a transaction below the next watermark has not ended in the snapshot
    """
    if window.high is None or (window.low and int(window.low.text) >= int(window.high.text)):
        return  # nothing is promised that was not before
    if int(session.ask(sql.window.READ_OLDEST_TRANSACTION)) < int(window.high.text):
        raise SourceError(
            f"The source shows an older state of {stream.sync_key!r} than its window was chosen by: a standby that "
            "lags behind another, which a retry mends, or a source that was restored (etl-sync watermark reset)."
        )
