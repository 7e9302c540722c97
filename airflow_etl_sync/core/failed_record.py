"""A row that could not be loaded, kept so that somebody can mend it and load it after all."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from airflow_etl_sync.core.columns import ColumnTypes

Key = tuple[str | None, ...]

HOLDS_NUL = "The character NUL, which PostgreSQL stores in no text"
"""The error of a row that was set aside for that."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FailedRecord:
    """One row, its values as the database writes them.

    :param key: the values of its key columns, in their order; None stands for NULL
    :param payload: all its values, by column
    :param types: what its columns are at the source
    :param error: what the database said, which may quote the row: it is stored beside it and shown nowhere else
    :param sqlstate: the five-character code; None where a rule of this package was broken
    :param is_untransformed: whether the transform of its sync failed on it, so that it is as it was before
    """

    key: Key = field(repr=False)
    payload: dict[str, str | None] = field(repr=False)
    error: str = field(repr=False)
    types: dict[str, ColumnTypes] = field(default_factory=dict)
    sqlstate: str | None = None
    is_untransformed: bool = False

    @property
    def is_unstorable(self) -> bool:
        """Whether it was set aside for a value that its destination has no room for, however it is loaded."""
        return self.error.startswith(HOLDS_NUL)

    @property
    def identity(self) -> str:
        """By it a row that fails again is recognised: its key, or where that has a NULL, all its values."""
        told_apart_by = self.payload if None in self.key else list(self.key)
        return hashlib.sha256(json.dumps(told_apart_by, sort_keys=True).encode()).hexdigest()


def as_json(record: FailedRecord) -> list[Any]:
    """A record as JSON, values included: for a destination that remembers what it has set aside."""
    return [record.key, record.payload, record.error, record.types, record.sqlstate, record.is_untransformed]


def from_json(told: Sequence[Any]) -> FailedRecord:
    """What :func:`as_json` gave."""
    key, payload, error, types, sqlstate, is_untransformed = told
    return FailedRecord(
        key=tuple(key),
        payload=payload,
        error=error,
        types={name: ColumnTypes(*each) for name, each in types.items()},
        sqlstate=sqlstate,
        is_untransformed=is_untransformed,
    )
