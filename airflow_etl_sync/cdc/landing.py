"""What is written down when staged rows land in a target, in the same transaction."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from airflow_etl_sync.core.model import Counts, LoadRules
from airflow_etl_sync.errors import DataError
from airflow_etl_sync.state import failed_records
from airflow_etl_sync.state.runs import Run
from airflow_etl_sync.systems.base import Merged, Tolerance
from airflow_etl_sync.systems.recording import record_merged

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from airflow_etl_sync.cdc.piece import Chunk


FOREIGN_KEY_VIOLATION = "23503"


@dataclass(slots=True)
class Landing:
    """One run's rows on their way into its targets, with what they leave in the state tables.

    :param is_part: whether more rows of the same transaction may follow, which may be what foreign keys lack
    """

    run: Run
    is_part: bool = False
    _loaded: dict[str, Counts] = field(default_factory=dict)

    def land(
        self,
        connection: Connection,
        target: str,
        rules: LoadRules,
        chunk: Chunk,
        key: Sequence[str],
        merge: Callable[[Tolerance], Merged],
    ) -> Counts:
        """Merge a chunk; note the records that failed and that are settled, and what became of columns.

        :param key: the columns that name a row at the source
        :param merge: merges them within a tolerance
        :raises DataError: where more rows cannot be loaded than are tolerated, or a foreign key is broken and this
            is a part
        """
        loaded = self._loaded.get(target, Counts())
        watched = tuple(failed_records.open_keys(connection, self.run.sync_key, target))
        tolerance = Tolerance(rules.allowed_errors(loaded, chunk.all_rows), watched)
        merged = chunk.unstorable.merged_with(target, key, tolerance, merge)
        if self.is_part and any(record.sqlstate == FOREIGN_KEY_VIOLATION for record in merged.failed):
            raise DataError("Rows lack what they refer to.", sqlstate=FOREIGN_KEY_VIOLATION)
        record_merged(connection, self.run, target, rules, merged)
        self._loaded[target] = loaded + merged.counts
        return merged.counts

    @contextmanager
    def of_a_part(self) -> Iterator[None]:
        """Land a part of a transaction; if that fails, forget what has landed."""
        before, self.is_part = dict(self._loaded), True
        try:
            yield
        except BaseException:
            self._loaded = before
            raise
        finally:
            self.is_part = False
