"""Values of a binary log, made by the manual's formats, come as PostgreSQL writes them."""

from __future__ import annotations

import struct
from datetime import datetime, timedelta, timezone
from decimal import Context, Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_etl_sync.cdc.binlog import texts

_BYTES_OF_DIGITS = (0, 1, 1, 2, 2, 3, 3, 4, 4, 4)


@pytest.mark.parametrize("size", [1, 2, 3, 4, 8])
@given(number=st.integers(-(2**63), 2**63 - 1))
def test_whole_numbers(size: int, number: int) -> None:
    raw = (number % 2 ** (8 * size)).to_bytes(size, "little")
    for is_unsigned in (True, False):
        expected = int.from_bytes(raw, "little", signed=not is_unsigned)
        assert int(texts.integer(size, is_unsigned=is_unsigned).text(raw)) == expected


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_floats(number: float) -> None:
    assert float(texts.double().text(struct.pack("<d", number))) == number


@given(st.floats(width=32, allow_nan=False, allow_infinity=False))
def test_short_floats(number: float) -> None:
    assert float(texts.single().text(struct.pack("<f", number))) == number


@given(st.data(), st.integers(1, 65))
def test_exact_numbers(data: st.DataObject, precision: int) -> None:
    scale = data.draw(st.integers(0, min(precision, 38)))
    number = data.draw(st.integers(-(10**precision) + 1, 10**precision - 1))
    codec = texts.decimal(precision, scale)
    raw = _packed(number, precision, scale)
    assert codec.size == len(raw)
    assert Decimal(codec.text(raw).decode()) == Decimal(number).scaleb(-scale, Context(prec=100))


def _packed(number: int, precision: int, scale: int) -> bytes:
    digits = f"{abs(number):0{precision}d}"
    whole, fraction = digits[: precision - scale], digits[precision - scale :]
    first = len(whole) % 9
    groups = [whole[:first], *(whole[at : at + 9] for at in range(first, len(whole), 9))]
    groups += [fraction[at : at + 9] for at in range(0, len(fraction), 9)]
    packed = b"".join(int(each).to_bytes(_BYTES_OF_DIGITS[len(each)], "big") for each in groups if each)
    packed = bytes([packed[0] ^ 0x80]) + packed[1:]
    return bytes(byte ^ 0xFF for byte in packed) if number < 0 else packed


@given(st.datetimes())
def test_moments(moment: datetime) -> None:
    packed = ((moment.year * 13 + moment.month) << 22) + (moment.day << 17)
    packed += (moment.hour << 12) + (moment.minute << 6) + moment.second + 0x8000000000
    raw = packed.to_bytes(5, "big") + moment.microsecond.to_bytes(3, "big")
    assert datetime.fromisoformat(texts.moment(6).text(raw).decode()) == moment
    day = (moment.year << 9) + (moment.month << 5) + moment.day
    assert texts.day().text(day.to_bytes(3, "little")).decode() == str(moment.date())


@given(st.integers(1, 2**32 - 1), st.integers(0, 999_999))
def test_instants(second: int, micros: int) -> None:
    raw = second.to_bytes(4, "big") + micros.to_bytes(3, "big")
    expected = datetime.fromtimestamp(second, timezone.utc) + timedelta(microseconds=micros)
    assert datetime.fromisoformat(f"{texts.instant(6).text(raw).decode()}:00") == expected


@given(st.integers(-838 * 3600, 838 * 3600), st.integers(0, 999_999))
def test_durations(seconds: int, micros: int) -> None:
    size = abs(seconds)
    packed = ((size // 3600 << 12) + (size // 60 % 60 << 6) + size % 60 << 24) + micros
    raw = ((-packed if seconds < 0 else packed) + (0x800000 << 24)).to_bytes(6, "big")
    sign = "-" if seconds < 0 else ""
    told = f"{sign}{size // 3600:02d}:{size // 60 % 60:02d}:{size % 60:02d}.{micros:06d}"
    assert texts.duration(6).text(raw).decode() == told


@given(st.text(st.characters(exclude_characters="\0", codec="utf-8")))
def test_texts_of_every_character_set_that_holds_them(value: str) -> None:
    for charset, encoding in {
        "utf8mb4": "utf8",
        "utf16": "utf-16-be",
        "utf16le": "utf-16-le",
        "utf32": "utf-32-be",
    }.items():
        assert texts.text(2, charset).text(value.encode(encoding)) == value.encode()


@given(st.binary(max_size=20))
def test_what_mysql_calls_latin1_has_a_character_for_every_byte(raw: bytes) -> None:
    assert len(texts.to_utf8("latin1")(raw).decode()) == len(raw)


def test_words_and_bits() -> None:
    assert texts.word(1, (b"a", b"b"), "utf8mb4").text(b"\2") == b"b"
    assert texts.word(1, (b"a", b"b"), "utf8mb4").text(b"\0") == b""
    assert texts.words(1, (b"a", b"b", b"c"), "utf8mb4").text(b"\5") == b"a,c"
    assert texts.bits(10).text(b"\2\1") == b"1000000001"
    assert texts.octets(1, padded_to=3).text(b"a") == b"\\x610000"
    assert texts.year().text(b"\0") == b"0"
    assert texts.year().text(b"\xff") == b"2155"


def test_an_unknown_character_set_is_refused() -> None:
    with pytest.raises(LookupError):
        texts.text(1, "no such")
