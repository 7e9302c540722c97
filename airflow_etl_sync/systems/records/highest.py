"""The highest cursor among the records that came, from which the next watermark is made."""

from __future__ import annotations

from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from airflow_etl_sync.core.model import CursorType
from airflow_etl_sync.errors import ConfigurationError, DataError
from airflow_etl_sync.systems.records.arrays import staged
from airflow_etl_sync.systems.records.kinds import NUMBERS, WORDS, Kind, kind_of, plain, together
from airflow_etl_sync.systems.records.pieces import Record

if TYPE_CHECKING:
    from collections.abc import Iterable

    import pyarrow as pa

_CURSORS: dict[Kind, CursorType] = {
    "timestamptz": "timestamptz",
    "timestamp": "timestamp",
    "date": "date",
    "integer": "integer",
    "decimal": "numeric",
    "text": "text",
}
_EASTMOST = timedelta(hours=14)
"""A time without a zone may be so far ahead of UTC."""


class Highest:
    """Looks at records as they pass.

    :param field: the cursor field
    """

    def __init__(self, field: str) -> None:
        self._field = field
        self._kind: Kind | None = None
        self.value: Any = None

    @property
    def type(self) -> CursorType | None:
        """The type of the cursor; None where no record had any."""
        return _CURSORS[self._kind] if self._kind else None

    def look(self, piece: list[Record] | pa.RecordBatch) -> None:
        """Take the highest cursor of a piece where it is higher.

        :raises DataError: where the records' cursors are not of one kind, or of one that is no cursor
        """
        for given in self._candidates(piece):
            value = plain(self._field, given)
            if value is None or (isinstance(value, Decimal) and not value.is_finite()):
                continue
            self._note(kind_of(value))
            if self.value is None or value > self.value:
                self.value = value

    def _candidates(self, piece: Any) -> Iterable[Any]:
        if isinstance(piece, list):
            if all(self._field not in record for record in piece):
                raise DataError(f"No record has the cursor_field {self._field!r}.")
            return [record.get(self._field) for record in piece]
        import pyarrow.compute as pc

        if self._field not in piece.schema.names:
            raise DataError(f"No record has the cursor_field {self._field!r}.")
        column = piece.column(self._field)
        natural = staged(self._field, column)
        return column.to_pylist() if natural is None else [pc.max(natural.array).as_py()]

    def _note(self, kind: Kind) -> None:
        if kind not in _CURSORS:
            raise DataError(
                f"The cursor_field {self._field!r} holds {WORDS[kind]}: a cursor is a time, a date, a whole number, a "
                "decimal or a text."
            )
        self._kind = together(self._field, {kind, self._kind or kind})


def not_ahead_of(clock: datetime, value: Any) -> Any:
    """A cursor, or the clock where the cursor is a time that lies ahead of it.

    A record dated 2099 would otherwise be the watermark, and nothing that changes before then would be asked for.
    """
    if isinstance(value, datetime):
        if value.tzinfo is not None:
            return min(value, clock)
        return min(value, clock.astimezone(timezone.utc).replace(tzinfo=None) + _EASTMOST)
    if isinstance(value, date):
        return min(value, (clock.astimezone(timezone.utc) + _EASTMOST).date())
    return value


def lagging(value: Any, lag: timedelta | int) -> Any:
    """A cursor so far below.

    :raises ConfigurationError: where the distance is not one for its kind, or leads out of the calendar
    """
    if not lag:
        return value
    is_time, is_number = isinstance(value, date), kind_of(value) in NUMBERS
    if isinstance(lag, timedelta) != is_time or not (is_time or is_number):
        raise ConfigurationError(
            "lag is a duration for a cursor that is a time, a whole number for one that is a number, and none for a "
            "text."
        )
    if isinstance(value, date) and not isinstance(value, datetime):
        lag = -(-lag // timedelta(days=1)) * timedelta(days=1)  # type: ignore[operator]
    try:
        return value - lag
    except OverflowError:
        raise ConfigurationError("lag is longer than there is time before the cursor.") from None
