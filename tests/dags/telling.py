"""Reading what OpenLineage's file transport has written down."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from psycopg.conninfo import conninfo_to_dict


def events_of(notes: Path, job: str) -> list[dict[str, Any]]:
    """The events of tasks that are complete, by the job's name."""
    events = [json.loads(line) for line in notes.read_text().splitlines()]
    found = [each for each in events if each["eventType"] == "COMPLETE" and each["job"]["name"] == job]
    assert found, sorted({(each["eventType"], each["job"]["name"]) for each in events})
    return found


def name_of(conninfo: str, table: str) -> tuple[str, str]:
    """A table of PostgreSQL as OpenLineage names it."""
    parts = conninfo_to_dict(conninfo)
    return f"postgres://{parts['host']}:{parts['port']}", f"{parts['dbname']}.public.{table}"


def names(datasets: list[dict[str, Any]]) -> list[tuple[str, str]]:
    """Namespace and name of each."""
    return sorted((dataset["namespace"], dataset["name"]) for dataset in datasets)
