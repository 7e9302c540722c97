"""Names as Snowflake keeps them: what stands in small letters elsewhere is what it folds to capitals."""

from __future__ import annotations

import re

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
