"""One at a time, where a destination would make two that merge at once begin anew."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, func, select


def wait_for(connection: Connection, place: str) -> None:
    """Wait until no other transaction on the state tables is at a place, and hold it until this one ends.

    :param place: any text that names it
    """
    connection.execute(select(func.pg_advisory_xact_lock(_key(place))))


def pass_together(connection: Connection, place: str) -> None:
    """Wait until nobody holds a place by :func:`wait_for`, and keep them waiting until this transaction ends."""
    connection.execute(select(func.pg_advisory_xact_lock_shared(_key(place))))


def _key(place: str) -> Any:
    return func.hashtextextended(f"etl_sync {place}", 0)
