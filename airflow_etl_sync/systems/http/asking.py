"""One question to an API: asked again while it is not ready, and never passed on to another host."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterable
from decimal import Decimal
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urljoin, urlsplit

from airflow_etl_sync.errors import ConfigurationError, EtlSyncError, SourceError
from airflow_etl_sync.systems.http.access import HttpAccess, Origin
from airflow_etl_sync.systems.http.answers import Answer, date_of, seconds_of
from airflow_etl_sync.systems.http.failures import Failures, LaterError, RefusedError

if TYPE_CHECKING:
    from requests import Response
    from tenacity import RetryCallState
    from typing_extensions import Self

log = logging.getLogger(__name__)

FIRST_WAIT_SECONDS, LONGEST_WAIT_SECONDS = 0.5, 60.0
_LATER = frozenset({408, 425, 429})
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_MOST_REDIRECTS = 5
_PIECE_BYTES = 256 * 1024


class Client:
    """Asks an API.

    :param doing: what for, to begin an error's sentence with ("read the stream 'orders'")
    :param headers: of each request, beside those of the connection
    """

    def __init__(self, access: HttpAccess, doing: str, headers: Iterable[tuple[str, str]] = ()) -> None:
        self._access = access
        self._doing = doing
        self._session = access.session()
        self._session.headers.update({**dict(headers), **access.headers})

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._session.close()

    def get(self, url: str, params: Iterable[tuple[str, str]] = ()) -> Answer:
        """Ask until it answers, or the connection's patience is over.

        :raises SourceError: where it did not answer
        :raises RefusedError: where it refuses
        :raises ConfigurationError: where the way leads to another host, or the answer is no JSON
        """
        from tenacity import Retrying, retry_if_exception_type, stop_before_delay

        attempts = Retrying(
            retry=retry_if_exception_type(LaterError),
            stop=stop_before_delay(self._access.patience_seconds),
            wait=_pause,
            before_sleep=self._tell,
            reraise=True,
        )
        try:
            return attempts(self._ask, url, list(params))
        except LaterError as error:
            failed = SourceError(str(error))
        except EtlSyncError as error:
            error.__context__ = None
            raise
        raise failed  # out here it has no context, which would quote the address

    def follow(self, answer: Answer, link: str) -> str:
        """The address that a link in an answer leads to.

        :raises ConfigurationError: where that is another host: what is the connection's stays with its host
        """
        try:
            url = urljoin(answer.url, link)
            here, there = self._access.origin, Origin.of(url)
        except ValueError:
            raise self._unfit("it gives a link that is no address") from None
        if (there.scheme, there.port) == ("http", 80) and here == ("https", there.host, 443):
            return f"https{url[4:]}"  # as APIs write it that do not know of the TLS before them
        if here != there:
            raise self._unfit(
                f"it leads on to {there}, and the connection's login is for {here} only: correct the connection's host"
            )
        return url

    def _ask(self, url: str, params: list[tuple[str, str]]) -> Answer:
        for _ in range(_MOST_REDIRECTS + 1):
            with self._send(url, params) as response:
                if response.status_code not in _REDIRECTS:
                    return self._answer_of(response)
                location, params = response.headers.get("Location"), []
                here = Answer(None, response.url, None, None)
            if not location:
                break
            url = self.follow(here, location)
        raise self._unfit("it sends the request around in circles")

    def _send(self, url: str, params: list[tuple[str, str]]) -> Response:
        from requests import Request

        given = {name for name, _ in [*params, *parse_qsl(urlsplit(url).query)]}
        params = [*params, *((name, value) for name, value in self._access.params.items() if name not in given)]
        with Failures(self._what):
            request = self._session.prepare_request(Request("GET", url, params=params))
            settings = self._session.merge_environment_settings(
                request.url or url, {}, stream=True, verify=None, cert=None
            )
            return self._session.send(request, timeout=self._access.timeout, allow_redirects=False, **settings)

    def _answer_of(self, response: Response) -> Answer:
        self._refuse_failed(response)
        with Failures(self._what):
            content = self._content_of(response)
        return Answer(
            body=self._parse(response, content) if response.status_code != 204 else None,
            url=response.url,
            next_link=response.links.get("next", {}).get("url"),
            clock=date_of(response.headers.get("Date")),
        )

    def _content_of(self, response: Response) -> bytes:
        content, until = bytearray(), time.monotonic() + self._access.answer_seconds
        while piece := response.raw.read1(_PIECE_BYTES, decode_content=True):  # what is there, however little
            content += piece
            if len(content) > self._access.most_bytes:
                raise self._unfit(f"an answer has more than {self._access.most_bytes} bytes: ask for smaller pages")
            if time.monotonic() > until:
                raise LaterError(f"{self._what}: its answer takes longer than {self._access.answer_seconds:g} s.")
        return bytes(content)

    def _parse(self, response: Response, content: bytes) -> Any:
        try:
            return json.loads(content, parse_float=Decimal, parse_constant=_refuse_constant)
        except (ValueError, RecursionError):
            told = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
            if told.endswith("json"):
                raise LaterError(f"{self._what}: its JSON is broken off, or none.") from None
            is_told = all(32 < ord(sign) < 127 for sign in told) and len(told) < 50
            raise self._unfit(
                f"it answers with {told if told and is_told else 'something'} where JSON was expected: correct the "
                "path, or the connection's host or login"
            ) from None

    def _refuse_failed(self, response: Response) -> None:
        status = response.status_code
        if 200 <= status < 300:
            return
        seconds = seconds_of(response.headers.get("Retry-After"))
        is_limited = status == 403 and (seconds is not None or response.headers.get("X-RateLimit-Remaining") == "0")
        if status in _LATER or status >= 500 or is_limited:
            raise LaterError(f"{self._what}: it is not ready (status {status}).", seconds)
        told = {401: "it does not know the login", 403: "it does not let this login read", 404: "it has no such path"}
        advice = "correct the connection" if status in (401, 403) else "correct the endpoint"
        raise RefusedError(
            f"{self._what}: {told.get(status, 'it refuses the request')} (status {status}): {advice}.", status
        )

    @property
    def _what(self) -> str:
        return f"Could not {self._doing} from {self._access.origin}"

    def _unfit(self, why: str) -> ConfigurationError:
        return ConfigurationError(f"{self._what}: {why}.")

    def _tell(self, attempt: RetryCallState) -> None:
        error = attempt.outcome.exception() if attempt.outcome else None
        log.info("%s Attempt %d, trying again in %.1f s", error, attempt.attempt_number, attempt.upcoming_sleep)


def _pause(attempt: RetryCallState) -> float:
    """What the API asks for, else twice as long each time."""
    from tenacity import wait_exponential, wait_random

    error = attempt.outcome.exception() if attempt.outcome else None
    if isinstance(error, LaterError) and error.seconds is not None:
        return error.seconds
    waits = wait_exponential(FIRST_WAIT_SECONDS, LONGEST_WAIT_SECONDS) + wait_random(0, FIRST_WAIT_SECONDS)
    return float(waits(attempt))


def _refuse_constant(name: str) -> None:
    raise ValueError(name)
