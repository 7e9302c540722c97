"""How far a list has been read in terms of its cursor, as a text that a retry goes on from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from airflow_etl_sync.systems.database.columns import DatabaseColumn
from airflow_etl_sync.systems.http.windows import text_of


@dataclass(slots=True)
class Highest:
    """Looks at cursors as they pass.

    :param value: the highest of all
    :param of_first: the highest on the first page: whatever changes later is above it, in any order of the list
    :param is_ascending: whether the list goes up by its cursor, so that what changes moves to its end
    """

    value: Any = None
    of_first: Any = None
    last: Any = None
    is_ascending: bool = True

    def look(self, cursors: list[Any]) -> None:
        """Take in the cursors of a page, in their order; None are passed over."""
        given = [cursor for cursor in cursors if cursor is not None]
        if not given:
            return
        rising = [*([] if self.last is None else [self.last]), *given]
        self.is_ascending &= all(low <= high for low, high in pairwise(rising))
        self.last = given[-1]
        self.value = max(given) if self.value is None else max(self.value, *given)
        if self.of_first is None:
            self.of_first = self.value

    @property
    def safe(self) -> Any:
        """The highest cursor below which nothing has changed behind the reader's back."""
        return self.value if self.is_ascending else self.of_first

    def to_json(self) -> dict[str, Any]:
        texts = {"value": self.value, "of_first": self.of_first}  # a retry begins before the last
        return {
            "is_ascending": self.is_ascending,
            **{name: None if value is None else text_of(value) for name, value in texts.items()},
        }

    @classmethod
    def from_json(cls, given: Mapping[str, Any], cursor: DatabaseColumn) -> Highest:
        read = {name: None if given[name] is None else cursor.value(given[name]) for name in ("value", "of_first")}
        return cls(**read, is_ascending=given["is_ascending"])
