"""An endpoint of an HTTP API as a stream: what is asked for, where the records are, and how the list is paged."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NoReturn, cast, get_args

from airflow_etl_sync.errors import ConfigurationError

PageType = Literal["single_page", "page_number", "offset", "cursor", "json_link", "header_link"]
Path = tuple[str, ...]
"""Where a value is in an answer: keys of mappings, and places in lists."""

Pairs = tuple[tuple[str, str], ...]
_FROM_CONNECTION = frozenset({"authorization", "proxy-authorization", "cookie"})
_LEAST_NUMBERED = 20
"""Numbered pages overlap by being of different sizes; of fewer sizes than these, all may end at one place."""

_FORMATS = ("iso", "date", "epoch", "epoch_ms")


@dataclass(frozen=True, slots=True, kw_only=True)
class Pages:
    """How a list is paged.

    :param type: ``page_number`` and ``offset`` count; ``cursor`` is a token in the answer; ``json_link`` and
        ``header_link`` (RFC 8288) are links to the next page; ``single_page`` is the whole list
    :param param: the query parameter of the page's number, of the offset, or of the token
    :param size_param: the one that says how many records a page has
    :param size: how many records to ask for in a page
    :param base: the number of the first page
    :param path: where in the answer the token, or the link, is
    :param more_path: where the answer says whether there are more pages; where it says no, the token is not followed
    :param overlap: whether counted pages overlap by a record, so that none is passed over where others leave the list
        meanwhile
    :param is_said: whether the author has chosen the type
    """

    type: PageType = "header_link"
    param: str = ""
    size_param: str | None = None
    size: int = 0
    base: int = 1
    path: Path = ()
    more_path: Path | None = None
    overlap: bool = True
    is_said: bool = True

    @classmethod
    def parse(cls, given: object) -> Pages:
        """Read ``"cursor"`` or ``{"type": "cursor", "cursor_param": "after", ...}``.

        :raises ConfigurationError: naming the key that is wrong
        """
        if given is None:
            return cls(is_said=False)
        terms = {"type": given} if isinstance(given, str) else given
        if not isinstance(terms, Mapping):
            _refuse("pages", "a mapping, or the name of a type")
        type_ = terms.get("type")
        if type_ not in get_args(PageType):
            _refuse("pages.type", f"one of {', '.join(get_args(PageType))}")
        known = {"type": "type", **_PAGE_KEYS[cast("PageType", type_)]}
        _refuse_unknown("pages", terms, known)
        read = {known[key]: _READ_PAGE_TERM[known[key]](f"pages.{key}", value) for key, value in terms.items()}
        pages = cls(**{**_PAGE_DEFAULTS.get(str(type_), {}), **read})
        pages._refuse_sizeless()
        return pages

    def _refuse_sizeless(self) -> None:
        if self.type == "offset" and not self.size:
            raise ConfigurationError("endpoint.pages.limit is missing: say how many records a page has.")
        if self.type == "page_number" and self.overlap and not (self.size_param and self.size):
            raise ConfigurationError(
                "endpoint.pages.size_param and size are missing: by them pages are made to overlap, so that no record "
                "is passed over where others leave the list meanwhile. Where none ever does, say overlap: false."
            )
        least = {"page_number": _LEAST_NUMBERED, "offset": 2}.get(self.type, 0)
        if self.overlap and self.size < least:
            raise ConfigurationError(
                f"endpoint.pages asks for less than {least} records a page: pages would not overlap."
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """What is asked of an API.

    :param path: behind the connection's host
    :param params: query parameters, those of pages and window aside
    :param headers: of each request; authentication is the connection's
    :param records: where in the answer the list of records is; None where the answer is the list
    :param start_param: the query parameter that takes where the window begins; without one every run reads all, and
        keeps what is in its window
    :param end_param: the one that takes the end of a backfill
    :param cursor_format: how a time is written there: ``iso``, ``date``, ``epoch``, ``epoch_ms``, or a pattern of
        ``strftime`` such as ``%Y-%m-%dT%H:%M:%SZ``
    :param column_types: PostgreSQL's types of columns, by name; the others are told from the first records
    :param flatten: whether a mapping inside of a record becomes columns (``customer__id``), and not one of JSON
    """

    path: str
    params: Pairs = ()
    headers: Pairs = ()
    records: Path | None = None
    pages: Pages = field(default_factory=lambda: Pages(is_said=False))
    start_param: str | None = None
    end_param: str | None = None
    cursor_format: str = "iso"
    column_types: Pairs = ()
    flatten: bool = False

    @classmethod
    def parse(cls, given: object) -> Endpoint:
        """Read a path, or a mapping that has one.

        :raises ConfigurationError: naming the key that is wrong
        """
        terms = {"path": given} if isinstance(given, str) else given
        if not isinstance(terms, Mapping):
            raise ConfigurationError("endpoint must be a path, or a mapping that has one.")
        _refuse_unknown("", terms, _READ)
        if not terms.get("path"):
            raise ConfigurationError("endpoint.path is missing: say what is read, such as /v1/orders.")
        return cls(**{key: _READ[key](key, value) for key, value in terms.items() if value is not None})


def _refuse(key: str, wanted: str) -> NoReturn:
    raise ConfigurationError(f"endpoint.{key} must be {wanted}.")


def _refuse_unknown(where: str, terms: Mapping[Any, Any], known: Mapping[str, Any]) -> None:
    strange = next((str(key) for key in terms if key not in known), None)
    if strange is not None:
        name = f"endpoint.{where}".rstrip(".")
        raise ConfigurationError(f"{name} has no key {strange!r}: use {', '.join(known)}.")


def _text(key: str, value: object) -> str:
    if not isinstance(value, str) or not value.strip() or re.search(r"[\0\r\n]", value):
        _refuse(key, "a text in one line that is not empty")
    return value.strip()


def _path(key: str, value: object) -> str:
    text = _text(key, value)
    if "://" in text or text.startswith("//") or re.search(r"[?#\\\s]", text):
        _refuse(key, "a path on the connection's host, such as /v1/orders, with its query in params")
    return text


def _count(key: str, value: object) -> int:
    if isinstance(value, bool) or re.fullmatch(r"[1-9]\d{0,8}", str(value), re.ASCII) is None:
        _refuse(key, "a whole number of at least 1")
    return int(str(value))


def _base(key: str, value: object) -> int:
    if isinstance(value, bool) or str(value) not in ("0", "1"):
        _refuse(key, "0 or 1")
    return int(str(value))


def _flag(key: str, value: object) -> bool:
    word = str(value).strip().lower()
    if word not in ("true", "false"):
        _refuse(key, "true or false")
    return word == "true"


def _place(key: str, value: object) -> Path:
    parts = value.split(".") if isinstance(value, str) else value
    if not isinstance(parts, Sequence) or not parts or not all(isinstance(part, str) and part for part in parts):
        _refuse(key, "where in the answer it is, such as data.items, or a list of keys")
    return tuple(parts)


def _scalar(key: str, value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if not isinstance(value, (str, int, float)):
        _refuse(key, "a text or a number")
    return str(value)


def _params(key: str, value: object) -> Pairs:
    pairs: list[tuple[str, str]] = []
    for name, each in _mapping(key, value).items():
        values = each if isinstance(each, list) else [each]
        pairs += [(name, _scalar(f"{key}.{name}", one)) for one in values]
    return tuple(pairs)


def _headers(key: str, value: object) -> Pairs:
    headers = _mapping(key, value)
    secret = next((name for name in headers if name.lower() in _FROM_CONNECTION), None)
    if secret is not None:
        raise ConfigurationError(
            f"endpoint.headers has {secret!r}: authentication is the connection's, in its login, or in its extras."
        )
    if not all(re.fullmatch(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", name) for name in headers):
        _refuse(key, "a mapping of names of headers to texts")
    return tuple((name, _text(f"{key}.{name}", _scalar(f"{key}.{name}", each))) for name, each in headers.items())


def _types(key: str, value: object) -> Pairs:
    return tuple((name, _text(f"{key}.{name}", each)) for name, each in _mapping(key, value).items())


def _format(key: str, value: object) -> str:
    text = _text(key, value)
    if text not in _FORMATS and "%" not in text:
        _refuse(key, f"one of {', '.join(_FORMATS)}, or a pattern of strftime")
    return text


def _mapping(key: str, value: object) -> Mapping[str, Any]:
    if not isinstance(value, Mapping) or not all(isinstance(name, str) and name for name in value):
        _refuse(key, "a mapping of names to values")
    return value


_READ: dict[str, Any] = {
    "path": _path,
    "params": _params,
    "headers": _headers,
    "records": _place,
    "pages": lambda _, value: Pages.parse(value),
    "start_param": _text,
    "end_param": _text,
    "cursor_format": _format,
    "column_types": _types,
    "flatten": _flag,
}
_READ_PAGE_TERM: dict[str, Any] = {
    "type": lambda _, value: value,
    "param": _text,
    "size_param": _text,
    "size": _count,
    "base": _base,
    "path": _place,
    "more_path": _place,
    "overlap": _flag,
}
_PAGE_KEYS: dict[PageType, dict[str, str]] = {
    "single_page": {},
    "page_number": {
        "page_param": "param", "size_param": "size_param", "size": "size", "base_page": "base", "overlap": "overlap",
    },
    "offset": {"offset_param": "param", "limit_param": "size_param", "limit": "size", "overlap": "overlap"},
    "cursor": {"cursor_param": "param", "cursor_path": "path", "more_path": "more_path"},
    "json_link": {"next_url_path": "path"},
    "header_link": {},
}  # fmt: skip
"""What each type takes, in the words of others that page APIs, and what it is here."""

_PAGE_DEFAULTS: dict[str, dict[str, Any]] = {
    "page_number": {"param": "page"},
    "offset": {"param": "offset", "size_param": "limit"},
    "cursor": {"param": "cursor", "path": ("next_cursor",)},
    "json_link": {"path": ("next",)},
}
