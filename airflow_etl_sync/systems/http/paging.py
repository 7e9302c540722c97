"""The pages of a list, one after another, where the API itself says which one is next."""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn
from urllib.parse import parse_qsl, urlsplit

from airflow_etl_sync.core.endpoint import Endpoint, Pages
from airflow_etl_sync.errors import ConfigurationError, DataError, SourceError
from airflow_etl_sync.systems.http.answers import Answer, value_at
from airflow_etl_sync.systems.http.asking import Client
from airflow_etl_sync.systems.http.columns import Record, flattened
from airflow_etl_sync.systems.http.failures import RefusedError

log = logging.getLogger(__name__)

MOST_EMPTY = 100
"""So many pages without a record, one after another, are no list that comes to an end."""

_FORGOTTEN = re.compile(r"next|has_?more", re.IGNORECASE)
_TOKEN_REFUSED = (400, 404, 410, 422)

Place = Mapping[str, Any]
"""Where a page can be had again, as JSON; empty where only the whole list can."""

Identify = Callable[[Record], str]
"""Tells a version of a record by its key and cursor."""


@dataclass(frozen=True, slots=True)
class Page:
    """Some records of a list.

    :param place: where reading goes on to have these, and those behind them
    """

    records: Sequence[Record]
    place: Place


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """The list that is read.

    :param url: where it is asked for
    :param params: with what, those of the pages aside
    """

    client: Client
    endpoint: Endpoint
    url: str
    params: tuple[tuple[str, str], ...]

    @property
    def pages(self) -> Pages:
        return self.endpoint.pages

    def ask(self, more: Sequence[tuple[str, str]] = (), link: str | None = None) -> Answer:
        """:param link: asked in place of the list's own address and parameters"""
        if link is not None:
            return self.client.get(link)
        own = {name for name, _ in more}
        return self.client.get(self.url, [*(pair for pair in self.params if pair[0] not in own), *more])

    def records_of(self, answer: Answer) -> list[Record]:
        """The records of an answer.

        :raises ConfigurationError: where its list is not where the endpoint says
        """
        found = answer.body
        if self.endpoint.records is not None and found is not None:
            try:
                found = value_at(found, self.endpoint.records)
            except LookupError:
                self._refuse_place(answer.body)
        if found is None:
            self._refuse_error(answer.body)
            return []
        if not isinstance(found, list):
            self._refuse_place(answer.body)
        if not all(isinstance(record, dict) for record in found):
            raise DataError("The API's list holds what is no record (a JSON object): choose another list in records.")
        return [flattened(record) for record in found] if self.endpoint.flatten else found

    def _refuse_place(self, body: Any) -> NoReturn:
        found = f"the keys {', '.join(map(str, list(body)[:20]))}" if isinstance(body, dict) else "a list"
        where = ".".join(self.endpoint.records or ())
        said = f"has no list at {where!r}" if where else "is no list"
        raise ConfigurationError(
            f"The answer of {self.endpoint.path!r} {said}, it has {found}: say in endpoint.records where the list is."
        )

    def _refuse_error(self, body: Any) -> None:
        if isinstance(body, dict) and (body.get("error") or body.get("errors")):
            raise SourceError(f"The answer of {self.endpoint.path!r} has no records, and tells of an error.")


def linked_pages(listing: Listing, after: Place, identify: Identify) -> Iterator[Page]:
    """The pages of a list by token or link; see :mod:`~airflow_etl_sync.systems.http.positions` for those by number.

    A token is where reading may go on; a link may hold credentials, and is kept nowhere.

    :raises SourceError: where the list does not come to an end
    """
    token, link = after.get("token"), None
    guard = _Guard(listing.endpoint)
    while True:
        answer = _ask(listing, token, link, is_resumed=token is not None and token == after.get("token"))
        if answer is None:  # the token is not known any more
            token = None
            continue
        records = listing.records_of(answer)
        yield Page(records, {"token": token} if token is not None else {})
        if not listing.pages.is_said:
            _refuse_forgotten(listing, answer)
        following = _next_of(listing, answer)
        if following is None or not guard.admits(following, [identify(record) for record in records]):
            return
        if listing.pages.type == "cursor":
            token = following
        else:
            link = listing.client.follow(answer, following)
            guard.warn_of_counting(link)


def _ask(listing: Listing, token: str | None, link: str | None, *, is_resumed: bool) -> Answer | None:
    if token is None or link is not None:
        return listing.ask(link=link)
    try:
        return listing.ask([(listing.pages.param, token)])
    except RefusedError as error:
        if not is_resumed or error.status not in _TOKEN_REFUSED:
            raise
        log.info("%r does not take up its token any more: reading the list from its beginning", listing.endpoint.path)
        return None


def _next_of(listing: Listing, answer: Answer) -> str | None:
    """The token, or the link, of the next page; None behind the last."""
    pages = listing.pages
    if pages.type == "single_page":
        return None
    if pages.type == "header_link":
        return answer.next_link
    if pages.more_path is not None and not _found(answer.body, pages.more_path):
        return None
    following = _found(answer.body, pages.path)
    if following in (None, "", False):
        return None
    if not isinstance(following, (str, int)):
        raise ConfigurationError(
            f"The answer of {listing.endpoint.path!r} has at {'.'.join(pages.path)!r} neither a text nor a number: "
            "correct endpoint.pages."
        )
    return str(following)


def _found(body: Any, path: Sequence[str]) -> Any:
    try:
        return value_at(body, path)
    except LookupError:
        return None


def _refuse_forgotten(listing: Listing, answer: Answer) -> None:
    """Stop where an answer speaks of a next page, and nobody has said how it is asked for."""
    body = answer.body if isinstance(answer.body, dict) else {}
    inside = [
        (f"{key}.{name}", each)
        for key, value in body.items()
        if isinstance(value, dict)
        for name, each in value.items()
    ]
    told = next((name for name, value in [*body.items(), *inside] if value and _is_of_paging(name)), None)
    if told is not None and answer.next_link is None:
        raise ConfigurationError(
            f"The answer of {listing.endpoint.path!r} tells of more pages in {told!r}: say in endpoint.pages how they "
            "are asked for, or single_page."
        )


def _is_of_paging(name: str) -> bool:
    return _FORGOTTEN.match(name.rpartition(".")[2]) is not None


class _Guard:
    """Sees to it that a list comes to an end."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._seen: set[bytes] = set()
        self._last: list[str] = []
        self._empty = 0
        self._is_warned = False

    def admits(self, following: str, identities: list[str]) -> bool:
        """Whether the page behind a token or link is to be asked for.

        :raises SourceError: where pages go around in a circle, or on without a record
        """
        mark = hashlib.sha256(following.encode(errors="replace")).digest()
        if mark in self._seen:
            if not identities:  # the token of the end stays what it is
                return False
            self._refuse("leads back to pages that it has given")
        if identities and identities == self._last:
            self._refuse("gives the same page again and again")
        self._empty = 0 if identities else self._empty + 1
        if self._empty >= MOST_EMPTY:
            self._refuse(f"gives page after page ({MOST_EMPTY} by now) without a record")
        self._seen.add(mark)
        self._last = identities
        return True

    def warn_of_counting(self, link: str) -> None:
        """Tell once of links that do nothing but count pages: what leaves the list meanwhile moves the others."""
        names = {name for name, value in parse_qsl(urlsplit(link).query) if value.isdecimal()}
        counting = names & {"page", "offset", "start", "skip", "page[number]", "page[offset]"}
        if counting and not self._is_warned:
            self._is_warned = True
            log.warning(
                "The links of %r count pages (%s): a record may be passed over where others leave the list meanwhile. "
                "Pages of type page_number or offset are made to overlap, so that none is.",
                self._endpoint.path, ", ".join(sorted(counting)),
            )  # fmt: skip

    def _refuse(self, what: str) -> NoReturn:
        raise SourceError(
            f"{self._endpoint.path!r} {what}: correct endpoint.pages, or ask the API's owner.", is_retryable=False
        )
