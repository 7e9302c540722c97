"""When an answer of a database is the value that was sent: to the last digit, however it is written."""

from __future__ import annotations

from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Any
from uuid import UUID

import pyarrow as pa
import pytest

from airflow_etl_sync.core.columns import ColumnTypes, noted
from airflow_etl_sync.systems.database.values import (
    Kind,
    Reader,
    UnfitError,
    is_same,
    is_same_document,
    kind_of,
    split_type,
)

MOMENT = datetime.fromisoformat("2026-01-02 03:04:05.600000")
NAN = float("nan")


@pytest.mark.parametrize(
    ("kind", "value", "found"),
    [
        ("integer", 1, Decimal("1.000")),
        ("integer", 1, "1"),
        ("numeric", Decimal("1.10"), Decimal("1.1000000000")),
        ("numeric", Decimal("1.1"), 1.1),
        ("numeric", "1.10", "1.10"),
        ("real", 0.10000000149011612, 0.1),
        ("float", 0.0, -0.0),
        ("float", NAN, NAN),
        ("numeric", Decimal("NaN"), Decimal("NaN")),
        ("boolean", True, 1),
        ("boolean", False, "f"),
        ("text", "a", "a"),
        ("uuid", "00112233-4455-6677-8899-aabbccddeeff", UUID(int=0x00112233445566778899AABBCCDDEEFF)),
        ("bytes", b"\x00", memoryview(b"\x00")),
        ("date", date(2026, 1, 2), datetime.fromisoformat("2026-01-02 00:00")),
        ("timestamp", MOMENT, "2026-01-02 03:04:05.600000"),
        ("timestamptz", MOMENT.replace(tzinfo=timezone.utc), MOMENT),
        ("timestamptz", "2026-01-02 03:04:05.6+00:00", "2026-01-02T04:04:05.6+01:00"),
        ("time", time(3, 4, 5), timedelta(hours=3, minutes=4, seconds=5)),
        ("text", None, None),
    ],
)
def test_what_is_written_otherwise_is_the_same(kind: Kind, value: Any, found: Any) -> None:
    assert is_same(kind, value, found)


@pytest.mark.parametrize(
    ("kind", "value", "found"),
    [
        ("integer", 1, Decimal("1.5")),
        ("integer", 2**63 - 1, float(2**63)),
        ("numeric", Decimal("12345678901234567890.5"), 1.2345678901234567e19),
        ("float", 0.1, 0.10000000000000002),
        ("float", NAN, None),
        ("boolean", True, 2),
        ("text", "a", "A"),
        ("text", "a", "a "),
        ("text", "1", b"1"),
        ("bytes", b"\x00", 1),
        ("date", date(2026, 1, 2), datetime.fromisoformat("2026-01-02 00:01")),
        ("timestamp", MOMENT, MOMENT.replace(microsecond=0)),
        ("timestamp", MOMENT, MOMENT.replace(tzinfo=timezone.utc)),
        ("time", time(3), timedelta(hours=27)),
        ("uuid", "00112233-4455-6677-8899-aabbccddeeff", "no uuid"),
        ("text", "", None),
        ("text", None, ""),
    ],
)
def test_what_was_bent_is_not(kind: Kind, value: Any, found: Any) -> None:
    assert not is_same(kind, value, found)


def test_documents_are_compared_as_what_they_say() -> None:
    assert is_same_document('{"b": 1, "a": [1.50]}', {"a": [1.5], "b": 1})
    assert is_same_document('{"a": 1}', '{"a":  1}') and is_same_document(None, None)
    assert not is_same_document('{"a": 1}', {"a": 2}) and not is_same_document("{", {"a": 2})


@pytest.mark.parametrize(
    ("declared", "expected"),
    [
        ("numeric(12,2)", ("numeric", (12, 2))),
        ("character varying(40)", ("character varying", (40,))),
        ("timestamp(3) with time zone", ("timestamp with time zone", (3,))),
        ("text", ("text", ())),
        ("integer[]", ("integer[]", ())),
    ],
)
def test_a_type_is_taken_apart(declared: str, expected: tuple[str, tuple[int, ...]]) -> None:
    assert split_type(declared) == expected


def test_what_has_no_kind_comes_as_its_text() -> None:
    arrays = noted("v", pa.string(), ColumnTypes("integer[]", "integer[]"))
    domain = noted("v", pa.int32(), ColumnTypes("shop.amount", "integer"))
    assert (kind_of(arrays), kind_of(domain)) == ("text", "integer")


def test_a_value_that_python_does_not_have_is_told_apart_and_the_others_are_read() -> None:
    field = noted("v", pa.timestamp("us"), ColumnTypes("timestamp without time zone", "timestamp without time zone"))
    beyond = pa.array([0, 2**62, None], pa.int64()).view(pa.timestamp("us"))
    first, second, third = Reader.of(field).values(beyond)
    assert (first, third) == (datetime.fromisoformat("1970-01-01"), None)
    assert isinstance(second, UnfitError) and "column v holds a value" in str(second)
