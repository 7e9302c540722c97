"""Read a source as a run does, without a destination."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from typing import Any

import pyarrow as pa

from airflow_etl_sync.core.model import Window, WindowRules
from airflow_etl_sync.core.unread import UNREAD
from airflow_etl_sync.state.watermarks import Watermark
from airflow_etl_sync.systems.base import Position, ReachingSource, Source


def open_window(source: Source, watermark: Watermark | None = None, **rules: Any) -> tuple[Window, Watermark]:
    """The next window, and the watermark after it."""
    before, asked = watermark or Watermark(), WindowRules(**rules)
    opened = source.open_window(before, asked)
    window = opened.window
    if isinstance(source, ReachingSource):  # its high is known when it is read
        read(source, window)
        window = replace(window, high=source.reached(window, asked))
    return window, replace(before, cursor=window.high, fences=opened.fences, version=before.version + 1)


def read(source: Source, window: Window, after: Position | None = None) -> list[dict[str, Any]]:
    """The rows of a window, in the order in which they come."""
    with closing(source.read(window, after)) as batches:
        return [row for batch in batches for row in _plain(batch).to_pylist()]


def values(source: Source, window: Window, column: str = "id", after: Position | None = None) -> list[Any]:
    return [row[column] for row in read(source, window, after)]


def _plain(batch: pa.RecordBatch) -> pa.Table:
    table = pa.Table.from_batches([batch])
    return table.drop_columns([UNREAD]) if UNREAD in table.column_names else table
