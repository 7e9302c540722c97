"""One process run to its end, and how much memory it and its children took at most."""

from __future__ import annotations

import json
import subprocess
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

if TYPE_CHECKING:
    from typing_extensions import Self

SAMPLES_APART_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class Measured:
    """What a contestant took.

    :param seconds: as it measured itself, without its start
    :param process_seconds: from its start to its end
    :param peak_bytes: resident memory of it and its children together, at most
    :param largest_bytes: resident memory of the largest of these processes, at most
    :param own_cpu_seconds: processor time of these processes, their start and imports included
    :param server_cpu_seconds: processor time of the server's sessions
    :param answer: what else it said
    """

    seconds: float
    process_seconds: float
    peak_bytes: int
    largest_bytes: int
    own_cpu_seconds: float
    server_cpu_seconds: float
    answer: dict[str, Any] = field(default_factory=dict)


class ContestantError(RuntimeError):
    """A contestant ended with an error; the message ends with what it wrote."""


def run_measured(
    command: Sequence[str],
    orders: dict[str, Any],
    *,
    folder: Path,
    server_pid: int,
    environment: dict[str, str] | None = None,
) -> Measured:
    """Run a contestant.

    :param orders: what it is to do, given as JSON on its input
    :param server_pid: the PostgreSQL server, whose sessions are its children
    :raises ContestantError: where it fails
    """
    server, ourselves = psutil.Process(server_pid), psutil.Process()
    server_before, own_before = _cpu_of_ended_children(server), _cpu_of_ended_children(ourselves)
    began = time.monotonic()
    with (folder / "errors.log").open("w+") as errors:
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, env=environment, text=True
        )
        with _Watch(process.pid) as watch:
            output, _ = process.communicate(json.dumps(orders))
        seconds = time.monotonic() - began
        if process.returncode:
            errors.seek(0)
            raise ContestantError(f"{orders['contestant']} failed in {orders['phase']}:\n{errors.read()[-3000:]}")
    answer = json.loads(output)
    _wait_until_sessions_end(server)
    return Measured(
        seconds=answer.pop("seconds"),
        process_seconds=seconds,
        peak_bytes=watch.peak_bytes,
        largest_bytes=watch.largest_bytes,
        own_cpu_seconds=_cpu_of_ended_children(ourselves) - own_before,
        server_cpu_seconds=_cpu_of_ended_children(server) - server_before,
        answer=answer,
    )


class _Watch:
    """Samples the resident memory of a process and all below it, as long as the block runs."""

    def __init__(self, pid: int) -> None:
        self._process = psutil.Process(pid)
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._sample)
        self.peak_bytes = self.largest_bytes = 0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._thread.join()

    def _sample(self) -> None:
        while not self._is_over.wait(SAMPLES_APART_SECONDS):
            sizes = [size for process in self._family() if (size := _resident_bytes(process))]
            self.peak_bytes = max(self.peak_bytes, sum(sizes))
            self.largest_bytes = max(self.largest_bytes, *sizes, 0)

    def _family(self) -> list[psutil.Process]:
        try:
            return [self._process, *self._process.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []


def _resident_bytes(process: psutil.Process) -> int:
    try:
        return int(process.memory_info().rss)
    except psutil.NoSuchProcess:
        return 0


def _cpu_of_ended_children(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.children_user + times.children_system)


def _wait_until_sessions_end(server: psutil.Process) -> None:
    """Sessions end a moment after their clients; what else the server keeps stays."""
    count, deadline = -1, time.monotonic() + 2
    while count != (count := len(server.children())) and time.monotonic() < deadline:
        time.sleep(0.2)
