"""What templated arguments mean, and that each refusal names its parameter."""

from __future__ import annotations

from datetime import date, datetime, timedelta, timezone
from typing import Any

import pytest

from airflow_etl_sync.core.model import TableName
from airflow_etl_sync.errors import ConfigurationError
from airflow_etl_sync.operators import _arguments as arguments


@pytest.mark.parametrize("value", [None, "", "  ", "None", "none", "null"])
def test_absent_is_what_jinja_makes_of_nothing(value: object) -> None:
    assert arguments.as_optional_text("where", value) is None
    assert arguments.as_names("columns", value) == ()
    assert arguments.as_lag("lag", value) == timedelta(0)
    assert arguments.as_cursor_text("range_start", value) is None
    assert arguments.as_flag("create_table", value, default=True)


@pytest.mark.parametrize("value", [None, "", 7, ["orders"]])
def test_required_text_is_refused_by_name(value: object) -> None:
    with pytest.raises(ConfigurationError, match=r"^sync_key must be a text"):
        arguments.as_text("sync_key", value)


@pytest.mark.parametrize(
    ("value", "flag"),
    [
        *((value, True) for value in (True, "True", "yes", "1", 1, "ON")),
        *((value, False) for value in (False, "False", "no", "0", 0, "off")),
    ],
)
def test_flag(value: object, flag: bool) -> None:
    assert arguments.as_flag("full_refresh", value) is flag


@pytest.mark.parametrize("value", ["maybe", 2, "{{ params.full }}", [True]])
def test_flag_refuses_the_rest(value: object) -> None:
    with pytest.raises(ConfigurationError, match=r"^full_refresh must be true or false"):
        arguments.as_flag("full_refresh", value)


@pytest.mark.parametrize(("value", "count"), [(1, 1), ("250000", 250_000), (" 7 ", 7)])
def test_count(value: object, count: int) -> None:
    assert arguments.as_count("chunk_rows", value) == count


@pytest.mark.parametrize("value", [0, -1, "0", "1.5", 1.5, "many", None, True, "٣"])
def test_count_refuses_the_rest(value: object) -> None:
    with pytest.raises(ConfigurationError, match=r"^chunk_rows must be a whole number"):
        arguments.as_count("chunk_rows", value)


@pytest.mark.parametrize(
    ("value", "names"),
    [
        ("id", ("id",)),
        ("id, region", ("id", "region")),
        (["id", "a,b"], ("id", "a,b")),
        (("id",), ("id",)),
        ("['id', 'a,b']", ("id", "a,b")),
        ([], ()),
    ],
)
def test_names(value: object, names: tuple[str, ...]) -> None:
    assert arguments.as_names("primary_key", value) == names


@pytest.mark.parametrize("value", ["id,", "id,id", ["id", 3], ["id", ""], "[id", 5, {"id": 1}])
def test_names_refuses_the_rest(value: object) -> None:
    with pytest.raises(ConfigurationError, match=r"^primary_key must be a list of column names"):
        arguments.as_names("primary_key", value)


@pytest.mark.parametrize(
    ("value", "lag"),
    [
        (timedelta(minutes=5), timedelta(minutes=5)),
        ("PT5M", timedelta(minutes=5)),
        ("P1DT12H", timedelta(days=1, hours=12)),
        ("P2W", timedelta(weeks=2)),
        ("pt0.5s", timedelta(milliseconds=500)),
        (str(timedelta(minutes=5)), timedelta(minutes=5)),
        (str(timedelta(days=3, seconds=1, microseconds=5)), timedelta(days=3, seconds=1, microseconds=5)),
        (300, 300),
        ("300", 300),
        ("0", 0),
    ],
)
def test_lag(value: object, lag: timedelta | int) -> None:
    assert arguments.as_lag("lag", value) == lag


@pytest.mark.parametrize(
    "value", ["P", "PT", "P1M", "5 minutes", -1, "-1", timedelta(seconds=-1), True, [5], "1e3", 1.5, "300.0"]
)
def test_lag_refuses_the_rest(value: object) -> None:
    with pytest.raises(ConfigurationError, match=r"^lag must be a duration such as PT5M"):
        arguments.as_lag("lag", value)


@pytest.mark.parametrize(("value", "number"), [(None, None), ("None", None), ("", None), (0, 0), ("7", 7), (" 7 ", 7)])
def test_optional_number(value: object, number: int | None) -> None:
    assert arguments.as_optional_number("max_errors", value) == number


@pytest.mark.parametrize("value", [-1, "-1", True, 1.5, "1.5", "many"])
def test_optional_number_refuses_the_rest(value: object) -> None:
    with pytest.raises(ConfigurationError, match=r"^max_errors must be a whole number"):
        arguments.as_optional_number("max_errors", value)


@pytest.mark.parametrize(("value", "share"), [(None, None), (0, 0.0), ("0.5", 0.5), (100, 100.0), (2.5, 2.5)])
def test_percent(value: object, share: float | None) -> None:
    assert arguments.as_percent("max_error_percent", value) == share


@pytest.mark.parametrize(("value", "seconds"), [(5, 5), (0.5, 0.5), ("2.5", 2.5), (" 3 ", 3), (0, 0)])
def test_seconds_are_a_number(value: object, seconds: float) -> None:
    assert arguments.as_seconds("poll_seconds", value) == seconds


@pytest.mark.parametrize("value", [None, "", True, -1, "1e3", "nan", "inf", "soon", 0.05])
def test_other_seconds_are_refused_by_name(value: object) -> None:
    with pytest.raises(ConfigurationError, match=r"poll_seconds must be a number of seconds of at least 0\.1"):
        arguments.as_seconds("poll_seconds", value, least=0.1)


@pytest.mark.parametrize("value", [-1, "101", True, "1%", "nan", "1e1"])
def test_percent_refuses_the_rest(value: object) -> None:
    with pytest.raises(ConfigurationError, match=r"^max_error_percent must be a number from 0 to 100"):
        arguments.as_percent("max_error_percent", value)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("2026-01-01", "2026-01-01"),
        (date(2026, 1, 1), "2026-01-01"),
        (datetime(2026, 1, 1, 2, 3, 4, 5, tzinfo=timezone.utc), "2026-01-01T02:03:04.000005+00:00"),
        (7, "7"),
        (0, "0"),
    ],
)
def test_cursor_text(value: object, text: str) -> None:
    assert arguments.as_cursor_text("range_start", value) == text


@pytest.mark.parametrize("value", [True, ["2026-01-01"], b"7"])
def test_cursor_text_refuses_the_rest(value: object) -> None:
    with pytest.raises(ConfigurationError, match=r"^range_start must be"):
        arguments.as_cursor_text("range_start", value)


@pytest.mark.parametrize("value", [{"a": 1}, [{"a": 1}], '[{"a": 1}]'])
def test_extraction_is_taken_as_it_comes(value: Any) -> None:
    assert arguments.as_extraction("extraction", value) in ({"a": 1}, [{"a": 1}])


@pytest.mark.parametrize("value", [None, "", "None", [], "[{'secret': 1}]", 5])
def test_extraction_is_refused_without_showing_it(value: object) -> None:
    with pytest.raises(ConfigurationError, match=r"^extraction must be .*\(extract.output\)") as refusal:
        arguments.as_extraction("extraction", value)
    assert "secret" not in str(refusal.value)


@pytest.mark.parametrize(
    ("value", "tables"),
    [
        (None, ()),
        ("None", ()),
        ("orders", (TableName("orders"),)),
        ("shop.orders, users", (TableName("orders", "shop"), TableName("users"))),
        ("['shop.orders', 'a']", (TableName("orders", "shop"), TableName("a"))),
        (['"a,b"."c"'], (TableName("c", "a,b"),)),
    ],
)
def test_tables(value: object, tables: tuple[TableName, ...]) -> None:
    assert arguments.as_tables("tables", value) == tables


@pytest.mark.parametrize("value", [7, "[1]", ["a", "a"], "a, a", [None]])
def test_tables_refuse_the_rest(value: object) -> None:
    with pytest.raises(ConfigurationError, match=r"^tables must be a list of tables"):
        arguments.as_tables("tables", value)


def test_tables_name_the_one_that_is_none() -> None:
    with pytest.raises(ConfigurationError, match=r"^'a\.b\.c' is not a table name"):
        arguments.as_tables("tables", "ok, a.b.c")
