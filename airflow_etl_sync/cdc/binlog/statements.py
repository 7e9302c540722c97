"""The statements that stand in a binary log.

Format: `Query_event
<https://dev.mysql.com/doc/dev/mysql-server/latest/classmysql_1_1binlog_1_1event_1_1Query__event.html>`__.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from airflow_etl_sync.cdc.binlog.texts import to_utf8

_HEAD = 13
"""The session, the seconds that it took, lengths of what follows, an error."""
_CHARSETS, _CATALOG, _CATALOG_WITH_ZERO = 4, 6, 2
_BYTES_BEFORE_CHARSETS = {0: 4, 1: 8, 3: 4}
"""Of what is told of the session before its character sets, by its number: flags, sql_mode, steps of numbers."""


@dataclass(frozen=True, slots=True)
class Statement:
    """A statement of the log.

    :param schema: the one in which names without schema are
    """

    schema: str
    text: str = field(repr=False)

    @classmethod
    def of(cls, body: bytes, charsets: Mapping[int, str]) -> Statement:
        """The statement of an event.

        :param charsets: character sets by the numbers of their collations: a session writes in its own
        """
        schema_size = body[8]
        at = _HEAD + int.from_bytes(body[11:_HEAD], "little")
        charset = charsets.get(_collation(body[_HEAD:at]), "")
        schema = body[at : at + schema_size].decode()
        return cls(schema, _text(body[at + schema_size + 1 :], charset))


def _text(raw: bytes, charset: str) -> str:
    try:
        return to_utf8(charset)(raw).decode()
    except (LookupError, UnicodeDecodeError):
        return raw.decode(errors="backslashreplace")


def _collation(session: bytes) -> int:
    """The number of the collation in which a session writes; 0 where it is not told."""
    at = 0
    while at < len(session):
        kind = session[at]
        if kind == _CHARSETS:
            return int.from_bytes(session[at + 1 : at + 3], "little")
        if kind in (_CATALOG, _CATALOG_WITH_ZERO):
            at += 2 + session[at + 1] + (kind == _CATALOG_WITH_ZERO)
        elif kind in _BYTES_BEFORE_CHARSETS:
            at += 1 + _BYTES_BEFORE_CHARSETS[kind]
        else:
            return 0
    return 0
