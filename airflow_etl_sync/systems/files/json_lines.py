"""JSON Lines → records, numbers as they are written.

`JSON Lines <https://jsonlines.org>`__: each line is one JSON value, here an object.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple, NoReturn

from airflow_etl_sync.systems.files.pieces import BadLine
from airflow_etl_sync.systems.records.kinds import array_of

_NUL = "it holds the character NUL, which no text of a database holds"
_HALVES = re.compile("[\ud800-\udfff]")


class Number(str):
    """A number, as its digits stand in the file."""

    __slots__ = ()


class Records(NamedTuple):
    """Records of a file.

    :param values: the fields of each
    :param numbers: the line of each
    """

    values: list[dict[str, Any]]
    numbers: list[int]
    bad: list[BadLine]


def read_json_lines(blocks: Iterator[bytes]) -> Iterator[Records]:
    """The records of a file, a block at a time; empty lines hold none."""
    number = 1
    for block in blocks:
        records = Records([], [], [])
        for line in block.removesuffix(b"\n").split(b"\n"):
            if line.strip():
                _read(line, number, records)
            number += 1
        yield records


def _read(line: bytes, number: int, records: Records) -> None:
    record: Any = None
    try:
        record = _loads(line.decode())
    except UnicodeDecodeError:
        reason = "it is not UTF-8"
    except json.JSONDecodeError as error:
        reason = f"it is no JSON: {error.msg} at character {error.pos + 1}"
    except (ValueError, RecursionError):
        reason = "it is no JSON: NaN, Infinity, or nested too deeply"
    else:
        reason = _objection(record, is_escaped=b"\\u" in line)
    if reason:
        records.bad.append(BadLine(number, reason, line.decode(errors="replace").rstrip("\r")))
        return
    records.values.append(record)
    records.numbers.append(number)


def _objection(record: object, *, is_escaped: bool) -> str:
    if not isinstance(record, dict):
        return "it is no JSON object"
    if not is_escaped:
        return ""
    text = _unescaped(record)
    if "\0" in text:
        return _NUL
    return "it holds halves of characters, which no database stores" if _HALVES.search(text) else ""


def _unescaped(value: Any) -> str:
    """All texts of a value, one behind the other."""
    if isinstance(value, dict):
        return "".join(map(_unescaped, (*value, *value.values())))
    return "".join(map(_unescaped, value)) if isinstance(value, list) else value if isinstance(value, str) else ""


def _not_finite(_: str) -> NoReturn:
    raise ValueError


_loads = json.JSONDecoder(parse_int=Number, parse_float=Number, parse_constant=_not_finite).decode


def json_text(value: Any) -> str:
    """A value as JSON, its numbers as they were written."""
    if isinstance(value, Number):
        return str(value)
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_quoted(name)}: {json_text(each)}" for name, each in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(json_text, value)) + "]"
    return _quoted(value) if isinstance(value, str) else _CONSTANTS[value]


_quoted = json.JSONEncoder(ensure_ascii=False).encode
_CONSTANTS: dict[Any, str] = {True: "true", False: "false", None: "null"}


def texts_of(name: str, values: Sequence[Any], type_: str) -> list[str | None]:
    """The values of a column as PostgreSQL reads them for its type: in one of JSON, texts have their quotes."""
    write: Callable[[Any], str] = json_text if type_.startswith("json") else _plain_text
    if type_.endswith("[]"):
        write = partial(_array_text, name)
    return [None if value is None else write(value) for value in values]


def _array_text(name: str, value: Any) -> str:
    return array_of(name, value) if isinstance(value, list) else _plain_text(value)


def _plain_text(value: Any) -> str:
    return str(value) if isinstance(value, str) else json_text(value)
