"""One round of the CDC benchmark, in a process of its own: ``python -m tests.benchmarks.cdc_round < orders.json``."""

from __future__ import annotations

import cProfile
import json
import pstats
import sys
import time
from contextlib import closing, nullcontext
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path

from airflow_etl_sync.cdc.pgoutput import Decoder
from tests.scenarios.measured import peak_bytes
from tests.scenarios.streaming import Capture


@dataclass(frozen=True, slots=True)
class Round:
    """What was measured of one backlog.

    :param peek_seconds: to read all messages, and nothing else
    :param decode_seconds: to read and decode them
    :param capture_seconds: to have them in the destination, acknowledged
    :param peak_bytes: the most memory that the process needed, imports included
    """

    changes: int
    rows: int
    peek_seconds: float
    decode_seconds: float
    capture_seconds: float
    peak_bytes: int


def measure(capture: Capture, *, profile: bool = False) -> Round:
    """Read the backlog three times, each time doing more with it."""
    for library in ("adbc_driver_postgresql.dbapi", "pyarrow"):
        import_module(library)  # what capturing needs is not loaded while the clock runs
    slot = capture.slot
    until = slot.flushed()
    began = time.monotonic()
    with closing(slot.peek(until, 10**9)) as messages:
        sum(1 for _ in messages)
    peeked = time.monotonic()
    with closing(slot.peek(until, 10**9)) as messages:
        decoder = Decoder()
        for message in messages:
            decoder.decode(message)
    decoded = time.monotonic()
    with cProfile.Profile() if profile else nullcontext() as profiler:
        report = capture.run()
    captured = time.monotonic()
    if profiler:
        pstats.Stats(profiler, stream=sys.stderr).sort_stats("cumulative").print_stats(45)
    counts = report.counts
    rows = counts.inserted + counts.updated + counts.skipped + counts.deleted
    return Round(counts.changes, rows, peeked - began, decoded - peeked, captured - decoded, peak_bytes())


if __name__ == "__main__":
    orders = json.load(sys.stdin)
    profile = orders.pop("profile")
    capture = Capture(**orders | {"root": Path(orders["root"])})
    json.dump(asdict(measure(capture, profile=profile)), sys.stdout)
