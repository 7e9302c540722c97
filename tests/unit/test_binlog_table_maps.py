"""What events of a binary log tell of a table, built by the manual's format, comes back."""

from __future__ import annotations

from zlib import crc32

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_etl_sync.cdc.binlog import events, positions
from airflow_etl_sync.cdc.binlog.table_maps import length_at, name_of, table_of
from airflow_etl_sync.errors import SourceError, StateError

NAMES = st.text(st.characters(exclude_characters="\0", codec="utf-8"), min_size=1, max_size=20)


def _length(number: int) -> bytes:
    if number < 251:
        return bytes([number])
    if number < 2**16:
        return b"\xfc" + number.to_bytes(2, "little")
    return (b"\xfd" + number.to_bytes(3, "little")) if number < 2**24 else b"\xfe" + number.to_bytes(8, "little")


def _told(schema: str, name: str, kinds: bytes, metas: bytes, more: dict[int, bytes]) -> bytes:
    head = b"".join(bytes([len(each.encode())]) + each.encode() + b"\0" for each in (schema, name))
    nulls = bytes((len(kinds) + 7) // 8)
    fields = b"".join(bytes([kind]) + _length(len(data)) + data for kind, data in more.items())
    return head + _length(len(kinds)) + kinds + _length(len(metas)) + metas + nulls + fields


@given(st.integers(0, 2**63))
def test_lengths(number: int) -> None:
    raw = _length(number)
    assert length_at(b"x" + raw + b"y", 1) == (number, 1 + len(raw))


@given(NAMES, NAMES, st.lists(NAMES, min_size=1, max_size=300, unique=True))
def test_names(schema: str, name: str, columns: list[str]) -> None:
    named = b"".join(_length(len(each.encode())) + each.encode() for each in columns)
    told = _told(schema, name, bytes([3] * len(columns)), b"", {4: named})
    assert name_of(told) == f"{schema}.{name}"
    table = table_of(told, is_mariadb=True)
    assert [each.name for each in table.columns] == columns
    assert (table.schema, table.name) == (schema, name)


def test_what_is_told_of_some_columns_only_is_given_to_those() -> None:
    kinds = bytes([3, 254, 8, 254, 254, 15, 252])  # int, char, bigint, enum, set, varchar, text
    metas = bytes([254, 20, 247, 1, 248, 1, 40, 0, 2])
    more = {
        1: bytes([0b01_000000]),  # of the numbers, the second has no sign
        2: bytes([45, 1, 63]),  # of the texts, all have collation 45, but for the second
        4: b"".join(bytes([1]) + each for each in (b"a", b"b", b"c", b"d", b"e", b"f", b"g")),
        5: bytes([2, 1]) + b"x" + bytes([1]) + b"y",
        6: bytes([1, 2]) + b"zz",
        11: bytes([8, 33]),
    }
    columns = table_of(_told("s", "t", kinds, metas, more), is_mariadb=False).columns
    assert [each.kind for each in columns] == [3, 254, 8, 247, 248, 15, 252]
    assert [each.is_unsigned for each in columns] == [False, False, True, False, False, False, False]
    assert [each.collation for each in columns] == [0, 45, 0, 8, 33, 63, 45]
    assert [each.words for each in columns] == [(), (), (), (b"zz",), (b"x", b"y"), (), ()]


def test_columns_that_are_not_named_have_no_names() -> None:
    assert [each.name for each in table_of(_told("s", "t", b"\3\3", b"", {}), is_mariadb=True).columns] == ["", ""]


@given(st.integers(1, 999_999), st.integers(4, 2**32 - 1))
def test_positions(number: int, place: int) -> None:
    file = f"a.b-bin.{number:06d}"
    position = positions.position_of(file, place)
    assert positions.place_of(positions.base_of(file), position) == (file, place)
    assert positions.file_number(position) == number
    assert positions.position_of(f"x.{number + 1}", 4) > position


def test_an_event_that_is_not_as_it_was_written_is_refused() -> None:
    event = bytes(19) + b"body"
    packet = b"\0" + event + crc32(event).to_bytes(4, "little")
    assert events._checked(packet, has_checksum=True) == b"body"
    for place in range(1, len(packet)):
        broken = packet[:place] + bytes([packet[place] ^ 1]) + packet[place + 1 :]
        with pytest.raises(SourceError, match="not as the server has written it"):
            events._checked(broken, has_checksum=True)


def test_a_place_beyond_four_gigabytes_is_refused() -> None:
    before = positions.position_of("x.000007", 2**32 - 10)
    with pytest.raises(StateError, match="file 7 of the log is larger than 4 GiB"):
        events._behind(before, 12)
