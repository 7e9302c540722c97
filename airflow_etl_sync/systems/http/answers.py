"""What an API answers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from typing import Any


@dataclass(frozen=True, slots=True)
class Answer:
    """What an API answered.

    :param body: of its JSON; fractions are decimals
    :param url: who answered, against which links are read
    :param next_link: its link (RFC 8288) to the next page
    :param clock: the API's, when it answered; None where it does not tell
    """

    body: Any
    url: str
    next_link: str | None
    clock: datetime | None


def value_at(body: Any, path: Iterable[str]) -> Any:
    """What is at a place in an answer.

    :raises LookupError: where there is nothing
    """
    for part in path:
        if isinstance(body, Mapping):
            body = body[part]
        elif isinstance(body, list) and part.lstrip("-").isdecimal():
            body = body[int(part)]
        else:
            raise LookupError
    return body


def seconds_of(retry_after: str | None) -> float | None:
    """What ``Retry-After`` says: a number of seconds, or a date (RFC 9110, 10.2.3)."""
    text = (retry_after or "").strip()
    if text.isascii() and text.isdecimal():
        return float(text[:9])
    until = date_of(text)
    return None if until is None else max(0.0, (until - datetime.now(timezone.utc)).total_seconds())


def date_of(text: str | None) -> datetime | None:
    """The moment of a header (RFC 9110, 5.6.7); None where it is none."""
    try:
        found = parsedate_to_datetime(text or "")
    except ValueError:
        return None
    return found.replace(tzinfo=timezone.utc) if found.tzinfo is None else found
