"""A chunk on its way to the destination's side, through a transform where there is one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from itertools import chain
from typing import TYPE_CHECKING

from airflow_etl_sync.core.failed_record import FailedRecord, as_json, from_json
from airflow_etl_sync.core.model import Counts, LoadRules
from airflow_etl_sync.core.transform import Transform, Transforming
from airflow_etl_sync.core.unread import UNREAD, Sieve, refuse_too_many
from airflow_etl_sync.errors import ConfigurationError, DataError
from airflow_etl_sync.systems.base import Destination, Landed, Merged, MergeKeys, Position, StagedChunk, Tolerance
from airflow_etl_sync.systems.postgres.packed import is_packed
from airflow_etl_sync.systems.postgres.texts import failed_in_transform
from airflow_etl_sync.systems.postgres.times import plain_times
from airflow_etl_sync.systems.records.passing import Passing

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True, slots=True)
class Prepared:
    """A chunk's rows, ready to be merged.

    :param staged: those that came through; None where none did, nor told a transform which columns it gives
    :param dropped: how many rows the transform left out
    :param failed: rows that it failed on, and records that the source could not read
    """

    staged: StagedChunk | None
    dropped: int = 0
    failed: tuple[FailedRecord, ...] = ()

    @property
    def left_out(self) -> int:
        return self.dropped + len(self.failed)

    def tolerance(self, tolerance: Tolerance) -> Tolerance:
        """What the merge may still set aside.

        :raises DataError: where the transform has failed on more rows than that, or the source could not read them
        """
        unread = [record for record in self.failed if UNREAD in record.payload]
        refuse_too_many(unread, tolerance.errors)
        left, failed = tolerance.errors - len(self.failed), len(self.failed) - len(unread)
        if left < 0:
            raise DataError(
                f"The transform fails on {failed} rows of one chunk, and only {left + failed} more may be "
                "set aside: mend it, or raise max_errors or max_error_percent. The chunk is not loaded."
            )
        return replace(tolerance, errors=left)

    def with_left_out(self, merged: Merged) -> Merged:
        """What became of all the chunk's rows: those that were left out are skipped."""
        counts = merged.counts + Counts(skipped=self.dropped, errors=len(self.failed))
        still_failing = {record.key for record in self.failed}
        settled = tuple(key for key in merged.settled if key not in still_failing)
        return replace(merged, counts=counts, failed=(*self.failed, *merged.failed), settled=settled)

    def keep(self, position: Position | None) -> Position:
        """What a destination away from the state tables is to remember beside the merge, see :meth:`whole`."""
        failed = [as_json(record) for record in self.failed]
        return {"position": None if position is None else dict(position), "dropped": self.dropped, "failed": failed}

    @classmethod
    def whole(cls, landed: Landed) -> Landed:
        """What has landed, with what was left out of the chunk before it was merged."""
        kept = landed.position or {}
        failed = tuple(from_json(record) for record in kept.get("failed", ()))
        aside = cls(None, kept.get("dropped", 0), failed)
        return Landed(aside.with_left_out(landed.merged), kept.get("position"))


@dataclass(frozen=True, slots=True)
class Stager:
    """Brings the chunks of a run to the destination's side.

    :param try_number: of the task
    :param transform: through which their rows go
    """

    destination: Destination
    extraction_id: str
    try_number: int
    keys: MergeKeys
    rules: LoadRules
    transform: Transform | None = None

    def stage(self, number: int, schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> Prepared:
        """Stage a chunk under a name of its own: no other chunk and no other try has it.

        :raises EtlSyncError: as :class:`~airflow_etl_sync.core.transform.Transforming` does, and the destination
        """
        name = f"stage_{self.extraction_id}_{number}_{self.try_number}"
        key = self.rules.primary_key or self.keys.primary_key
        sieve = Sieve(schema, batches)
        if self.transform is None:
            staged = self.destination.stage(name, sieve.schema, sieve)
            return Prepared(staged, failed=sieve.failed(key))
        if is_packed(schema):
            raise ConfigurationError(
                "The rows are staged packed, so that no transform can look into them: leave destination_conn_id out of "
                "the extract, and clear it."
            )
        types: Callable[[], Mapping[str, str]] = getattr(self.destination, "types", dict)
        passing = Passing(sieve.schema, _required(key, self.keys, self.rules), cache(types))
        working = Transforming(self.transform, plain_times, passing.finish, _most_failures(self.rules))
        made = working.batches(sieve)
        first = next(made, None)
        if first is None:
            first = working.empty(sieve.schema)
        passed = None if first is None else self.destination.stage(name, first.schema, chain([first], made))
        unread = [replace(record, is_untransformed=True) for record in sieve.failed(key)]
        failed = (*unread, *(failed_in_transform(each, key) for each in working.failures))
        return Prepared(passed, working.dropped, failed)


def _required(key: tuple[str, ...], keys: MergeKeys, rules: LoadRules) -> list[str]:
    compared = rules.conflict_field if rules.conflict == "latest_wins" else None
    return [name for name in dict.fromkeys((*key, keys.cursor_field, compared)) if name]


def _most_failures(rules: LoadRules) -> int:
    """How many failed rows of a chunk are looked for; how many there may be, the merge knows."""
    if not rules.tolerates_errors:
        return 0
    return _HELD_AT_MOST if rules.max_errors is None else min(rules.max_errors, _HELD_AT_MOST)


_HELD_AT_MOST = 10_000
"""Failed rows are held in memory until their chunk is merged."""
