"""Records of JSON as columns: types that are given or told, and values that are of another kind."""

from __future__ import annotations

import json
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import pytest

from airflow_etl_sync.core.columns import types_of
from airflow_etl_sync.errors import ConfigurationError, DataError
from airflow_etl_sync.hooks.http import http_access
from airflow_etl_sync.systems.http.columns import Columns, declared_column, flattened
from airflow_etl_sync.systems.http.values import cursor_value, json_text


def parsed(*texts: str) -> list[dict[str, Any]]:
    return [json.loads(text, parse_float=Decimal) for text in texts]


def shaped(columns: Columns, *texts: str) -> dict[str, tuple[str, str, list[Any]]]:
    """By column its type, that of its values, and these."""
    batch = columns.batch(parsed(*texts))
    return {
        field.name: (types_of(field).declared, types_of(field).base, batch.column(field.name).to_pylist())
        for field in batch.schema
    }


def told(*texts: str, **types: str) -> dict[str, tuple[str, str, list[Any]]]:
    return shaped(Columns((), types.items(), "at"), *texts)


@pytest.mark.parametrize(
    ("values", "type_", "staged"),
    [
        (["1", "-9223372036854775808"], "bigint", [1, -(2**63)]),
        (["1", "9223372036854775808"], "numeric", ["1", "9223372036854775808"]),
        (["1.10", "2"], "numeric", ["1.10", "2"]),
        (["true", "null"], "boolean", [True, None]),
        (['"a"', '"2026-01-01T00:00:00Z"'], "text", ["a", "2026-01-01T00:00:00Z"]),
        (['{"a": [1.10, "ö"]}', "[]"], "jsonb", ['{"a": [1.10, "ö"]}', "[]"]),
        (['"a"', "5"], "text", ["a", "5"]),
        (['"a"', '{"b": true}'], "text", ["a", '{"b": true}']),
        (["1e400000000000", "2"], "numeric", ["1E+400000000000", "2"]),
    ],
)
def test_types_are_told_from_the_records(values: list[str], type_: str, staged: list[Any]) -> None:
    found = told(*(f'{{"v": {value}}}' for value in values))
    assert (found["v"][0], found["v"][2]) == (type_, staged)


def test_a_column_without_a_value_waits_for_its_first() -> None:
    columns = Columns((), (), "at")
    assert list(shaped(columns, '{"a": 1, "b": null}')) == ["a"]
    assert shaped(columns, '{"b": 2}', '{"c": "x"}') == {
        "a": ("bigint", "bigint", [None, None]),
        "b": ("bigint", "bigint", [2, None]),
        "c": ("text", "text", [None, "x"]),
    }  # fmt: skip


def test_fractions_make_a_column_of_whole_numbers_numeric() -> None:
    columns = Columns((), (), "at")
    shaped(columns, '{"a": 1}')
    assert shaped(columns, '{"a": 1.5}')["a"] == ("numeric", "numeric", ["1.5"])
    assert shaped(columns, '{"a": 2}')["a"] == ("numeric", "numeric", ["2"])


def test_a_value_of_another_kind_goes_as_a_text_for_the_table_to_judge() -> None:
    columns = Columns((), (), "at")
    shaped(columns, '{"a": 1, "b": true}')
    assert shaped(columns, '{"a": "n/a", "b": {"c": 1}}', '{"a": 7}') == {
        "a": ("bigint", "text", ["n/a", "7"]), "b": ("boolean", "text", ['{"c": 1}', None]),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("type_", "value", "canonical", "staged"),
    [
        ("int", '"12"', "integer", 12),
        ("BIGINT", "3.0", "bigint", 3),
        ("numeric(12, 2)", '"1.50"', "numeric(12,2)", "1.50"),
        ("float8", "0.1", "double precision", 0.1),
        ("varchar(5)", "7", "character varying(5)", "7"),
        ("bool", '"true"', "boolean", True),
        ("timestamptz", '"2026-01-01T12:00:00+02:00"', "timestamp with time zone", "2026-01-01 10:00:00+00:00"),
        ("timestamp", '"2026-01-01 12:00"', "timestamp without time zone", "2026-01-01 12:00:00"),
        ("date", '"2026-01-31"', "date", "2026-01-31"),
        ("jsonb", '"a"', "jsonb", '"a"'),
        ("uuid", '"6BA7B810-9DAD-11D1-80B4-00C04FD430C8"', "uuid", "6ba7b810-9dad-11d1-80b4-00c04fd430c8"),
    ],
)
def test_types_that_are_given(type_: str, value: str, canonical: str, staged: Any) -> None:
    [(declared, _, [found])] = told(f'{{"v": {value}}}', v=type_).values()
    assert declared == canonical and (found == staged or str(found) == staged)


@pytest.mark.parametrize(
    ("type_", "value"),
    [("int", "2147483648"), ("bigint", "1.5"), ("bigint", '"1_0"'), ("numeric", "true"), ("float8", "1e400"),
     ("bool", "1"), ("bigint", "1e400000000000"), ("timestamptz", '"yesterday"'), ("uuid", '"x"'),
     ("date", '"2026-01-31T10:00:00Z"')],
)  # fmt: skip
def test_what_a_given_type_does_not_hold_goes_as_a_text(type_: str, value: str) -> None:
    [(declared, base, [found])] = told(f'{{"v": {value}}}', v=type_).values()
    assert base == "text" and isinstance(found, str) and declared == declared_column("v", type_).type


@pytest.mark.parametrize(
    ("type_", "value", "said"),
    [
        ("timestamptz", "2026-01-01T00:00:00", "for which times must have a zone at their end"),
        ("timestamp", "2026-01-01T00:00:00Z", "for which times must have no zone at their end"),
        (
            "timestamptz",
            "2026-01-01T00:00:00.123456789Z",
            "such as some finer than a microsecond: give it the type text",
        ),
        ("text", "a\\u0000", "holds the character NUL"),
        ("text", "\\ud800", "holds halves of characters"),
        ("jsonb", "\\ud800", "holds halves of characters"),
    ],
)
def test_what_would_be_bent_is_refused(type_: str, value: str, said: str) -> None:
    with pytest.raises(DataError, match=said):
        told(f'{{"v": "{value}"}}', v=type_)


@pytest.mark.parametrize("type_", ["money", "numeric(1,2,3)", "text(5)", "bigint; drop table t", ""])
def test_a_type_that_is_not_known_is_refused(type_: str) -> None:
    with pytest.raises(ConfigurationError, match=r"endpoint.column_types gives 'v' the type"):
        declared_column("v", type_)


@pytest.mark.parametrize(
    ("values", "type_"),
    [
        (['"2026-01-01T00:00:00Z"', "null"], "timestamp with time zone"),
        (['"2026-01-01T00:00:00"'], "timestamp without time zone"),
        (['"2026-01-01"'], "date"),
        (['"2026-01-01T00:00:00Z"', '"2026-01-01T00:00:00"'], "text"),
        (['"01J"'], "text"),
        (["7"], "bigint"),
    ],
)
def test_a_cursor_that_is_a_time_is_told_as_one(values: list[str], type_: str) -> None:
    assert told(*(f'{{"at": {value}}}' for value in values))["at"][0] == type_


def test_a_cursor_that_is_none_of_its_type_is_refused_and_not_shown() -> None:
    with pytest.raises(
        DataError, match=r"The cursor 'at' is bigint, and a record has a value in it that is none"
    ) as told_:
        cursor_value(declared_column("at", "bigint"), "secret")
    assert "secret" not in str(told_.value)


def test_only_chosen_columns_are_read_in_their_order() -> None:
    assert list(shaped(Columns(("b", "a"), (), "a"), '{"a": 1, "b": 2, "c": 3}')) == ["b", "a"]
    with pytest.raises(ConfigurationError, match="column_types names 'c', which columns does not"):
        Columns(("a",), [("c", "text")], "a")


def test_mappings_become_columns() -> None:
    [record] = parsed('{"a": {"b": {"c": 1}, "d": [1], "e": {}}, "f": null}')
    assert flattened(record) == {"a__b__c": 1, "a__d": [1], "a__e": None, "f": None}
    with pytest.raises(DataError, match="Two fields of a record become column 'a__b': leave out flatten"):
        flattened({"a": {"b": 1}, "a__b": 2})


def test_a_field_that_no_column_can_be_named_after() -> None:
    for name in ("", "x" * 64, "a\0"):
        with pytest.raises(DataError, match="as no column can be"):
            Columns((), (), "at").tell([{name: 1}])


def test_json_is_written_as_it_was() -> None:
    text = '{"a": [1.10, 1E+2, null, true, "ö\\n"], "b": {}}'
    assert json_text(json.loads(text, parse_float=Decimal)) == text


def connection(**changes: Any) -> Any:
    fields = {"conn_type": "http", "host": "h", "port": None, "schema": None, "login": None, "password": None}
    extra = changes.pop("extra", {})
    return SimpleNamespace(**{**fields, **changes}, extra_dejson=extra)


@pytest.mark.parametrize(
    ("changes", "url"),
    [
        ({}, "http://h"),
        ({"schema": "https"}, "https://h"),
        ({"conn_type": "https"}, "https://h"),
        ({"host": "https://h/v2/", "port": 8443}, "https://h:8443/v2"),
        ({"host": "https://h:9/v2", "schema": "http"}, "https://h:9/v2"),
        ({"host": "[::1]", "port": 80}, "http://[::1]:80"),
    ],
)
def test_a_connection_s_address(changes: dict[str, Any], url: str) -> None:
    assert http_access("c", connection(**changes)).base_url == url


def test_a_connection_s_extras() -> None:
    extra = {
        "X-Key": "k", "verify": False, "cert": "/c.pem", "proxies": {"https": "p"}, "timeout": 5, "params": {"key": 1},
        "stream": True, "allow_redirects": True, "srv_lookup": False,
    }  # fmt: skip
    access = http_access("c", connection(login="me", password="word", extra=extra))
    assert access.login == ("me", "word") and access.headers == {"X-Key": "k"} and access.params == {"key": "1"}
    assert access.options == {"verify": False, "cert": "/c.pem", "proxies": {"https": "p"}} and access.timeout == 5


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"host": ""}, "the host must be a name, or a URL without query and login"),
        ({"host": "ftp://h"}, "the host must be a name"),
        ({"host": "https://me:word@h"}, "without query and login"),
        ({"host": "http://h:port"}, "the host is no address"),
        ({"extra": {"X": {"a": 1}}}, "extra must map names to texts"),
        ({"extra": {"X": "a\nb"}}, "extra must map names to texts"),
        ({"extra": {"params": "a=1"}}, "params must map names to texts"),
        ({"extra": {"timeout": "5"}}, "timeout must be a number of seconds"),
        ({"extra": {"proxies": "p"}}, "proxies must be a mapping"),
        ({"extra": {"srv_lookup": True}}, "srv_lookup is not taken here"),
    ],
)
def test_a_connection_that_cannot_be_used(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigurationError, match=said) as refused:
        http_access("c", connection(**changes))
    assert "word" not in str(refused.value)
