"""Rows asked for again: a log that holds whole rows leaves nothing to ask for."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from airflow_etl_sync.cdc.keyed import Key
from airflow_etl_sync.core.changes import Lsn, Relation
from airflow_etl_sync.core.columns import ColumnTypes


@dataclass(slots=True)
class NoRowsAgain:
    """In the place of :class:`~airflow_etl_sync.cdc.postgres.reselect.SourceRows` for a log whose rows are whole."""

    asked: dict[str, Lsn] = field(default_factory=dict)

    def met(self, xids: Iterable[int]) -> None:
        """Nothing is waited for, since nothing is read."""

    def read(
        self,
        relation: Relation,
        types: dict[str, ColumnTypes],  # noqa: ARG002 - the seam's signature
        key: Sequence[str],  # noqa: ARG002
        columns: Sequence[str],  # noqa: ARG002
        keys: Sequence[Key],  # noqa: ARG002
    ) -> dict[Key, tuple[str | None, ...]]:
        raise RuntimeError(f"The log has left out values of {relation}, which it never does.")
