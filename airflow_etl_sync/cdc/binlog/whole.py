"""The first copy of a table, as a stream that is read whole, in the order of its key."""

from __future__ import annotations

from airflow_etl_sync.core.model import Window, WindowRules
from airflow_etl_sync.state.watermarks import Watermark
from airflow_etl_sync.systems.base import OpenedWindow
from airflow_etl_sync.systems.database.source import DatabaseSource

_PROTECTION = "the binary log, whose changes follow"


class WholeTable(DatabaseSource):
    """All rows of a table in one snapshot; no column of it need be a cursor."""

    def open_window(self, watermark: Watermark, rules: WindowRules) -> OpenedWindow:  # noqa: ARG002 - the seam's
        return OpenedWindow(Window(protection=_PROTECTION), [])
