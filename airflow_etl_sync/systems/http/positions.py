"""The pages of a list by number or offset, made to overlap.

Where a record leaves the list, or moves to its end because it has changed, all behind it move up by one, and the first
of the next page stands on the page that has been read. So each page is asked for such that it must begin with a record
that is known. Where none of its records is, reading goes back until one is. What comes twice is merged once.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass, field

from airflow_etl_sync.errors import ConfigurationError, SourceError
from airflow_etl_sync.systems.http.columns import Record
from airflow_etl_sync.systems.http.failures import RefusedError
from airflow_etl_sync.systems.http.paging import Identify, Listing, Page, Place

log = logging.getLogger(__name__)

_STEPS_BACK = 20
"""After so many, reading begins anew."""

_MOST_BEGINNINGS = 10


def overlapping_pages(listing: Listing, after: Place, identify: Identify) -> Iterator[Page]:
    """The pages of a list, each with a record of the one before at least; those that are known are left out.

    :raises SourceError: where the list moves faster than it is read
    :raises ConfigurationError: where the API does not take the parameters
    """
    reading = _Reading(listing, identify, listing.pages.size)
    if after.get("row"):
        reading.next_row, reading.known = int(after["row"]) + 1, frozenset({str(after["known"])})
    while True:
        start, size, records = reading.ask()
        identities = [identify(record) for record in records]
        if start and reading.overlaps and reading.known.isdisjoint(identities):
            reading.go_back(start)
            continue
        if start:
            reading.refuse_repeated(identities)
        fresh = [record for record, each in zip(records, identities, strict=True) if each not in reading.known]
        if records:
            yield Page(fresh, {"row": start, "known": identities[0]})
        if reading.is_over(start, size, identities, has_fresh=bool(fresh)):
            return
        reading.note(start, identities, has_fresh=bool(fresh))


def counted_pages(listing: Listing, after: Place, identify: Identify) -> Iterator[Page]:
    """The pages of a list that nothing ever leaves or moves in, until one is empty.

    :raises ConfigurationError: where one page is like the one before
    """
    pages, last = listing.pages, list[str]()
    count = int(after.get("count", pages.base if pages.type == "page_number" else 0))
    while True:
        more = [(pages.param, str(count))]
        if pages.size_param and pages.size:
            more.append((pages.size_param, str(pages.size)))
        records = listing.records_of(listing.ask(more))
        identities = [identify(record) for record in records]
        if identities and identities == last:
            raise _not_taken(listing)
        if not records:
            return
        yield Page(records, {"count": count})
        count += 1 if pages.type == "page_number" else len(records)
        last = identities


def page_that_reaches(row: int, most: int) -> tuple[int, int]:
    """Which page of which size holds a row and reaches farthest behind it.

    :param row: from 0
    :param most: no page is larger
    :returns: the page's number, from 0, and its size
    """
    sizes = range(most, max(1, most // 2), -1) if row else (most,)
    size = max(sizes, key=lambda each: row // each * each + each)
    return row // size, size


@dataclass(slots=True)
class _Reading:
    """How far a list is read.

    :param most: how many records a page has at most, as far as the API has shown
    :param next_row: the place in the list from which on records are unread
    :param known: the records of the last page
    """

    listing: Listing
    identify: Identify
    most: int
    next_row: int = 0
    known: frozenset[str] = frozenset()
    first_page: list[str] = field(default_factory=list)
    steps_back: int = 0
    beginnings: int = 0

    @property
    def overlaps(self) -> bool:
        """Whether there is a record to overlap by: behind the only one of a list its page would be asked for again."""
        return self.next_row > 1

    def ask(self) -> tuple[int, int, list[Record]]:
        """A page with the last record that is read: where it starts, how many records it may have, and those it has."""
        row = self.next_row - 1 if self.overlaps else self.next_row
        pages = self.listing.pages
        if pages.type == "offset":
            number, start, size = row, row, pages.size
        else:
            page, size = page_that_reaches(row, self.most)
            number, start = page + pages.base, page * size
        return start, min(size, self.most), self._page(number, size)

    def _page(self, number: int, size: int) -> list[Record]:
        pages = self.listing.pages
        return self.listing.records_of(
            self.listing.ask([(pages.param, str(number)), (pages.size_param or "", str(size))])
        )

    def go_back(self, start: int) -> None:
        """Where no record of a page is known, look for one a page before; at the beginning none is needed."""
        self.steps_back += 1
        if self.steps_back > _STEPS_BACK or start < self.most:
            self.steps_back = 0
            self.beginnings += 1
            if self.beginnings > _MOST_BEGINNINGS:
                raise SourceError(
                    f"The list of {self.listing.endpoint.path!r} moves faster than it is read: try later."
                )
            log.info("The list of %r has moved: reading it from its beginning", self.listing.endpoint.path)
            self.next_row, self.known, self.first_page = 0, frozenset(), []
            return
        self.next_row = start - self.most + 2

    def refuse_repeated(self, identities: list[str]) -> None:
        """:raises ConfigurationError: where a later page is the first one, also when that is asked for again"""
        if not identities or identities != self.first_page[: len(identities)]:
            return
        row, self.next_row = self.next_row, 0
        _, _, records = self.ask()
        self.next_row = row
        if [self.identify(record) for record in records][: len(identities)] == identities:
            raise _not_taken(self.listing)

    def is_over(self, start: int, size: int, identities: list[str], *, has_fresh: bool) -> bool:
        """Whether the list ends with the page: it is not full, and all in it is known."""
        if start == 0 and len(identities) < size and self.listing.pages.type == "page_number":
            self._refuse_second(identities)
            return True
        return not identities or (not has_fresh and len(identities) < size)

    def _refuse_second(self, identities: list[str]) -> None:
        """:raises ConfigurationError: where another page follows a first one that is not full"""
        pages = self.listing.pages
        try:
            second = self._page(pages.base + 1, pages.size)
        except RefusedError:  # some APIs refuse a page that there is not
            return
        if not {self.identify(record) for record in second} <= set(identities):
            raise ConfigurationError(
                f"{self.listing.endpoint.path!r} gives {len(identities)} records a page, and endpoint.pages asks for "
                f"{pages.size}: ask for as many as it gives."
            )

    def note(self, start: int, identities: list[str], *, has_fresh: bool) -> None:
        """Go on behind a page; what is only known of it keeps what was known."""
        if start == 0:
            self.first_page = identities
            self.most = max(2, min(self.most, len(identities)))  # the API may give no more than that
        self.next_row = start + len(identities)
        self.known = frozenset(identities) | (frozenset() if has_fresh else self.known)


def _not_taken(listing: Listing) -> ConfigurationError:
    pages = listing.pages
    return ConfigurationError(
        f"{listing.endpoint.path!r} gives the same page whatever {pages.param!r} says: correct endpoint.pages."
    )
