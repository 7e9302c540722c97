"""How cost grows with the table: ``python -m tests.benchmarks.growth [--largest 10000000] --draw growth.svg``.

For tables of 100,000 rows and more: the seconds and the memory of a first load, and the seconds of a delta that has
always the same size.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from airflow_etl_sync.demo.postgres import EmbeddedPostgres
from tests.benchmarks import contestants
from tests.benchmarks.rounds import SERVER_SETTINGS, VERSION, Course, Phase, Result

SMALLEST = 100_000
CHANGES = 20_000
NAMES = {contestants.FLOOR: "floor", contestants.ONE_TASK: "one task", contestants.CHAIN: "chain"}


def sizes(largest: int, smallest: int = SMALLEST) -> list[int]:
    """1, 3, 10, 30 … times the smallest, up to the largest."""
    steps = [smallest * factor * 10**power for power in range(9) for factor in (1, 3)]
    return [step for step in steps if step <= largest]


def measure(course: Course, rows: Sequence[int]) -> dict[int, list[Result]]:
    """One round for each size of the table."""
    return {size: list(course.of_size(size).run(rounds=1)) for size in rows}


def draw(path: Path, measured: dict[int, list[Result]]) -> None:
    """Draw seconds and memory of the first load, and seconds of the delta, over the rows of the table."""
    with rc_context({"svg.hashsalt": "growth", "svg.fonttype": "none", "font.size": 9}):
        figure = Figure(figsize=(12, 3.8), layout="constrained")
        load, memory, delta = figure.subplots(1, 3)
        for name, title in NAMES.items():
            _line(load, measured, name, title, "full", "seconds")
            _line(memory, measured, name, title, "full", "megabytes")
            _line(delta, measured, name, title, "delta", "seconds")
        load.set_yscale("log")
        _label(load, "first load", "seconds")
        _label(memory, "first load: largest process", "MB")
        changes = next(result.rows for results in measured.values() for result in results if result.phase == "delta")
        _label(delta, f"{changes:,} changes into a table of so many rows", "seconds")
        figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)


def _line(axes: Axes, measured: dict[int, list[Result]], name: str, title: str, phase: Phase, unit: str) -> None:
    found = {
        size: result.measured.seconds if unit == "seconds" else result.measured.largest_bytes / 1e6
        for size, results in measured.items()
        for result in results
        if (result.contestant, result.phase) == (name, phase)
    }
    axes.plot(list(found), list(found.values()), marker="o", label=title)


def _label(axes: Axes, title: str, unit: str) -> None:
    axes.set(title=title, xlabel="rows", ylabel=unit, xscale="log")
    if axes.get_yscale() != "log":
        axes.set_ylim(bottom=0)
    axes.grid(visible=True, alpha=0.3)
    axes.legend()


def main() -> None:
    parser = argparse.ArgumentParser(prog="tests.benchmarks.growth", description=__doc__)
    parser.add_argument("--largest", type=int, default=1_000_000, help="rows of the largest table")
    parser.add_argument("--draw", type=Path, required=True, help="an SVG or PNG file")
    given = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="etl-sync-benchmark-") as root,
        EmbeddedPostgres(version=VERSION, settings=SERVER_SETTINGS) as server,
    ):
        course = Course(
            server=server,
            contestants=contestants.prepare(Path(root), with_airflow=False, with_dlt=False),
            rows=SMALLEST,
            changes=CHANGES,
            folder=Path(root),
            phases=["full", "delta"],
        )
        draw(given.draw, measure(course, sizes(given.largest)))


if __name__ == "__main__":
    main()
