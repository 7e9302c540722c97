"""Which type a column gets in a new table, told from its first values; the type of one that is there decides itself.

Values themselves stay the texts that they are in the file. So a number is told only from texts that a number would be
written as: ``007`` is none, and neither is ``1e5``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, Literal

from airflow_etl_sync.systems.database import moments
from airflow_etl_sync.systems.files.json_lines import Number

ROWS = 1_000
"""So many rows of a file are looked at."""

Kind = Literal["integer", "decimal", "boolean", "date", "timestamp", "timestamptz", "json", "text"]
_INTEGER = re.compile(r"-?(0|[1-9]\d*)", re.ASCII)
_DECIMAL = re.compile(r"-?(0|[1-9]\d*)\.\d+([eE][+-]?\d+)?", re.ASCII)
_DAY = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
_MOST_OF_BIGINT = 2**63
_TOGETHER: tuple[tuple[frozenset[Kind], str], ...] = (
    (frozenset(), "text"),
    (frozenset({"integer"}), "bigint"),
    (frozenset({"integer", "decimal"}), "numeric"),
    (frozenset({"boolean"}), "boolean"),
    (frozenset({"date"}), "date"),
    (frozenset({"date", "timestamp"}), "timestamp without time zone"),
    (frozenset({"timestamptz"}), "timestamp with time zone"),
)


def kinds_of_texts(values: Iterable[str | None]) -> frozenset[Kind]:
    """The kinds of a column of CSV."""
    return frozenset(_kind_of_text(value) for value in values if value is not None)


def kinds_of_json(values: Iterable[Any]) -> frozenset[Kind]:
    """The kinds of a field of JSON, in which a number in quotes is a text."""
    return frozenset(_kind_of_json(value) for value in values if value is not None)


def told_type(kinds: frozenset[Kind]) -> str:
    """PostgreSQL's type for a column that holds values of some kinds; one that is NULL so far is a text."""
    if "json" in kinds:
        return "jsonb"
    return next((type_ for together, type_ in _TOGETHER if kinds <= together), "text")


def _kind_of_text(text: str) -> Kind:
    return _number(text) or ("boolean" if text in ("true", "false") else _time(text))


def _kind_of_json(value: Any) -> Kind:
    if isinstance(value, Number):
        return _number(value) or "decimal"
    if isinstance(value, str):
        return _time(value)
    return "boolean" if isinstance(value, bool) else "json"


def _number(text: str) -> Kind | None:
    if _INTEGER.fullmatch(text):
        return "integer" if len(text) < 19 or -_MOST_OF_BIGINT <= int(text) < _MOST_OF_BIGINT else "decimal"
    return "decimal" if _DECIMAL.fullmatch(text) else None


def _time(text: str) -> Kind:
    try:
        moment = moments.parse(text)
    except ValueError:
        return "text"
    if _DAY.fullmatch(text):
        return "date"
    return "timestamptz" if moment.tzinfo else "timestamp"
