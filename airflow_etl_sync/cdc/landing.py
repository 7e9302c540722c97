"""What is written down when staged rows land in a target, in the same transaction."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from airflow_etl_sync.core.model import Counts, LoadRules
from airflow_etl_sync.state import failed_records
from airflow_etl_sync.state.runs import Run
from airflow_etl_sync.systems.base import Merged, Tolerance
from airflow_etl_sync.systems.recording import record_merged

if TYPE_CHECKING:
    from sqlalchemy import Connection


@dataclass(slots=True)
class Landing:
    """One run's rows on their way into its targets, with what they leave in the state tables."""

    run: Run
    _loaded: dict[str, Counts] = field(default_factory=dict)

    def land(
        self, connection: Connection, target: str, rules: LoadRules, rows: int, merge: Callable[[Tolerance], Merged]
    ) -> Counts:
        """Merge a chunk; note the records that failed and that are settled, and what became of columns.

        :param rows: how many rows are staged
        :param merge: merges them within a tolerance
        :raises DataError: where more rows cannot be loaded than are tolerated
        """
        loaded = self._loaded.get(target, Counts())
        watched = tuple(failed_records.open_keys(connection, self.run.sync_key, target))
        merged = merge(Tolerance(rules.allowed_errors(loaded, rows), watched))
        record_merged(connection, self.run, target, rules, merged)
        self._loaded[target] = loaded + merged.counts
        return merged.counts

    @contextmanager
    def undone_with_it(self) -> Iterator[None]:
        """Forget what has landed within a transaction that fails."""
        before = dict(self._loaded)
        try:
            yield
        except BaseException:
            self._loaded = before
            raise
