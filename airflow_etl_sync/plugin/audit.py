"""Airflow's audit log tells who did what on the page."""

from __future__ import annotations

import json


def note(event: str, user_name: str, **what: str) -> None:
    """Write an entry; ``what`` holds names and reasons, never row values."""
    from airflow.models.log import Log
    from airflow.utils.session import create_session

    entry = Log(event=f"etl_sync.{event}", owner=user_name, owner_display_name=user_name, extra=json.dumps(what))
    with create_session() as session:
        session.add(entry)
