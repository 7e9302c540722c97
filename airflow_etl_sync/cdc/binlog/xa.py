"""Transactions that XA prepares, and commits or rolls back later, in whichever session.

Format: `XA_prepare_event
<https://dev.mysql.com/doc/dev/mysql-server/latest/classmysql_1_1binlog_1_1event_1_1XA__prepare__event.html>`__.
"""

from __future__ import annotations

import re
import struct

_HEAD = struct.Struct("<xIII")
"""Behind whether it was committed at once: a format, and the lengths of the two parts of its name."""
_ENDED = re.compile(r"XA (COMMIT|ROLLBACK) X'([0-9a-f]*)',X'([0-9a-f]*)',(\d+)", re.IGNORECASE)


def prepared_in(body: bytes) -> str:
    """The name of the transaction that an event prepares."""
    kind, size, more = _HEAD.unpack_from(body)
    at = _HEAD.size
    return f"{body[at : at + size].hex()},{body[at + size : at + size + more].hex()},{kind}"


def ended_in(statement: str) -> tuple[str, str] | None:
    """Whether a statement commits a prepared transaction or rolls it back, and its name; None for other statements."""
    found = _ENDED.match(statement)
    if found is None:
        return None
    deed, first, second, kind = found.groups()
    return deed.upper(), f"{first.lower()},{second.lower()},{kind}"
