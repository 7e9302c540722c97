"""What an event tells of the table whose rows follow: its name, and the names and types of its columns.

Format: `Table_map_event
<https://dev.mysql.com/doc/dev/mysql-server/latest/classmysql_1_1binlog_1_1event_1_1Table__map__event.html>`__.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum


class ColumnKind(IntEnum):
    """Types of columns, by their numbers in the log."""

    TINY = 1
    SHORT = 2
    LONG = 3
    FLOAT = 4
    DOUBLE = 5
    LONGLONG = 8
    INT24 = 9
    DATE = 10
    YEAR = 13
    VARCHAR = 15
    BIT = 16
    TIMESTAMP2 = 17
    DATETIME2 = 18
    TIME2 = 19
    JSON = 245
    NEWDECIMAL = 246
    ENUM = 247
    SET = 248
    BLOB = 252
    VAR_STRING = 253
    STRING = 254
    GEOMETRY = 255


_NUMBERS = frozenset({1, 2, 3, 4, 5, 8, 9, 13, 246})
"""Those of which the log says whether they are unsigned: also floats, decimals and years."""
_TEXTS = frozenset({ColumnKind.VARCHAR, ColumnKind.BLOB, ColumnKind.VAR_STRING, ColumnKind.STRING})
_WORDS = frozenset({ColumnKind.ENUM, ColumnKind.SET})
_META_BYTES: Mapping[int, int] = {
    **dict.fromkeys((4, 5, 17, 18, 19, 140, 242, 245, 252, 255), 1),
    **dict.fromkeys((15, 16, 141, 246, 247, 248, 253, 254), 2),
}
"""How much the log tells of a column, by its type; also by those that cannot be read here."""

_SIGNEDNESS, _DEFAULT_CHARSET, _CHARSETS, _NAMES, _SETS, _ENUMS, _DEFAULT_WORD_CHARSET, _WORD_CHARSETS = (
    1, 2, 3, 4, 5, 6, 10, 11,
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class ToldColumn:
    """A column as the log tells it.

    :param name: empty where the log does not name it
    :param kind: a :class:`ColumnKind`, or a number that has no name here
    :param meta: the two bytes that say how long or how precise it is
    :param collation: the number of its collation; 0 where it has none
    :param words: those of an enum or set, in that collation's character set
    """

    name: str
    kind: int
    meta: tuple[int, int]
    is_unsigned: bool
    collation: int
    words: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class ToldTable:
    """A table as the log tells it."""

    schema: str
    name: str
    columns: tuple[ToldColumn, ...]

    def __str__(self) -> str:
        return f"{self.schema}.{self.name}"


def name_of(told: bytes) -> str:
    """The ``schema.table`` that an event is about.

    :param told: the event behind its number and flags
    """
    schema, at = _name(told, 0)
    return f"{schema}.{_name(told, at)[0]}"


def table_of(told: bytes, *, is_mariadb: bool) -> ToldTable:
    """The table that an event is about.

    :param told: the event behind its number and flags
    :param is_mariadb: whether the server is one: there geometry has a character set, too
    """
    schema, at = _name(told, 0)
    name, at = _name(told, at)
    count, at = length_at(told, at)
    kinds = told[at : at + count]
    size, at = length_at(told, at + count)
    metas = list(_metas(kinds, told[at : at + size]))
    real = [
        meta[0] if kind == ColumnKind.STRING and meta[0] in _WORDS else kind
        for kind, meta in zip(kinds, metas, strict=True)
    ]
    more = dict(_more(told, at + size + (count + 7) // 8))
    return ToldTable(schema, name, tuple(_columns(real, metas, more, is_mariadb=is_mariadb)))


def _columns(
    kinds: Sequence[int], metas: Sequence[tuple[int, int]], more: Mapping[int, bytes], *, is_mariadb: bool
) -> Iterator[ToldColumn]:
    texts = _TEXTS | {ColumnKind.GEOMETRY} if is_mariadb else _TEXTS
    names = iter([each.decode() for each in _strings(more.get(_NAMES, b""))])
    unsigned = _marked(kinds, _NUMBERS.__contains__, _bits(more.get(_SIGNEDNESS, b"")))
    collations = [
        of_texts or of_words
        for of_texts, of_words in zip(
            _marked(kinds, texts.__contains__, _collations(more, _DEFAULT_CHARSET, _CHARSETS)),
            _marked(kinds, _WORDS.__contains__, _collations(more, _DEFAULT_WORD_CHARSET, _WORD_CHARSETS)),
            strict=True,
        )
    ]
    words = {ColumnKind.ENUM: _lists(more.get(_ENUMS, b"")), ColumnKind.SET: _lists(more.get(_SETS, b""))}
    for place, kind in enumerate(kinds):
        yield ToldColumn(
            name=next(names, ""),
            kind=kind,
            meta=metas[place],
            is_unsigned=bool(unsigned[place]),
            collation=collations[place],
            words=next(words[ColumnKind(kind)], ()) if kind in _WORDS else (),
        )


def _marked(kinds: Sequence[int], has_one: Callable[[int], bool], values: Iterator[int]) -> list[int]:
    """For each column what is told of it, where it is one of those of which something is told; else 0."""
    return [next(values, 0) if has_one(kind) else 0 for kind in kinds]


def _collations(more: Mapping[int, bytes], default: int, each: int) -> Iterator[int]:
    """The collations of some columns: told one by one, or as one for all but a few."""
    if each in more:
        yield from _numbers(more[each])
        return
    if default not in more:
        return
    first, *others = _numbers(more[default])
    exceptions = dict(zip(others[::2], others[1::2], strict=True))
    place = 0
    while True:
        yield exceptions.get(place, first)
        place += 1


def _metas(kinds: bytes, data: bytes) -> Iterator[tuple[int, int]]:
    at = 0
    for kind in kinds:
        size = _META_BYTES.get(kind, 0)
        first, second, *_ = *data[at : at + size], 0, 0
        yield first, second
        at += size


def _more(told: bytes, at: int) -> Iterator[tuple[int, bytes]]:
    """What else is told, each with a number that says what it is."""
    while at < len(told):
        kind = told[at]
        size, at = length_at(told, at + 1)
        yield kind, told[at : at + size]
        at += size


def _lists(data: bytes) -> Iterator[tuple[bytes, ...]]:
    at = 0
    while at < len(data):
        count, at = length_at(data, at)
        words = []
        for _ in range(count):
            size, at = length_at(data, at)
            words.append(data[at : at + size])
            at += size
        yield tuple(words)


def _strings(data: bytes) -> Iterator[bytes]:
    at = 0
    while at < len(data):
        size, at = length_at(data, at)
        yield data[at : at + size]
        at += size


def _numbers(data: bytes) -> Iterator[int]:
    at = 0
    while at < len(data):
        number, at = length_at(data, at)
        yield number


def _bits(data: bytes) -> Iterator[int]:
    return (byte >> 7 - place & 1 for byte in data for place in range(8))


def _name(data: bytes, at: int) -> tuple[str, int]:
    """A name with its length in front, and a zero behind it."""
    end = at + 1 + data[at]
    return data[at + 1 : end].decode(), end + 1


def length_at(data: bytes, at: int) -> tuple[int, int]:
    """A number of a length that its first byte tells, and where it ends."""
    first = data[at]
    size = {252: 2, 253: 3, 254: 8}.get(first, 0)
    if not size:
        return first, at + 1
    return int.from_bytes(data[at + 1 : at + 1 + size], "little"), at + 1 + size
