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
from airflow_etl_sync.plugin.figures import moment_text, number_text, rate_text, seconds_text, size_text
from airflow_etl_sync.plugin.freshness import span
from airflow_etl_sync.plugin.mounting import PREFIX

_STATIC = {"page.css": "text/css", "page.js": "text/javascript"}


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
