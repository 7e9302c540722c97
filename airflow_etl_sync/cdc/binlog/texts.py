"""Values in the rows of a binary log: where each ends, and how PostgreSQL writes it.

Formats: `Row data <https://dev.mysql.com/doc/dev/mysql-server/latest/classmysql_1_1binlog_1_1event_1_1Rows__event.html>`__
and `Table_map_event
<https://dev.mysql.com/doc/dev/mysql-server/latest/classmysql_1_1binlog_1_1event_1_1Table__map__event.html>`__.
"""

from __future__ import annotations

import codecs
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import partial
from typing import Any
from uuid import UUID

Text = Callable[[bytes], bytes]
"""Makes of a value's bytes what PostgreSQL reads."""

_DIGITS, _BYTES_OF_DIGITS = 9, (0, 1, 1, 2, 2, 3, 3, 4, 4, 4)
_LATIN1 = "".join(bytes([byte]).decode("cp1252", "ignore") or chr(byte) for byte in range(256))
"""What MySQL calls latin1: that of Windows, whose five bytes without a character stand for themselves."""

_ENCODINGS = {
    "koi8r": "koi8_r",
    "koi8u": "koi8_u",
    "ucs2": "utf-16-be",
    "utf16": "utf-16-be",
    "utf16le": "utf-16-le",
    "utf32": "utf-32-be",
}
"""Character sets that Python calls otherwise."""
_UTF8 = frozenset({"utf8", "utf8mb3", "utf8mb4", "ascii"})
_FRACTION_BYTES = (0, 1, 1, 2, 2, 3, 3)
_CLOCK = len("2026-01-02 03:04:05")


@dataclass(frozen=True, slots=True)
class Codec:
    """How the values of a column lie in a row.

    :param type: the type of PostgreSQL that holds every value
    :param size: how many bytes each has; 0 where it varies
    :param length_bytes: where it varies, how many bytes in front say how many there are
    :param text: makes of them what PostgreSQL reads
    """

    type: str
    size: int
    length_bytes: int
    text: Text


def fixed(type_: str, size: int, text: Text) -> Codec:
    """A codec of values that all have one size."""
    return Codec(type_, size, 0, text)


def varying(type_: str, length_bytes: int, text: Text) -> Codec:
    """A codec of values that say how long they are."""
    return Codec(type_, 0, length_bytes, text)


def integer(size: int, *, is_unsigned: bool) -> Codec:
    """Whole numbers."""
    types = {1: "smallint", 2: "smallint", 3: "integer", 4: "integer", 8: "bigint"}
    unsigned = {1: "smallint", 2: "integer", 3: "integer", 4: "bigint", 8: "numeric(20,0)"}
    if is_unsigned:
        return fixed(unsigned[size], size, lambda raw: b"%d" % int.from_bytes(raw, "little"))
    return fixed(types[size], size, lambda raw: b"%d" % int.from_bytes(raw, "little", signed=True))


def single() -> Codec:
    """Floats of four bytes, which PostgreSQL reads back from the digits of a double."""
    return fixed("real", 4, partial(_float, struct.Struct("<f")))


def double() -> Codec:
    """Floats of eight bytes."""
    return fixed("double precision", 8, partial(_float, struct.Struct("<d")))


def _float(form: struct.Struct, raw: bytes) -> bytes:
    return repr(form.unpack(raw)[0]).encode()


def decimal(precision: int, scale: int) -> Codec:
    """Exact numbers: nine digits in four bytes, the highest bit turned, of negative ones every bit."""
    whole, left = divmod(precision - scale, _DIGITS)
    parts, rest = divmod(scale, _DIGITS)
    heads = [(_BYTES_OF_DIGITS[left], 0)] if left else []
    points = [(4, _DIGITS)] * parts + ([(_BYTES_OF_DIGITS[rest], rest)] if rest else [])
    before, behind = [*heads, *[(4, _DIGITS)] * whole], points
    size = sum(each for each, _ in [*before, *behind])
    return fixed(f"numeric({precision},{scale})", size, partial(_decimal, before, behind))


def _decimal(before: Sequence[tuple[int, int]], behind: Sequence[tuple[int, int]], raw: bytes) -> bytes:
    is_negative = not raw[0] & 0x80
    if is_negative:
        raw = bytes(byte ^ 0xFF for byte in raw)
    raw = bytes([raw[0] ^ 0x80]) + raw[1:]
    digits, at = [], 0
    for size, width in [*before, *behind]:
        digits.append(f"{int.from_bytes(raw[at : at + size], 'big'):0{width}d}")
        at += size
    text = "".join(digits[: len(before)]).lstrip("0") or "0"
    if behind:
        text += "." + "".join(digits[len(before) :])
    return (b"-" if is_negative else b"") + text.encode()


def year() -> Codec:
    """Years; 0 is one of its own."""
    return fixed("smallint", 1, lambda raw: b"%d" % (raw[0] + 1900 if raw[0] else 0))


def day() -> Codec:
    """Dates, those that no calendar has among them: PostgreSQL refuses their rows."""
    return fixed("date", 3, _day)


def _day(raw: bytes) -> bytes:
    packed = int.from_bytes(raw, "little")
    return b"%04d-%02d-%02d" % (packed >> 9, packed >> 5 & 15, packed & 31)


def moment(digits: int) -> Codec:
    """Dates with a time of day, without a zone.

    :param digits: how many of a second's fraction there are
    """
    return fixed("timestamp without time zone", 5 + _FRACTION_BYTES[digits], _moment)


def _moment(raw: bytes) -> bytes:
    packed = int.from_bytes(raw[:5], "big") - 0x8000000000
    years, month = divmod(packed >> 22, 13)
    clock = (packed >> 12 & 31, packed >> 6 & 63, packed & 63)
    return b"%04d-%02d-%02d %02d:%02d:%02d" % (years, month, packed >> 17 & 31, *clock) + _fraction(raw[5:])


def instant(digits: int) -> Codec:
    """Moments since 1970."""
    return fixed("timestamp with time zone", 4 + _FRACTION_BYTES[digits], _instant)


def _instant(raw: bytes) -> bytes:
    seconds = int.from_bytes(raw[:4], "big")
    if not seconds:  # there is no other zero than that of 0000-00-00
        return b"0000-00-00 00:00:00+00"
    clock = str(datetime.fromtimestamp(seconds, timezone.utc))[:_CLOCK]
    return clock.encode() + _fraction(raw[4:]) + b"+00"


def _fraction(raw: bytes) -> bytes:
    """A fraction of a second, two digits a byte."""
    return b".%0*d" % (2 * len(raw), int.from_bytes(raw, "big")) if raw else b""


def duration(digits: int) -> Codec:
    """Times, which are durations: from -838 to 838 hours."""
    return fixed("interval", 3 + _FRACTION_BYTES[digits], _duration)


def _duration(raw: bytes) -> bytes:
    size = len(raw) - 3
    packed = int.from_bytes(raw, "big") - (0x800000 << 8 * size)
    sign, packed = (b"-", -packed) if packed < 0 else (b"", packed)
    clock = packed >> 8 * size
    fraction = (packed & (1 << 8 * size) - 1).to_bytes(size, "big")
    return sign + b"%02d:%02d:%02d" % (clock >> 12 & 0x3FF, clock >> 6 & 63, clock & 63) + _fraction(fraction)


def bits(count: int) -> Codec:
    """Bit fields."""
    return fixed(f"bit({count})", (count + 7) // 8, lambda raw: f"{int.from_bytes(raw, 'big'):0{count}b}".encode())


def word(size: int, words: Sequence[bytes], charset: str) -> Codec:
    """One of some words; the number 0 stands for what was none of them.

    :raises LookupError: where Python does not know their character set
    """
    known = [b"", *map(to_utf8(charset), words)]
    return fixed("text", size, lambda raw: known[int.from_bytes(raw, "little")])


def words(size: int, known: Sequence[bytes], charset: str) -> Codec:
    """Some of some words.

    :raises LookupError: where Python does not know their character set
    """
    return fixed("text", size, partial(_words, list(map(to_utf8(charset), known))))


def _words(known: Sequence[bytes], raw: bytes) -> bytes:
    mask = int.from_bytes(raw, "little")
    return b",".join(each for place, each in enumerate(known) if mask >> place & 1)


def octets(length_bytes: int, *, padded_to: int = 0) -> Codec:
    """Bytes; those of a fixed length come without the zeros at their end.

    :param padded_to: that length
    """
    return varying("bytea", length_bytes, lambda raw: b"\\x" + raw.ljust(padded_to, b"\0").hex().encode())


def uuid() -> Codec:
    """MariaDB's UUIDs."""
    return varying("uuid", 1, lambda raw: str(UUID(bytes=raw.ljust(16, b"\0"))).encode())


def text(length_bytes: int, charset: str) -> Codec:
    """Texts, those with NUL among them: PostgreSQL refuses their rows.

    :param charset: as MySQL calls it
    :raises LookupError: where Python does not know the character set
    """
    return varying("text", length_bytes, to_utf8(charset))


def to_utf8(charset: str) -> Text:
    """What makes UTF-8 of a text.

    :param charset: as MySQL calls it
    :raises LookupError: where Python does not know it
    """
    if charset in _UTF8:
        return bytes
    if charset == "latin1":
        return lambda raw: codecs.charmap_decode(raw, "strict", _LATIN1)[0].encode()
    codec: Any = codecs.lookup(_ENCODINGS.get(charset, charset))
    return lambda raw: str(codec.decode(raw)[0]).encode()
