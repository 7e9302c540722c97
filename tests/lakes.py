"""Destinations away from the state tables, beside a PostgreSQL source."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy import Engine

from airflow_etl_sync.core.model import TableName
from airflow_etl_sync.systems.base import Destination, Merged
from airflow_etl_sync.systems.delta.access import DeltaAccess
from airflow_etl_sync.systems.delta.destination import DeltaDestination
from airflow_etl_sync.systems.postgres.access import PostgresAccess
from tests.scenarios.world import World


@dataclass
class LakeWorld(World):
    """A world whose table ``t`` lies elsewhere, and whose state is in ``warehouse_db``.

    :param made: makes the destination, given the engine of the state tables
    """

    made: Callable[[Engine], Destination] = field(default=None)  # type: ignore[assignment]

    @property
    def destination(self) -> Destination:
        return self.made(PostgresAccess(self.warehouse_db).engine())


def delta(root: Path | str, options: dict[str, str] | None = None) -> Callable[[Engine], DeltaDestination]:
    access = DeltaAccess(str(root), lambda: options or {})
    return lambda state: DeltaDestination(access, TableName("t"), state)


class Dying:
    """A destination that dies after it has merged a chunk, before the ledger is committed."""

    def __init__(self, destination: Destination, number: int = 0) -> None:
        self._destination = destination
        self._number = number

    def __getattr__(self, name: str) -> Any:
        return getattr(self._destination, name)

    def merge(self, connection: Any, staged: Any, *terms: Any) -> Merged:
        merged = self._destination.merge(connection, staged, *terms)
        if staged.mark.number == self._number:
            raise InterruptedError
        return merged
