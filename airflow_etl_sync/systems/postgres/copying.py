"""Rows in bulk by COPY, as they are: out of one server, into another."""

from __future__ import annotations

import struct
from collections.abc import Generator, Iterable, Iterator
from contextlib import closing
from itertools import chain
from selectors import EVENT_READ, EVENT_WRITE, DefaultSelector
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import psycopg
    from psycopg.pq.abc import PGconn, PGresult
    from psycopg.sql import Composed

_SIGNATURE = b"PGCOPY\n\xff\r\n\0" + struct.pack("!ii", 0, 0)
_EXTENSION_LENGTH = struct.Struct("!15xi")
_END = b"\xff\xff"


def copy_out(
    connection: psycopg.Connection[Any], statement: str, most_rows: int, most_bytes: int
) -> Generator[list[bytes]]:
    """The rows of a query as COPY packs them, some thousand at a time.

    The server sends each row in a message of its own (`COPY operations
    <https://www.postgresql.org/docs/current/protocol-flow.html#PROTOCOL-COPY>`__), so rows are told apart without
    looking into them. Messages are taken from libpq itself, which costs half of what psycopg's ``Copy.read`` does.
    """
    pgconn = connection.pgconn
    with closing(DefaultSelector()) as selector:
        _start(pgconn, selector, f"COPY ({statement}) TO STDOUT (FORMAT binary)".encode())
        messages = _messages(pgconn, selector)
        first = next(messages, None)  # None where the query fails before its first row
        rows, size = list[bytes](), 0
        for row in chain([] if first is None else [first[_header_length(first) :]], messages):
            if row == _END:
                break
            rows.append(row)
            size += len(row)
            if len(rows) == most_rows or size >= most_bytes:
                yield rows
                rows, size = [], 0
        if rows:
            yield rows
        for _ in messages:
            pass
        while _result(pgconn, selector):
            pass


def _messages(pgconn: PGconn, selector: DefaultSelector) -> Iterator[bytes]:
    """What the server sends; after the last it says how it ended."""
    take = pgconn.get_copy_data
    while True:
        length, message = take(1)
        if length > 0:
            yield bytes(message)
        elif length < 0:
            return
        else:
            selector.select()
            pgconn.consume_input()


def _header_length(first: bytes) -> int:
    (extension,) = _EXTENSION_LENGTH.unpack_from(first)
    return _EXTENSION_LENGTH.size + int(extension)


def copy_in(connection: psycopg.Connection[Any], statement: Composed, parts: Iterable[memoryview]) -> None:
    """Give rows, as COPY packs them, to a statement ``COPY … FROM STDIN (FORMAT binary)``."""
    with connection.cursor().copy(statement) as copy:
        copy.write(_SIGNATURE)
        for part in parts:
            copy.write(part)
        copy.write(_END)


def _start(pgconn: PGconn, selector: DefaultSelector, statement: bytes) -> None:
    """Send the statement and wait until the server begins to copy."""
    pgconn.send_query_params(statement, None)
    selector.register(pgconn.socket, EVENT_READ | EVENT_WRITE)
    while pgconn.flush():
        selector.select()
        pgconn.consume_input()
    selector.modify(pgconn.socket, EVENT_READ)
    _result(pgconn, selector)


def _result(pgconn: PGconn, selector: DefaultSelector) -> PGresult | None:
    """Wait for what the server says next, and raise it where it is an error; None where it has said all."""
    from psycopg.errors import error_from_result
    from psycopg.pq import ExecStatus

    while pgconn.is_busy():
        selector.select()
        pgconn.consume_input()
    result = pgconn.get_result()
    if result is not None and result.status == ExecStatus.FATAL_ERROR:
        raise error_from_result(result, "utf-8")
    return result
