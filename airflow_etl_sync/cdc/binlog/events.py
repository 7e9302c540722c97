"""The events of a binary log, as the server sends them to whoever replicates.

Formats: `Replication Protocol
<https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_replication.html>`__ and `its counterpart of MariaDB
<https://mariadb.com/kb/en/replication-protocol/>`__.
"""

from __future__ import annotations

import secrets
import struct
from collections.abc import Generator
from contextlib import contextmanager
from enum import IntEnum
from typing import TYPE_CHECKING, Any, NamedTuple
from zlib import crc32

from airflow_etl_sync.cdc.binlog.positions import file_number, place_of, position_of
from airflow_etl_sync.core.changes import Lsn
from airflow_etl_sync.errors import SourceError, StateError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airflow_etl_sync.systems.database.access import DatabaseAccess


class Kind(IntEnum):
    """Kinds of events that mean something for rows."""

    QUERY = 2
    ROTATE = 4
    FORMAT = 15
    XID = 16
    BEGIN_LOAD = 17
    EXECUTE_LOAD = 18
    TABLE_MAP = 19
    WRITE_ROWS_1 = 23
    UPDATE_ROWS_1 = 24
    DELETE_ROWS_1 = 25
    INCIDENT = 26
    WRITE_ROWS = 30
    UPDATE_ROWS = 31
    DELETE_ROWS = 32
    XA_PREPARE = 38
    PARTIAL_UPDATE_ROWS = 39
    TRANSACTION_PAYLOAD = 40


WRITES = frozenset({Kind.WRITE_ROWS_1, Kind.WRITE_ROWS})
UPDATES = frozenset({Kind.UPDATE_ROWS_1, Kind.UPDATE_ROWS})
DELETES = frozenset({Kind.DELETE_ROWS_1, Kind.DELETE_ROWS})


class Event(NamedTuple):
    """One event.

    :param kind: a :class:`Kind`, or the number of one that has no name here
    :param second: when it was written, since 1970
    :param position: where the next one begins
    :param body: what follows its header
    """

    kind: int
    second: int
    position: Lsn
    body: bytes


_CHECKSUM_BYTES = 4
_HEADER = struct.Struct("<xIBIIIH")
_DUMP = struct.Struct("<IHI")
_COMMAND = 0x12
_UNTIL_THE_END = 1
"""A flag: at the end of the log the server says so, and does not wait for more."""

_FIRST_READER, _LAST_READER = 2**31, 2**32 - 1
"""Readers are told apart by a number that no server has; administrators give theirs small ones."""

_SESSION = (
    "SET SESSION net_write_timeout = 86400",  # while changes are applied, the server waits to be read from
    "SET @master_binlog_checksum = @@GLOBAL.binlog_checksum, @source_binlog_checksum = @@GLOBAL.binlog_checksum",
    "SET @mariadb_slave_capability = 4",  # or MariaDB sends an older server's events
)


def read_events(access: DatabaseAccess, base: str, after: Lsn) -> Generator[Event]:
    """The events of the log from a position on, until its end.

    :param base: what the names of the log's files begin with
    :param after: the end of an event
    """
    file, place = place_of(base, after)
    position = after
    with _dumping(access, file, place) as (connection, has_checksums):
        has_checksum = has_checksums
        while True:
            packet = connection._read_packet()  # noqa: SLF001 - replication has no public way
            data = packet.get_all_data()
            if packet.is_eof_packet():
                return
            second, kind, _, _, end, _ = _HEADER.unpack_from(data)
            body = _format(data) if kind == Kind.FORMAT else _checked(data, has_checksum=has_checksum)
            if kind == Kind.ROTATE:
                position = position_of(body[8:].decode(), int.from_bytes(body[:8], "little"))
            elif end:
                position = _behind(position, end)
            if kind == Kind.FORMAT:
                has_checksum = bool(body[-1])  # of the events that follow; this one always has one
            yield Event(kind, second, position, body)


def _format(data: bytes) -> bytes:
    """The body of the event that says what those behind it are like; its checksum is that of a file that was closed."""
    return data[_HEADER.size : -_CHECKSUM_BYTES]


def _checked(data: bytes, *, has_checksum: bool) -> bytes:
    """The body of an event.

    :raises SourceError: where it is not what the server has written
    """
    if not has_checksum:
        return data[_HEADER.size :]
    if crc32(memoryview(data)[1:-_CHECKSUM_BYTES]) != int.from_bytes(data[-_CHECKSUM_BYTES:], "little"):
        raise SourceError("An event of the binary log is not as the server has written it: a retry reads it again.")
    return data[_HEADER.size : -_CHECKSUM_BYTES]


def _behind(position: Lsn, end: int) -> Lsn:
    number = file_number(position)
    behind = position_of(f".{number}", end)
    if behind < position:
        raise StateError(
            f"The file {number} of the log is larger than 4 GiB, so positions in it cannot be told: keep transactions "
            "smaller, and run once with resync."
        )
    return behind


@contextmanager
def _dumping(access: DatabaseAccess, file: str, place: int) -> Iterator[tuple[Any, bool]]:
    """A session to which the log is sent, and whether its events have checksums."""
    connection = access.detached()
    try:
        with connection.cursor() as cursor:
            for statement in _SESSION:
                cursor.execute(statement)
            cursor.execute("SELECT @@GLOBAL.binlog_checksum <> 'NONE'")
            (has_checksum,) = cursor.fetchone()
        reader = _FIRST_READER + secrets.randbelow(_LAST_READER - _FIRST_READER)
        connection._execute_command(_COMMAND, _DUMP.pack(place, _UNTIL_THE_END, reader) + file.encode())  # noqa: SLF001
        yield connection, bool(has_checksum)
    finally:
        connection._force_close()  # noqa: SLF001 - close() would wait for what is left of the log
