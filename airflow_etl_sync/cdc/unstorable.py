"""Rows with the character NUL, which PostgreSQL stores in no text: set aside before they are staged."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from airflow_etl_sync.core.columns import ColumnTypes
from airflow_etl_sync.core.failed_record import HOLDS_NUL, FailedRecord
from airflow_etl_sync.core.model import Counts
from airflow_etl_sync.errors import DataError
from airflow_etl_sync.systems.base import Merged, Tolerance

if TYPE_CHECKING:
    import pyarrow as pa

NUL = "\0"


@dataclass(frozen=True, slots=True)
class Unstorable:
    """Rows that were not staged.

    :param columns: in which NUL was found
    """

    failed: tuple[FailedRecord, ...] = field(default=(), repr=False)
    columns: tuple[str, ...] = ()

    def merged_with(
        self, target: str, key: Sequence[str], tolerance: Tolerance, merge: Callable[[Tolerance], Merged]
    ) -> Merged:
        """Merge the rows that were staged; these count as failed ones of the same chunk.

        :param target: the name of the table that they are for
        :param key: the columns that name a row
        :raises DataError: where that are more than are tolerated
        """
        watched = tuple(each for each in tolerance.watched if not holds_nul(each))
        count = len(self.failed)
        if count > tolerance.errors:
            raise DataError(
                f"{count} rows for {target!r} hold the character NUL, which PostgreSQL stores in no text, in column "
                f"{', '.join(map(repr, self.columns))} (key: {', '.join(map(repr, key))}): remove it at the source and "
                "run again, since of each row the last change counts; or allow more failed records (max_errors); or "
                "remove it and run once with resync."
            )
        merged = merge(Tolerance(tolerance.errors - count, watched))
        counts = merged.counts + Counts(errors=count)
        return replace(merged, counts=counts, failed=(*self.failed, *merged.failed))


def without_nul(
    arrays: Mapping[str, pa.Array], key: Sequence[str], types: Mapping[str, ColumnTypes]
) -> tuple[list[pa.Array], Unstorable]:
    """The columns of rows without NUL, and the rows with it.

    :param arrays: columns by name
    :param key: the columns that name a row
    :param types: what those columns are at the source that are to be kept with a row that is set aside
    """
    import pyarrow as pa

    found = {name: places for name, array in arrays.items() if (places := _with_nul(array)) is not None}
    if not found:
        return list(arrays.values()), Unstorable()
    has_nul = np.logical_or.reduce(list(found.values()))
    table = pa.table(dict(arrays)).filter(pa.array(has_nul))
    failed = tuple(_record(row, key, types) for row in table.to_pylist())
    kept = pa.array(~has_nul)
    return [array.filter(kept) for array in arrays.values()], Unstorable(failed, tuple(found))


def holds_nul(values: Sequence[str | None]) -> bool:
    """Whether one of some texts holds NUL."""
    return any(value is not None and NUL in value for value in values)


def _with_nul(array: pa.Array) -> NDArray[np.bool_] | None:
    """Which of a column's values hold NUL; None where none does."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if not pa.types.is_string(array.type) or not _may_hold_nul(array):
        return None
    found = pc.fill_null(pc.match_substring(array, NUL), fill_value=False)
    places: NDArray[np.bool_] = found.to_numpy(zero_copy_only=False)
    return places if places.any() else None


def _may_hold_nul(array: pa.Array) -> bool:
    """Looks at all bytes at once, as far as they may be others' too."""
    data = array.buffers()[2]
    return data is not None and not np.frombuffer(data, np.uint8).all()


def _record(row: Mapping[str, str | int | None], key: Sequence[str], types: Mapping[str, ColumnTypes]) -> FailedRecord:
    payload = {name: None if row[name] is None else str(row[name]) for name in types}
    columns = ", ".join(name for name, value in payload.items() if value is not None and NUL in value)
    return FailedRecord(
        key=tuple(payload[name] for name in key),
        payload=payload,
        types=dict(types),
        error=f"{HOLDS_NUL}, in {columns}",
    )
