"""What commands write: JSON for programs, tables for people.

It goes to the process's own standard output; what else is printed meanwhile is sent elsewhere.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, TextIO

_WIDTH_OF_A_FILE = 240


def write_json(answer: object) -> None:
    """Write an answer as JSON, and nothing beside it."""
    _answers().write(json.dumps(answer, indent=2, ensure_ascii=False) + "\n")


def write_table(columns: Sequence[str], rows: Sequence[Mapping[str, Any]], title: str | None = None) -> None:
    """Write the named entries of each row. Values are never cut off: a narrow terminal folds them."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title, title_justify="left", box=None, padding=(0, 2, 0, 0))
    for name in columns:
        table.add_column(name.replace("_", " "), overflow="fold")
    for row in rows:
        table.add_row(*(_cell(row[name]) for name in columns))
    answers = _answers()
    width = None if answers.isatty() else _WIDTH_OF_A_FILE
    Console(file=answers, width=width, highlight=False, markup=False).print(table)


def _answers() -> TextIO:
    return sys.__stdout__ or sys.stdout


def _cell(value: object) -> str:
    """A value's text; names that the terminal would take as commands are written with escapes."""
    if isinstance(value, datetime):
        return value.isoformat(" ", "seconds")
    text = "-" if value is None else str(value)
    return text if text.isprintable() else repr(text)
