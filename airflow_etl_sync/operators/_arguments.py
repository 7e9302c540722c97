"""What a templated argument means.

Jinja hands an operator text, whatever the author of the DAG wrote: ``full_refresh`` arrives as ``"True"``,
a ``lag`` as ``"0:05:00"``, a missing value as ``"None"`` or ``""``. Each function here takes what Jinja
gives as well as the plain Python value, and refuses everything else by the parameter's name.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import Any, NoReturn, cast

from airflow_etl_sync.core.endpoint import Endpoint
from airflow_etl_sync.core.model import TableName
from airflow_etl_sync.errors import ConfigurationError

_ABSENT = ("", "none", "null")
_YES, _NO = ("true", "1", "yes", "on"), ("false", "0", "no", "off")
_NUMBER = re.compile(r"-?\d+", re.ASCII)
_ISO_DURATION = re.compile(
    r"P(?=.)(?:(?P<weeks>\d+)W)?(?:(?P<days>\d+)D)?"
    r"(?:T(?=.)(?:(?P<hours>\d+)H)?(?:(?P<minutes>\d+)M)?(?:(?P<seconds>\d+(?:\.\d+)?)S)?)?",
    re.IGNORECASE,
)
_CLOCK_DURATION = re.compile(
    r"(?:(?P<days>\d+) days?, )?(?P<hours>\d+):(?P<minutes>\d{2}):(?P<seconds>\d{2}(?:\.\d+)?)"
)


def is_absent(value: object) -> bool:
    """Say whether nothing was given: None, or what Jinja makes of None and of an undefined name."""
    return value is None or (isinstance(value, str) and value.strip().lower() in _ABSENT)


def as_text(name: str, value: object) -> str:
    """Take a text that must be there, without the blanks around it.

    :raises ConfigurationError: where it is missing or no text
    """
    text = as_optional_text(name, value)
    return text if text is not None else _refuse(name, value, "a text that is not empty")


def as_optional_text(name: str, value: object) -> str | None:
    """Take a text, or None where nothing was given.

    :raises ConfigurationError: where it is no text
    """
    if is_absent(value):
        return None
    return value.strip() if isinstance(value, str) else _refuse(name, value, "a text")


def as_flag(name: str, value: object, *, default: bool = False) -> bool:
    """Take a yes or no: a bool, or true/false, yes/no, on/off, 1/0 in any case.

    :raises ConfigurationError: where it is neither
    """
    if is_absent(value):
        return default
    word = str(value).strip().lower()
    if word not in _YES + _NO:
        _refuse(name, value, "true or false")
    return word in _YES


def as_count(name: str, value: object) -> int:
    """Take a whole number of at least 1.

    :raises ConfigurationError: where it is none
    """
    text = "" if isinstance(value, bool) else str(value).strip()
    if re.fullmatch(r"\d+", text, re.ASCII) is None or int(text) < 1:
        _refuse(name, value, "a whole number of at least 1")
    return int(text)


def as_optional_number(name: str, value: object) -> int | None:
    """Take a whole number that is not negative, or None where nothing was given.

    :raises ConfigurationError: where it is none
    """
    if is_absent(value):
        return None
    text = "" if isinstance(value, bool) else str(value).strip()
    return int(text) if re.fullmatch(r"\d+", text, re.ASCII) else _refuse(name, value, "a whole number, not negative")


def as_percent(name: str, value: object) -> float | None:
    """Take a share in per cent, from 0 to 100, or None where nothing was given.

    :raises ConfigurationError: where it is none
    """
    if is_absent(value):
        return None
    text = "" if isinstance(value, bool) else str(value).strip()
    if re.fullmatch(r"\d+(\.\d+)?", text, re.ASCII) is None or not 0 <= float(text) <= 100:
        _refuse(name, value, "a number from 0 to 100")
    return float(text)


def as_seconds(name: str, value: object, *, least: float = 0) -> float:
    """Take a number of seconds, such as 5 or 0.5.

    :raises ConfigurationError: where it is none, or less than ``least``
    """
    text = "" if isinstance(value, bool) else str(value).strip()
    if re.fullmatch(r"\d+(\.\d+)?", text, re.ASCII) is None or float(text) < least:
        _refuse(name, value, f"a number of seconds of at least {least:g}")
    return float(text)


def as_names(name: str, value: object) -> tuple[str, ...]:
    """Take column names: a list, or a comma-separated text, or the text that Jinja makes of a list.

    A name that itself holds a comma can only be given in a list.

    :raises ConfigurationError: where one of them is empty, given twice, or no text
    """
    if is_absent(value):
        return ()
    names = _listed(value) if isinstance(value, str) else value
    if not isinstance(names, Sequence):
        _refuse(name, value, "a list of column names")
    if not all(isinstance(each, str) and each for each in names) or len(set(names)) < len(names):
        _refuse(name, value, "a list of column names, none empty and none given twice")
    return tuple(names)


def as_tables(name: str, value: object) -> tuple[TableName, ...]:
    """Take tables: a list, or a comma-separated text, or the text that Jinja makes of a list; none where none is given.

    A name that itself holds a comma can only be given in a list.

    :raises ConfigurationError: where one of them is no table's name, or given twice
    """
    if is_absent(value):
        return ()
    names = _listed(value) if isinstance(value, str) else value
    if not isinstance(names, Sequence) or not all(isinstance(each, str) for each in names):
        _refuse(name, value, "a list of tables")
    tables = tuple(TableName.parse(each) for each in names)
    return tables if len(set(tables)) == len(tables) else _refuse(name, value, "a list of tables, none given twice")


def as_table_map(name: str, value: object) -> dict[TableName, TableName]:
    """Take a mapping of tables to tables, or the text that Jinja or JSON makes of one; empty where none is given.

    :raises ConfigurationError: where it is none, or holds what is no table's name
    """
    if is_absent(value):
        return {}
    pairs = (_json_or_none(value) or _literal(value.strip())) if isinstance(value, str) else value
    if not isinstance(pairs, Mapping) or not all(isinstance(part, str) for pair in pairs.items() for part in pair):
        _refuse(name, value, "a mapping of tables to tables")
    return {TableName.parse(source): TableName.parse(target) for source, target in pairs.items()}


def as_text_map(name: str, value: object) -> dict[str, str]:
    """Take a mapping of texts to texts, or the text that Jinja or JSON makes of one; empty where none is given.

    :raises ConfigurationError: where it is none, or holds what is no text or an empty one
    """
    if is_absent(value):
        return {}
    pairs = (_json_or_none(value) or _literal(value.strip())) if isinstance(value, str) else value
    if not isinstance(pairs, Mapping) or not all(
        isinstance(part, str) and part for pair in pairs.items() for part in pair
    ):
        _refuse(name, value, "a mapping of names to texts")
    return dict(pairs)


def as_endpoint(name: str, value: object) -> Endpoint | None:
    """Take an endpoint of an API: a path, a mapping, or the text that Jinja or JSON makes of one; None where none is.

    :raises ConfigurationError: where it is none, naming the key that is wrong
    """
    if is_absent(value):
        return None
    if isinstance(value, str) and value.strip().startswith("{"):
        value = _json_or_none(value) or _literal(value.strip()) or _refuse(name, value, "a mapping", shown=False)
    return Endpoint.parse(value)


def as_options(name: str, value: object) -> dict[str, Any]:
    """Take a mapping of options, or the text that Jinja or JSON makes of one; empty where none is given.

    :raises ConfigurationError: where it is none
    """
    if is_absent(value):
        return {}
    options = (_json_or_none(value) or _literal(value.strip())) if isinstance(value, str) else value
    if not isinstance(options, Mapping):
        _refuse(name, value, "a mapping of options to values")
    return dict(options)


def as_lag(name: str, value: object) -> timedelta | int:
    """Take how far a watermark stays behind.

    A ``timedelta``, an ISO 8601 duration (``PT5M``, ``P1DT12H``) or ``5:00:00`` is a duration, for cursors
    that are times. A whole number is one of ids, for cursors that are numbers.

    :raises ConfigurationError: where it is negative or none of these
    """
    if is_absent(value):
        return timedelta(0)
    lag = value if isinstance(value, timedelta) else _lag_from_text(str(value).strip())
    if lag is None or _is_negative(lag):
        _refuse(name, value, "a duration such as PT5M, or for a numeric cursor a whole number, not negative")
    return lag


def as_cursor_text(name: str, value: object) -> str | None:
    """Take a bound of a window: a text, a number, a date or a moment; None where nothing was given.

    :raises ConfigurationError: where it is none of these
    """
    if is_absent(value):
        return None
    if isinstance(value, (datetime, date)):
        return value.isoformat()
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        _refuse(name, value, "a text, a number, a date or a moment")
    return str(value).strip()


def as_extraction(name: str, value: object) -> Any:
    """Take what an extract returned, also where ``| tojson`` wrote it into a template.

    :raises ConfigurationError: where it is no extraction
    """
    content = _json_or_none(value) if isinstance(value, str) else value
    if not isinstance(content, (Mapping, Sequence)) or isinstance(content, str) or not content:
        _refuse(name, value, "what an IncrementalExtractOperator returned (extract.output)", shown=False)
    return content


def _listed(text: str) -> object:
    if text.strip().startswith("["):
        return _literal(text.strip())
    return [each.strip() for each in text.split(",")]


def _literal(text: str) -> object:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return None


def _json_or_none(text: str) -> object:
    try:
        return cast("object", json.loads(text))
    except ValueError:
        return None


def _lag_from_text(text: str) -> timedelta | int | None:
    if _NUMBER.fullmatch(text):
        return int(text)
    match = _ISO_DURATION.fullmatch(text) or _CLOCK_DURATION.fullmatch(text)
    if match is None:
        return None
    return timedelta(**{unit: float(count) for unit, count in match.groupdict().items() if count})


def _is_negative(lag: timedelta | int) -> bool:
    return lag < timedelta(0) if isinstance(lag, timedelta) else lag < 0


def _refuse(name: str, value: object, wanted: str, *, shown: bool = True) -> NoReturn:
    given = f"{str(value)[:80]!r}" if shown else f"a {type(value).__name__}"
    raise ConfigurationError(f"{name} must be {wanted}, not {given}.")
