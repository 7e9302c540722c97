"""What an endpoint may say, and in which words it is told what it may not."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_etl_sync.core.endpoint import Endpoint, Pages
from airflow_etl_sync.core.model import Stream, TableName
from airflow_etl_sync.errors import ConfigurationError


def test_a_path_is_an_endpoint() -> None:
    assert Endpoint.parse("/v1/orders") == Endpoint.parse({"path": " /v1/orders "})


def test_yaml_s_texts_are_taken_like_python_s_values() -> None:
    python = {
        "path": "/o", "params": {"page": 1, "all": True, "tag": ["a", "b"]}, "flatten": True,
        "records": ["data", "a.b"],
        "pages": {"type": "page_number", "size": 100, "size_param": "n", "base_page": 0, "overlap": False},
    }  # fmt: skip
    texts = {
        "path": "/o", "params": {"page": "1", "all": "true", "tag": ["a", "b"]}, "flatten": "true",
        "records": ["data", "a.b"],
        "pages": {"type": "page_number", "size": "100", "size_param": "n", "base_page": "0", "overlap": "false"},
    }  # fmt: skip
    endpoint = Endpoint.parse(python)
    assert endpoint == Endpoint.parse(texts) and hash(endpoint)
    assert endpoint.params == (("page", "1"), ("all", "true"), ("tag", "a"), ("tag", "b"))
    assert endpoint.records == ("data", "a.b") and endpoint.flatten
    assert (endpoint.pages.param, endpoint.pages.size, endpoint.pages.base) == ("page", 100, 0)


def test_types_of_pages_have_the_defaults_that_most_apis_have() -> None:
    assert Pages.parse("cursor") == Pages.parse(
        {"type": "cursor", "cursor_param": "cursor", "cursor_path": "next_cursor"}
    )
    assert Pages.parse("json_link") == Pages.parse({"type": "json_link", "next_url_path": "next"})
    assert Pages.parse({"type": "offset", "limit": 5}).size_param == "limit"
    assert not Pages.parse(None).is_said and Pages.parse("header_link").is_said


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (5, "endpoint must be a path, or a mapping that has one."),
        ({}, "endpoint.path is missing: say what is read, such as /v1/orders."),
        ({"path": "/a", "page": 1}, "endpoint has no key 'page': use path, params"),
        ({"path": "https://a/b"}, "endpoint.path must be a path on the connection's host"),
        ({"path": "//evil/b"}, "endpoint.path must be a path on the connection's host"),
        ({"path": "/a?b=1"}, "with its query in params."),
        ({"path": "/a", "params": {"b": {}}}, "endpoint.params.b must be a text or a number."),
        ({"path": "/a", "params": "b=1"}, "endpoint.params must be a mapping of names to values."),
        ({"path": "/a", "headers": {"authorization": "x"}}, "authentication is the connection's, in its login, or in"),
        ({"path": "/a", "headers": {"X": "a\nb"}}, "endpoint.headers.X must be a text in one line"),
        ({"path": "/a", "headers": {"X:": "a"}}, "endpoint.headers must be a mapping of names of headers to texts."),
        ({"path": "/a", "records": 5}, "endpoint.records must be where in the answer it is, such as data.items"),
        ({"path": "/a", "records": "a..b"}, "endpoint.records must be where"),
        ({"path": "/a", "flatten": "yes"}, "endpoint.flatten must be true or false."),
        ({"path": "/a", "cursor_format": "rfc"}, "endpoint.cursor_format must be one of iso, date, epoch, epoch_ms"),
        ({"path": "/a", "column_types": {"a": 5}}, "endpoint.column_types.a must be a text"),
        ({"path": "/a", "pages": 5}, "endpoint.pages must be a mapping, or the name of a type."),
        ({"path": "/a", "pages": "auto"}, "endpoint.pages.type must be one of single_page, page_number, offset"),
        ({"path": "/a", "pages": {"type": "cursor", "limit": 5}}, "endpoint.pages has no key 'limit': use type, cur"),
        ({"path": "/a", "pages": "offset"}, "endpoint.pages.limit is missing: say how many records a page has."),
        ({"path": "/a", "pages": {"type": "offset", "limit": 0}}, "endpoint.pages.limit must be a whole number"),
        ({"path": "/a", "pages": {"type": "offset", "limit": 1}}, "asks for less than 2 records a page: pages"),
        ({"path": "/a", "pages": "page_number"}, "endpoint.pages.size_param and size are missing"),
        ({"path": "/a", "pages": {"type": "page_number", "size": 10, "size_param": "n"}}, "less than 20 records a p"),
        ({"path": "/a", "pages": {"type": "page_number", "base_page": 2}}, "endpoint.pages.base_page must be 0 or 1."),
    ],
)  # fmt: skip
def test_what_an_endpoint_cannot_say_is_told_by_its_key(given: Any, said: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        Endpoint.parse(given)
    assert said in str(refused.value) and "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"table": TableName("t")}, "exactly one of table, sql, endpoint and uri"),
        ({"where": "a = 1"}, "where is an SQL condition, and an endpoint takes none: ask by its params."),
    ],
)
def test_a_stream_of_an_endpoint_is_nothing_else(given: Any, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        Stream(sync_key="s", cursor_field="c", endpoint=Endpoint.parse("/a"), **given)
