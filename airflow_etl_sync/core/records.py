"""How records that Python code gives become rows of a stream."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta

from airflow_etl_sync.core.model import refuse_bad_sync_key
from airflow_etl_sync.errors import ConfigurationError


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordRules:
    """What is known of the records before they come.

    :param sync_key: the unique name of the sync
    :param cursor_field: the field that grows when a record changes; None where there is no watermark
    :param columns: the fields that are loaded; empty takes those of the first record, which all others must have
    :param column_types: PostgreSQL's type for columns that the table does not have yet, by name
    :param lag: how far the watermark stays behind the highest cursor: a duration, or a number
    :param full_refresh: let the function give everything, whatever the watermark says
    """

    sync_key: str
    cursor_field: str | None = None
    columns: tuple[str, ...] = ()
    column_types: Mapping[str, str] = field(default_factory=dict)
    lag: timedelta | int = timedelta(0)
    full_refresh: bool = False

    def __post_init__(self) -> None:
        refuse_bad_sync_key(self.sync_key)
        if self.cursor_field and self.columns and self.cursor_field not in self.columns:
            raise ConfigurationError(f"columns lacks the cursor_field {self.cursor_field!r}: add it.")
