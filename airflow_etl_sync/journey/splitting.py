"""A stream's past in ranges, which several workers load at the same time before the sync itself begins."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise

from sqlalchemy import Engine

from airflow_etl_sync.core.model import Stream, Window, WindowRules
from airflow_etl_sync.errors import SourceError
from airflow_etl_sync.journey.planning import stored_watermark
from airflow_etl_sync.state.watermarks import Watermark
from airflow_etl_sync.systems.base import Source, SplittingSource

log = logging.getLogger(__name__)

PATIENCE_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Split:
    """Ranges of a cursor without a gap between them.

    :param following: where the last range ends, and the first window of the sync may begin: every row below it is
        there to be read; None where there are no ranges, so that the sync itself reads everything
    """

    ranges: tuple[dict[str, str], ...]
    following: str | None


def split(source: SplittingSource, state: Engine, *, stream: Stream, rules: WindowRules, parts: int) -> Split:
    """Cut what a stream holds into ranges with about as many rows each; a sync that has a watermark needs none.

    Rows without a cursor are in no range: the sync itself reads them. So are rows whose cursor lies in the future.

    :param parts: how many ranges at most
    :raises SourceError: (retryable) where transactions stay open for so long that it is not known what they still write
    :raises EtlSyncError: what a run would be refused for before it reads
    """
    if stored_watermark(state, stream.sync_key).cursor is not None:
        log.info("Nothing of %s is split: it has a watermark already", stream.sync_key)
        return Split((), None)
    source.describe()
    window = _known_window(source, stream, rules)
    if window.high is None:
        log.info("Nothing of %s is split: it is empty, or %s", stream.sync_key, window.protection)
        return Split((), None)
    bounds = source.split(replace(window, high=None, below=window.high), parts)
    edges = [window.low.text if window.low else None, *bounds, window.high.text]
    ranges = tuple(_range(first, last) for first, last in pairwise(_rising(edges)))
    log.info("Split %s into %d ranges, the last ends at %s", stream.sync_key, len(ranges), window.high.text)
    return Split(ranges, window.high.text)


def _known_window(source: Source, stream: Stream, rules: WindowRules) -> Window:
    """The window of a first run, once everything below its end can be seen."""
    watermark, deadline = Watermark(), time.monotonic() + PATIENCE_SECONDS
    while True:
        opened = source.open_window(watermark, rules)
        if opened.window.high is not None or not opened.fences:
            return opened.window
        if time.monotonic() > deadline:
            raise SourceError(
                f"It is not known yet how far {stream.sync_key!r} can be read ({opened.window.protection}): try again "
                "when they have ended."
            )
        watermark = replace(watermark, fences=opened.fences)


def _rising(edges: list[str | None]) -> Iterator[str | None]:
    """The edges without those that repeat the one before."""
    yield edges[0]
    yield from (later for earlier, later in pairwise(edges) if later != earlier)


def _range(first: str | None, last: str | None) -> dict[str, str]:
    return {name: edge for name, edge in (("range_start", first), ("range_end", last)) if edge is not None}
