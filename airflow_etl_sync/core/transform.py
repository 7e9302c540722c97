"""A function between staging and destination, called for one piece of rows after the other."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow_etl_sync.errors import ConfigurationError, DataError, EtlSyncError

if TYPE_CHECKING:
    import pyarrow as pa

Transform = Callable[["pa.Table"], object]
"""Takes a piece of rows, gives what they become: anything that speaks the Arrow C stream."""

PIECE_ROWS = 16_384
"""A piece has so many rows at most."""

_PACKAGE = str(Path(__file__).parents[1])
_UNNAMED_INDEX = "__index_level_"


@dataclass(frozen=True, slots=True)
class RowFailure:
    """A row that the transform failed on.

    :param row: as it was before, a table of one row
    :param error: what the function raised, which may quote the row
    """

    row: pa.Table = field(repr=False)
    error: str = field(repr=False)


@dataclass(slots=True)
class Transforming:
    """A transform at work on the rows of one chunk; it remembers what did not come through.

    :param transform: what is called
    :param prepare: makes of a batch what the transform is to see
    :param finish: makes of such a piece, and of what the transform gave for it, the rows to stage
    :param most_failures: how many rows may fail
    :param dropped: how many rows the transform left out
    """

    transform: Transform
    prepare: Callable[[pa.RecordBatch], pa.Table]
    finish: Callable[[pa.Table, pa.Table], pa.RecordBatch]
    most_failures: int = 0
    dropped: int = 0
    failures: list[RowFailure] = field(default_factory=list)

    def batches(self, given: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """What the rows become, piece by piece.

        :raises DataError: where it fails on more rows than may fail; without any value of theirs
        :raises ConfigurationError: where it gives what cannot be loaded, whichever rows it is given
        """
        for batch in given:
            for first in range(0, batch.num_rows, PIECE_ROWS):
                yield from self._pieces(batch.slice(first, PIECE_ROWS))

    def empty(self, schema: pa.Schema) -> pa.RecordBatch | None:
        """What no rows become, which tells the columns; None where the transform cannot be asked."""
        import pyarrow as pa

        nothing = pa.RecordBatch.from_pylist([], schema=schema)
        try:
            return self._one(nothing)
        except ConfigurationError:
            raise
        except Exception:  # noqa: BLE001 - a function need not work without rows
            return None

    def _pieces(self, batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
        """A piece; where it fails, and rows may, each of its halves, down to single rows."""
        try:
            made = self._one(batch)
        except DataError as error:
            if not self.most_failures:
                raise
            failure: Exception = error
        except (EtlSyncError, OSError, MemoryError) as error:
            raise _not_of_the_rows(error) from None
        except Exception as error:  # noqa: BLE001 - it is the author's function, which may raise anything
            if not self.most_failures:
                raise _failed(error, batch.num_rows) from None
            failure = error
        else:
            self.dropped += batch.num_rows - made.num_rows
            yield made
            return
        if batch.num_rows > 1:
            middle = batch.num_rows // 2
            yield from self._pieces(batch.slice(0, middle))
            yield from self._pieces(batch.slice(middle))
            return
        self._set_aside(batch, failure)

    def _one(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        piece = self.prepare(batch)
        made = as_table(self.transform(piece))
        if made.num_rows > piece.num_rows:
            raise ConfigurationError(
                f"The transform gives {made.num_rows} rows for {piece.num_rows}, so that they could no longer be "
                "counted: make several rows of one in the query that is read (sql)."
            )
        return self.finish(piece, made)

    def _set_aside(self, batch: pa.RecordBatch, error: Exception) -> None:
        if len(self.failures) >= self.most_failures:
            raise DataError(
                f"The transform fails on more than {self.most_failures} rows of one chunk ({_where(error)}): mend it, "
                "or raise max_errors or max_error_percent. The chunk is not loaded."
            ) from None
        text = str(error) if isinstance(error, DataError) else f"{type(error).__name__}: {error}"
        row = _table(batch).take([0])  # a copy: a slice would keep its whole batch in memory
        self.failures.append(RowFailure(row, next(iter(text.splitlines()), "")))


def as_table(given: Any) -> pa.Table:
    """What a transform gave, as an Arrow table. An index without a name, as pandas keeps beside rows, is no column.

    :raises ConfigurationError: where it does not speak Arrow, or has a column twice
    """
    import pyarrow as pa

    if isinstance(given, pa.Table):
        table = given
    elif isinstance(given, pa.RecordBatch):
        table = _table(given)
    elif hasattr(given, "__arrow_c_stream__"):
        table = pa.table(given)
    elif hasattr(given, "__arrow_c_array__"):
        table = _table(pa.record_batch(given))
    else:
        raise ConfigurationError(
            f"The transform gives a value of type {type(given).__name__}: let it return a table of pyarrow, polars, "
            "DuckDB or pandas, or whatever speaks the Arrow C stream."
        )
    names = [name for name in table.column_names if not name.startswith(_UNNAMED_INDEX)]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise ConfigurationError(f"The transform gives the column {twice!r} twice: rename one of them.")
    return table.select(names)


def chained(transforms: Sequence[Transform]) -> Transform:
    """Several transforms as one: each is given what the one before made."""

    def each_in_turn(rows: pa.Table) -> object:
        for transform in transforms:
            rows = as_table(transform(rows))
        return rows

    return transforms[0] if len(transforms) == 1 else each_in_turn


def _table(batch: pa.RecordBatch) -> pa.Table:
    import pyarrow as pa

    return pa.Table.from_batches([batch])


def _not_of_the_rows(error: Exception) -> EtlSyncError:
    """What another try may mend, such as a service that the function asks; and what this package itself has to say."""
    if isinstance(error, EtlSyncError):
        return error
    return DataError(
        f"The transform broke off ({_where(error)}): see to what it needs, and try again.", is_retryable=True
    )


def _failed(error: Exception, rows: int) -> DataError:
    return DataError(
        f"The transform fails on a piece of {rows} rows ({_where(error)}): mend it, or allow more failed records "
        "(max_errors). The chunk is not loaded."
    )


def _where(error: Exception) -> str:
    """The kind of an error and the author's line it came from; its text may quote a row."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if not frame.filename.startswith(_PACKAGE)]
    at = f", {Path(frames[0].filename).name} line {frames[0].lineno}" if frames else ""
    return f"{type(error).__name__}{at}"
