"""Every statement that this package sends to PostgreSQL, one builder each.

Names become identifiers and values are bound. COPY, by which rows are read, takes no parameters: there the
values stand in transaction-local settings, which :data:`SET_VALUE` fills with bound values.
What the author of a DAG writes as ``sql`` or ``where`` is taken as SQL, and nothing else is.
"""

from __future__ import annotations

from airflow_etl_sync.systems.postgres.sql import (
    facts,
    merging,
    names,
    reading,
    reconciling,
    rejects,
    sessions,
    splitting,
    staging,
    streams,
    target,
    window,
)

__all__ = [
    "facts",
    "merging",
    "names",
    "reading",
    "reconciling",
    "rejects",
    "sessions",
    "splitting",
    "staging",
    "streams",
    "target",
    "window",
]
