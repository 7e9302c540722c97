"""Templates filled in: everything is escaped, and what a template misses is an error."""

from __future__ import annotations

from datetime import datetime, timezone
from functools import cache
from http import HTTPStatus
from importlib.resources import files
from typing import Any
from urllib.parse import quote, urlencode

from fastapi import Request
from fastapi.responses import HTMLResponse
from jinja2 import Environment, PackageLoader, StrictUndefined

from airflow_etl_sync.plugin import plots
from airflow_etl_sync.plugin.freshness import span
from airflow_etl_sync.plugin.registration import PREFIX

_STATIC = {"page.css": "text/css", "page.js": "text/javascript"}
_NONE = "\N{EN DASH}"
_UNITS = ("B", "kB", "MB", "GB", "TB")


def render(request: Request, template: str, status: HTTPStatus = HTTPStatus.OK, **values: Any) -> HTMLResponse:
    """A page.

    :param template: its file in ``templates``
    """
    airflow = request.scope.get("root_path", "").removesuffix(PREFIX)
    page = (
        _templates()
        .get_template(template)
        .render(airflow=airflow, now=datetime.now(timezone.utc), status=status, **values)
    )
    return HTMLResponse(page, status)


def static_file(name: str) -> tuple[str, str] | None:
    """The text of a style sheet or script and its media type; None for any other name."""
    if name not in _STATIC:
        return None
    return (files(__package__) / "static" / name).read_text("utf-8"), _STATIC[name]


@cache
def _templates() -> Environment:
    templates = Environment(
        loader=PackageLoader(__package__),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates.filters |= {
        "bytes": size_text,
        "number": number_text,
        "rate": rate_text,
        "seconds": seconds_text,
        "moment": moment_text,
        "path": lambda text: quote(text, safe=""),
        "plottable": lambda value: (value or 0.0,),
    }
    templates.globals |= {"bars": plots.bars, "stacks": plots.stacks, "span": span, "query": urlencode}
    return templates


def number_text(number: float) -> str:
    """A count with thin groups of three digits."""
    return f"{number:,.0f}".replace(",", "\N{NARROW NO-BREAK SPACE}")


def rate_text(rate: float | None) -> str:
    """Rows a second; a dash where there is none."""
    if rate is None:
        return _NONE
    return number_text(rate) if rate >= 10 or not rate else f"{rate:.1f}"


def seconds_text(seconds: float | None) -> str:
    """A duration; a dash where it has not ended."""
    if seconds is None:
        return _NONE
    if seconds < 10:
        return f"{seconds:.1f} s"
    minutes, left = divmod(round(seconds), 60)
    if not minutes:
        return f"{left} s"
    return f"{minutes} min {left} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def size_text(size: float) -> str:
    """Bytes in the largest unit that leaves a number of at least one, in steps of 1000."""
    for unit in _UNITS[:-1]:
        if abs(size) < 1000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} {_UNITS[-1]}"


def moment_text(moment: datetime) -> str:
    """A moment in UTC, to the second."""
    return moment.astimezone(timezone.utc).strftime("%Y-%m-%d %H:%M:%S")
