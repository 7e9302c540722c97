"""Names as Snowflake keeps them: what stands in small letters elsewhere is what it folds to capitals."""

from __future__ import annotations

import re
from collections.abc import Iterable

from airflow_etl_sync.errors import SchemaError

_SMALL = re.compile("[a-z_][a-z0-9_$]*")
_CAPITAL = re.compile("[A-Z_][A-Z0-9_$]*")


def folded(name: str) -> str:
    """The name that Snowflake has for one which it is told without quotes; others are taken literally."""
    return name.upper() if _SMALL.fullmatch(name) else name


def unfolded(name: str) -> str:
    """The name in small letters that stands for one of Snowflake's."""
    return name.lower() if _CAPITAL.fullmatch(name) else name


def quoted(name: str) -> str:
    """A name taken literally."""
    return '"' + name.replace('"', '""') + '"'


def told_apart(names: Iterable[str]) -> dict[str, str]:
    """By Snowflake's name the stream's, of each column.

    :raises SchemaError: where two of them are one there
    """
    found: dict[str, str] = {}
    for name in names:
        other = found.setdefault(folded(name), name)
        if other != name:
            raise SchemaError(
                f"The columns {other!r} and {name!r} are one in Snowflake: rename or leave out one of them."
            )
    return found
