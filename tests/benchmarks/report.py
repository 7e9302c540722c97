"""The results as a table on the terminal and as Markdown."""

from __future__ import annotations

import os
import platform
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import psutil
from rich.console import Console
from rich.table import Table

from tests.benchmarks.contestants import CHAIN, DLT, DLT_REQUIREMENTS, FLOOR, ONE_TASK, TITLES
from tests.benchmarks.rounds import PHASES, Phase, Result

BEGIN, END = "<!-- measured: written by make bench -->", "<!-- end of what is measured -->"
HEADINGS = (
    "phase",
    "contestant",
    "seconds",
    "min-max",
    "rows/s",
    "ratio",
    "with start",
    "own CPU",
    "server CPU",
    "MB",
    "largest MB",
)
PACKAGES = ("adbc-driver-postgresql", "apache-airflow", "psycopg", "pyarrow", "sqlalchemy")


@dataclass(frozen=True, slots=True)
class Line:
    """One contestant in one phase: medians over the rounds, and the highest memory.

    :param ratio: median of the rounds' ratios to the floor of the same round
    """

    phase: Phase
    contestant: str
    seconds: float
    fastest: float
    slowest: float
    rows_per_second: float | None
    ratio: float
    process_seconds: float
    own_cpu_seconds: float
    server_cpu_seconds: float
    peak_bytes: int
    largest_bytes: int

    def cells(self) -> tuple[str, ...]:
        rate = "" if self.rows_per_second is None else f"{self.rows_per_second:,.0f}"
        return (
            self.phase,
            TITLES[self.contestant],
            f"{self.seconds:.2f}",
            f"{self.fastest:.2f}-{self.slowest:.2f}",
            rate,
            f"{self.ratio:.2f}",
            f"{self.process_seconds:.2f}",
            f"{self.own_cpu_seconds:.2f}",
            f"{self.server_cpu_seconds:.2f}",
            f"{self.peak_bytes / 1e6:.0f}",
            f"{self.largest_bytes / 1e6:.0f}",
        )


def summarise(results: Sequence[Result]) -> list[Line]:
    """One line for each contestant and phase."""
    contestants = dict.fromkeys(result.contestant for result in results)
    names = [name for name in TITLES if name in contestants]
    return [_line(phase, name, results) for phase in PHASES for name in names]


def show(lines: Iterable[Line], rows: int, rounds: int) -> None:
    """Print the table."""
    table = Table(title=f"{rows:,} rows, {rounds} rounds", title_justify="left")
    for heading in HEADINGS:
        table.add_column(heading, justify="left" if heading in HEADINGS[:2] else "right")
    for line in lines:
        table.add_row(*line.cells(), end_section=line.contestant == DLT)
    Console(width=170).print(table)


def write(
    path: Path, lines: Sequence[Line], *, rows: int, rounds: int, chunk_rows: Mapping[str, int], server: str
) -> None:
    """Replace what was measured in a Markdown file, and leave the rest of it."""
    chunks = f"chunks of {chunk_rows[ONE_TASK]:,} rows in one task and {chunk_rows[CHAIN]:,} in the chain"
    measured = "\n".join(
        [
            BEGIN,
            "",
            f"{rows:,} rows of 15 columns, {rounds} rounds, {chunks}. {machine(server)}",
            "",
            f"| {' | '.join(HEADINGS)} |",
            f"|{'|'.join(['---'] * 2 + ['---:'] * (len(HEADINGS) - 2))}|",
            *(f"| {' | '.join(line.cells())} |" for line in lines),
            "",
            END,
        ]
    )
    text = path.read_text() if path.exists() else f"# Results\n\n{BEGIN}\n{END}\n"
    before, _, rest = text.partition(BEGIN)
    path.write_text(before + measured + rest.partition(END)[2])


def machine(server: str) -> str:
    """What it was measured on, without names of hosts and paths."""
    packages = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    memory = round(psutil.virtual_memory().total / 2**30)
    dlt = next(line for line in DLT_REQUIREMENTS.read_text().splitlines() if line.startswith("dlt"))
    return (
        f"{os.cpu_count()} cores, {memory} GB of memory, {platform.system()} on {platform.machine()}, "
        f"PostgreSQL {server}, Python {platform.python_version()}, {packages}, {dlt.replace('==', ' ')}."
    )


def _line(phase: Phase, name: str, results: Sequence[Result]) -> Line:
    ours = [result for result in results if (result.phase, result.contestant) == (phase, name)]
    floor = {
        result.round: result.measured.seconds
        for result in results
        if (result.phase, result.contestant) == (phase, FLOOR)
    }
    seconds = [result.measured.seconds for result in ours]
    middle = statistics.median(seconds)
    return Line(
        phase=phase,
        contestant=name,
        seconds=middle,
        fastest=min(seconds),
        slowest=max(seconds),
        rows_per_second=ours[0].rows / middle if ours[0].rows else None,
        ratio=statistics.median(result.measured.seconds / floor[result.round] for result in ours),
        process_seconds=statistics.median(result.measured.process_seconds for result in ours),
        own_cpu_seconds=statistics.median(result.measured.own_cpu_seconds for result in ours),
        server_cpu_seconds=statistics.median(result.measured.server_cpu_seconds for result in ours),
        peak_bytes=max(result.measured.peak_bytes for result in ours),
        largest_bytes=max(result.measured.largest_bytes for result in ours),
    )
