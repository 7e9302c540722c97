"""The written columns of a table: staged values in, the database's answers compared with them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import types

from airflow_etl_sync.systems.database.landing import Landing, as_text
from airflow_etl_sync.systems.database.target import TargetColumn
from airflow_etl_sync.systems.database.values import Reader, UnfitError, is_same, is_same_document, told

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True, slots=True)
class WrittenColumn:
    """A column of the stream that the table has.

    :param reader: of its staged values
    :param target: the table's column
    """

    reader: Reader
    target: TargetColumn
    landing: Landing

    @classmethod
    def of(cls, field: pa.Field, target: TargetColumn, landing: Landing) -> WrittenColumn:
        return cls(Reader.of(field), target, landing)

    @property
    def name(self) -> str:
        return self.target.name

    def values(self, array: pa.Array) -> list[Any]:
        """Staged values as the driver takes them for this column; an ``UnfitError`` where there is none for one."""
        values = self.reader.values(array)
        kind, is_text = self.reader.kind, isinstance(self.target.type, types.String)
        if kind in self.landing.sent_as_they_are and (kind == "text" or not is_text):
            return values
        return [None if value is None else self._wire(value) for value in values]

    def told(self, found: Any) -> Any:
        """What the database has, or what is sent to it, so that it can be compared; an ``UnfitError`` for nonsense."""
        try:
            return told(self.reader.kind, found)
        except ValueError:
            return UnfitError()

    def is_held(self, value: Any, found: Any) -> bool:
        """Whether what the database has is the value that was sent."""
        if isinstance(self.target.type, types.JSON):
            return is_same_document(value, found)
        return is_same(self.reader.kind, value, found)

    def is_as_new(self, value: Any, found: Any) -> bool:
        """Whether a value is as high as the one in the database or higher; nothing is lower than NULL."""
        if found is None or value is None:
            return found is None
        there = self.told(found)
        return isinstance(there, UnfitError) or bool(self.told(value) >= there)

    def _wire(self, value: Any) -> Any:
        if isinstance(value, UnfitError):
            return value
        try:
            if isinstance(self.target.type, types.String) and not isinstance(value, str):
                return as_text(value)
            return self.landing.wire(value)
        except UnfitError as unfit:
            return UnfitError(f"column {self.name}: {unfit}")
