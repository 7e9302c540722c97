"""What an API may do to a request, and what is never told to anybody but its host."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest

from airflow_etl_sync.errors import ConfigurationError, EtlSyncError, SourceError
from airflow_etl_sync.systems.http.answers import Answer
from airflow_etl_sync.systems.http.asking import Client
from airflow_etl_sync.systems.http.failures import RefusedError
from tests.http_api import Api, Asked, Reply, new_api

SECRETS = {"headers": {"X-Api-Key": "s3cret-header"}, "params": {"key": "s3cret-param"}, "login": ("me", "s3cret-word")}


@pytest.fixture(scope="module")
def server() -> Iterator[Api]:
    with new_api(lambda _: Reply([])) as api:
        yield api


@pytest.fixture
def api(server: Api) -> Api:
    server.asked.clear()
    return server


@pytest.fixture
def other() -> Iterator[Api]:
    """Another host, as far as a login is concerned: another port."""
    with new_api(lambda _: Reply([])) as api:
        yield api


def ask(api: Api, path: str = "/t", **access: Any) -> Answer:
    given = api.access(**{**SECRETS, **access})
    with Client(given, "read 's'", [("X-Shop", "7")]) as client:
        return client.get(given.url_of(path), [("a", "1")])


def refused(api: Api, kind: type[EtlSyncError] = EtlSyncError, **access: Any) -> EtlSyncError:
    """The error that comes of asking, which holds no secret and no address with a query."""
    with pytest.raises(kind) as raised:
        ask(api, **access)
    said = str(raised.value)
    assert "s3cret" not in said and "?" not in said and "\n" not in said
    assert raised.value.__cause__ is None and raised.value.__context__ is None  # these would quote the address
    return raised.value


def in_turn(*replies: Reply) -> Any:
    left = list(replies)
    return lambda _: left.pop(0) if len(left) > 1 else left[0]


def test_login_headers_and_parameters_are_the_connection_s(api: Api) -> None:
    api.respond = lambda _: Reply([1])
    assert ask(api).body == [1]
    [asked] = api.asked
    assert asked.query == {"a": "1", "key": "s3cret-param"}
    assert asked.headers["X-Api-Key"] == "s3cret-header" and asked.headers["X-Shop"] == "7"
    assert asked.headers["Authorization"].startswith("Basic ")


def test_no_login_of_this_machine_is_sent(api: Api, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login somebody password else\n")
    monkeypatch.setenv("NETRC", str(netrc))
    api.respond = lambda _: Reply([])
    ask(api, login=None)
    assert "Authorization" not in api.asked[0].headers


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504, 408])
def test_an_api_that_is_not_ready_is_asked_again(api: Api, status: int) -> None:
    api.respond = in_turn(Reply({}, status, {"Retry-After": "0"}), Reply({}, status, {"Retry-After": "0"}), Reply([1]))
    assert ask(api).body == [1] and len(api.asked) == 3


def test_a_limit_that_is_told_as_forbidden_is_waited_for(api: Api) -> None:
    api.respond = in_turn(Reply({}, 403, {"Retry-After": "0", "X-RateLimit-Remaining": "0"}), Reply([1]))
    assert ask(api).body == [1]


@pytest.mark.parametrize("is_date", [False, True])
def test_retry_after_is_kept_to(api: Api, is_date: bool) -> None:
    until = datetime.now(timezone.utc).replace(microsecond=0) + timedelta(seconds=2)
    api.respond = in_turn(
        Reply({}, 429, {"Retry-After": format_datetime(until, usegmt=True) if is_date else "1"}), Reply([1])
    )
    began = time.monotonic()
    ask(api)
    assert time.monotonic() - began >= 1
    if is_date:
        assert datetime.now(timezone.utc) >= until


def test_a_wait_that_is_longer_than_the_patience_is_the_task_s(api: Api) -> None:
    api.respond = lambda _: Reply({}, 429, {"Retry-After": "3600"})
    began = time.monotonic()
    error = refused(api, SourceError, patience_seconds=10)
    assert error.is_retryable and "it is not ready (status 429)" in str(error) and time.monotonic() - began < 5


def test_without_retry_after_the_pauses_grow(api: Api) -> None:
    api.respond = lambda _: Reply({}, 503)
    assert refused(api, SourceError, patience_seconds=2).is_retryable
    assert 2 <= len(api.asked) <= 3


@pytest.mark.parametrize(
    ("reply", "access", "said"),
    [
        (Reply([1] * 1000, cut_after=100), {}, "the answer is broken off"),
        (Reply([1] * 1000, cut_after=0), {}, "the answer is broken off"),
        (Reply(b'{"data": [1, 2', headers={"Content-Type": "text/json; charset=utf-8"}), {}, "its JSON is broken"),
        (Reply([1] * 40, drip_seconds=0.05), {"answer_seconds": 0.3}, "its answer takes longer than 0.3 s"),
        (Reply([1] * 40, drip_seconds=1), {"timeout": 0.2}, "no answer in time"),
    ],
)  # fmt: skip
def test_a_connection_that_fails_is_tried_again(api: Api, reply: Reply, access: dict[str, Any], said: str) -> None:
    api.respond = in_turn(reply, Reply([1]))
    assert ask(api, **access).body == [1] and len(api.asked) == 2
    api.respond = lambda _: reply
    error = refused(api, SourceError, **{**access, "patience_seconds": 0.1})
    assert said in str(error) and error.is_retryable


def test_an_api_that_is_not_there(api: Api) -> None:
    error = refused(api, SourceError, base_url="http://127.0.0.1:9", patience_seconds=0.1)
    assert str(error) == "Could not read 's' from http://127.0.0.1:9: the connection fails." and error.is_retryable


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (400, "it refuses the request (status 400): correct the endpoint."),
        (401, "it does not know the login (status 401): correct the connection."),
        (403, "it does not let this login read (status 403): correct the connection."),
        (404, "it has no such path (status 404): correct the endpoint."),
    ],
)
def test_a_request_that_is_refused_is_not_made_again(api: Api, status: int, said: str) -> None:
    api.respond = lambda _: Reply({"message": "s3cret-header is wrong"}, status)
    error = refused(api, RefusedError)
    assert str(error).endswith(said) and not error.is_retryable and len(api.asked) == 1


@pytest.mark.parametrize("told", ["text/html; charset=utf-8", ""])
def test_html_in_place_of_json_is_no_answer(api: Api, told: str) -> None:
    api.respond = lambda _: Reply(b"<html>Please log in</html>", headers={"Content-Type": told})
    error = refused(api, ConfigurationError)
    assert f"it answers with {told.partition(';')[0] or 'something'} where JSON was expected" in str(error)


def test_an_answer_that_is_too_large_is_not_held(api: Api) -> None:
    api.respond = lambda _: Reply(b" " * 3_000_000)
    assert "has more than 1000000 bytes: ask for smaller pages" in str(
        refused(api, ConfigurationError, most_bytes=10**6)
    )


@pytest.mark.parametrize("body", [b"[NaN]", b"\xff\xff", b"[" * 100_000])
def test_json_that_is_none_is_an_error_like_any_other(api: Api, body: bytes) -> None:
    api.respond = lambda _: Reply(body)
    assert "its JSON is broken off, or none" in str(refused(api, SourceError, patience_seconds=0.1))


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_within_the_host_is_followed(api: Api, status: int) -> None:
    api.respond = lambda asked: Reply([1]) if asked.path == "/new" else Reply({}, status, {"Location": "/new?b=2"})
    assert ask(api).body == [1]
    assert api.asked[-1].query == {"b": "2", "key": "s3cret-param"} and "Authorization" in api.asked[-1].headers


@pytest.mark.parametrize(
    "form", ["http://127.0.0.1:{}/t", "http://127.0.0.1:{}\\@127.0.0.1:{own}/t", "//127.0.0.1:{}/t"]
)
def test_nothing_goes_to_another_host(api: Api, other: Api, form: str) -> None:
    location = form.format(other.port, own=api.port)
    api.respond = lambda _: Reply({}, 302, {"Location": location})
    error = refused(api, ConfigurationError)
    assert f"it leads on to http://127.0.0.1:{other.port}" in str(error) and other.asked == []


def test_a_circle_of_redirects_is_left(api: Api) -> None:
    api.respond = lambda _: Reply({}, 302, {"Location": "/t"})
    assert "it sends the request around in circles" in str(refused(api, ConfigurationError))
    assert len(api.asked) == 6


def test_links_are_read_as_the_library_sends_them(api: Api) -> None:
    access = api.access(base_url="https://api.example.com/v1")
    answer = Answer(None, "https://api.example.com/v1/t?x=1", None, None)
    with Client(access, "read") as client:
        assert client.follow(answer, "?page=2") == "https://api.example.com/v1/t?page=2"
        assert client.follow(answer, "https://API.example.com:443/u") == "https://API.example.com:443/u"
        assert client.follow(answer, "http://api.example.com/u?p=2") == "https://api.example.com/u?p=2"
        for link in (
            "https://evil.example/", "https://api.example.com:8443/", "https://api.example.com@evil.example/",
            "https://evil.example\\@api.example.com/", "//evil.example/t", "http://api.example.com:8080/",
            "https://[bad/",
        ):  # fmt: skip
            with pytest.raises(ConfigurationError, match=r"leads on to|no address"):
                client.follow(answer, link)


def test_no_log_tells_a_secret_or_a_query(api: Api, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    api.respond = in_turn(Reply({}, 503), Reply({}, 302, {"Location": "/u?token=s3cret-link"}), Reply([1]))
    ask(api)
    assert "it is not ready (status 503)" in caplog.text
    assert "s3cret" not in caplog.text and "?" not in caplog.text


def test_an_access_shows_no_secret(api: Api) -> None:
    assert "s3cret" not in repr(api.access(**SECRETS))


def test_the_clock_is_the_api_s(api: Api) -> None:
    api.respond = lambda _: Reply([], headers={"Date": "Sat, 01 Jan 2028 00:00:00 GMT"})
    assert ask(api).clock == datetime(2028, 1, 1, tzinfo=timezone.utc)
    api.respond = lambda _: Reply([], has_date=False)
    assert ask(api).clock is None


def test_numbers_are_exact(api: Api) -> None:
    api.respond = lambda _: Reply(b"[1.10, 12345678901234567890.123456789]")
    assert [str(number) for number in ask(api).body] == ["1.10", "12345678901234567890.123456789"]


def test_asked_for_what(api: Api) -> None:
    api.respond = lambda _: Reply(b"", 204)
    assert ask(api, "/v1/orders").body is None and api.asked[0].path == "/v1/orders"
    assert isinstance(api.asked[0], Asked)
