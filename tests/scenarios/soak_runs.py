"""The runs of a soak: each a task in a process of its own, killed, stalled, tried again, given up, two at once."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Literal, Protocol, get_args

from airflow_etl_sync.errors import EtlSyncError, StateError
from tests.scenarios.doomed import arm
from tests.scenarios.forked import fork

Fate = Literal["let go", "killed", "stalled"]
Outcome = Literal["done", "killed", "failed"]
TRIES = 4
AT_FAILPOINTS = 0.7
"""The share of kills that come at a known point, where there are any, and not at a random time."""
LONGEST_AWAITED_SECONDS = 3.0
SLEEPS_SECONDS = ((0.2, 1.5), (2.0, 10.0))
RETRYABLE, REFUSED = ".retryable", ".refused"


class SoakError(AssertionError):
    """Something happened that this package promises will not."""


class Work(Protocol):
    """What a task does; it is handed to the task's process.

    :param kind: as it is counted
    """

    @property
    def kind(self) -> str: ...

    def take(self, name: str, folder: Path, try_number: int) -> None:
        """One try: the whole way, or the rest of it from where the last try stopped.

        :param folder: where a try leaves what it hands on
        """
        ...


class Maker(Protocol):
    """Who says what the runs do.

    :param failpoints: at which some of those that are killed kill themselves, see :mod:`tests.scenarios.doomed`
    """

    @property
    def failpoints(self) -> tuple[str, ...]: ...

    def new(self, chance: random.Random) -> Work:
        """The work of the next task."""
        ...

    def suits(self, work: Work) -> bool:
        """Whether a task that was given up some runs ago may be taken up again."""
        ...

    def ended(self, work: Work, how: Outcome) -> None:
        """A try has come to its end."""
        ...


@dataclass(frozen=True, slots=True)
class Task:
    """One run's work, as its tries find it.

    :param folder: where its tries leave what they hand on, and their last words
    """

    work: Work
    name: str
    folder: Path

    def last_words(self, try_number: int) -> Path:
        return self.folder / f"try-{try_number}"


def attempt(task: Task, try_number: int, failpoint: str | None) -> None:
    """A try, whose failure is told by name: those of two that are in each other's way are no defects."""
    if failpoint:
        arm(failpoint)
    try:
        task.work.take(task.name, task.folder, try_number)
    except EtlSyncError as error:
        if error.is_retryable:
            task.last_words(try_number).with_suffix(RETRYABLE).touch()
        elif isinstance(error, StateError):
            task.last_words(try_number).with_suffix(REFUSED).touch()
        raise


@dataclass(slots=True)
class Tally:
    """What was lived through.

    :param done: runs that came to their end, by what they did
    """

    runs: int = 0
    done: Counter[str] = field(default_factory=Counter)
    kills: int = 0
    stalls: int = 0
    given_up: int = 0
    refused: int = 0
    at_once: int = 0
    taken_up: int = 0

    def __str__(self) -> str:
        done = ", ".join(f"{number} {kind}" for kind, number in sorted(self.done.items()))
        return (
            f"{self.runs} runs, {self.done.total()} done ({done}), {self.kills} kills, {self.stalls} stalls, "
            f"{self.at_once} two at once, {self.refused} refused for another, {self.given_up} given up, "
            f"{self.taken_up} of these taken up later"
        )


@dataclass(slots=True)
class Runs:
    """The life of tasks, of which every choice comes from the seed and the run's number.

    :param longest_seconds: a try that takes longer is killed, whatever was meant for it
    :param doomed: so many tries are killed, before others have their own fates
    """

    maker: Maker
    root: Path
    seed: int
    longest_seconds: float | None = None
    doomed: int = 0
    tally: Tally = field(default_factory=Tally)
    _seconds: float = 0.5
    _sleepers: list[tuple[Task, int, BaseProcess]] = field(default_factory=list)
    _left_behind: list[tuple[Task, int]] = field(default_factory=list)

    def play(self) -> None:
        """One run, or two at once."""
        self._judge_sleepers(wait=False)
        if random.Random(f"{self.seed} at once {self.tally.runs}").random() < 0.8:
            self._play_one(self._next(), has_rival=False)
            return
        self.tally.at_once += 1
        with ThreadPoolExecutor(2) as both:
            played = [both.submit(self._play_one, self._next(), has_rival=True) for _ in range(2)]
        for each in played:
            each.result()

    def settle(self) -> None:
        """Wait for those that stand still, so that nothing is under way."""
        self._judge_sleepers(wait=True)

    def _next(self) -> int:
        self.tally.runs += 1
        return self.tally.runs

    def _play_one(self, number: int, *, has_rival: bool) -> None:
        chance = random.Random(f"{self.seed} {number}")
        if has_rival:
            time.sleep(chance.choice([0, 0.05, 0.3]))
        task, first = self._taken_up_again(chance) or (self._new_task(number, chance), 1)
        is_alone = not has_rival and first == 1 and not self._sleepers
        for try_number in range(first, first + TRIES):
            fate = self._fate(chance) if try_number < first + TRIES - 1 else "let go"
            process = self._try(task, try_number, fate, chance)
            if process.is_alive():
                self._sleepers.append((task, try_number, process))
                is_alone = False
            elif not self._is_left(task, try_number, process, is_alone=is_alone):
                return
            if chance.random() < 0.3:
                self.tally.given_up += 1
                self._left_behind.append((task, try_number + 1))
                return

    def _new_task(self, number: int, chance: random.Random) -> Task:
        folder = self.root / f"run-{number}"
        folder.mkdir(parents=True)
        return Task(self.maker.new(chance), f"soak {number}", folder)

    def _taken_up_again(self, chance: random.Random) -> tuple[Task, int] | None:
        """Something that was given up some runs ago, as if a person had cleared it."""
        if chance.random() > 0.1 or not self._left_behind:
            return None
        task, try_number = self._left_behind.pop(0)
        if not self.maker.suits(task.work):
            return None
        self.tally.taken_up += 1
        return task, try_number

    def _judge_sleepers(self, *, wait: bool) -> None:
        for sleeper in list(self._sleepers):
            task, try_number, process = sleeper
            if wait:
                process.join()
            if process.exitcode is not None:
                self._sleepers.remove(sleeper)
                self._is_left(task, try_number, process, is_alone=False)

    def _fate(self, chance: random.Random) -> Fate:
        fate: Fate = chance.choices(get_args(Fate), [45, 45, 10])[0]
        return "killed" if self.tally.kills < self.doomed else fate

    def _failpoint(self, chance: random.Random) -> str | None:
        """Where to be killed, for most of those that are."""
        if not self.maker.failpoints or chance.random() > AT_FAILPOINTS:
            return None
        return f"{chance.choice(self.maker.failpoints)} {chance.choice([1, 1, 2, 4])}"

    def _try(self, task: Task, try_number: int, fate: Fate, chance: random.Random) -> BaseProcess:
        """A process that has ended, or one that stands still for a while."""
        began = time.monotonic()
        failpoint = self._failpoint(chance) if fate == "killed" else None
        process = fork(attempt, task, try_number, failpoint, errors=task.last_words(try_number))
        if failpoint:
            process.join(self.longest_seconds)
        elif fate == "let go":
            process.join(self.longest_seconds)
            self._seconds += (min(time.monotonic() - began, LONGEST_AWAITED_SECONDS) - self._seconds) / 10
        else:
            process.join(chance.uniform(0, 1.2) * self._seconds)
        if process.exitcode is not None or process.pid is None:
            return process
        if fate != "stalled":
            process.kill()
            process.join()
            return process
        self.tally.stalls += 1
        _send(process.pid, signal.SIGSTOP)
        threading.Timer(chance.uniform(*chance.choice(SLEEPS_SECONDS)), _send, [process.pid, signal.SIGCONT]).start()
        return process

    def _is_left(self, task: Task, try_number: int, process: BaseProcess, *, is_alone: bool) -> bool:
        """Whether there is something left for another try.

        :raises SoakError: where a try has ended in a way that must not be
        """
        self.maker.ended(task.work, _outcome(process))
        if process.exitcode == 0:
            self.tally.done[task.work.kind] += 1
            return False
        if process.exitcode == -signal.SIGKILL:
            self.tally.kills += 1
            return True
        words = task.last_words(try_number)
        is_retryable = words.with_suffix(RETRYABLE).exists()
        if is_retryable or (words.with_suffix(REFUSED).exists() and not is_alone):
            self.tally.refused += 1
            return is_retryable
        told = words.read_text() if words.exists() else "without a word"
        raise SoakError(
            f"{task.name} ({task.work.kind}), try {try_number}, ended by itself: {process.exitcode}, {told}"
        )


def _outcome(process: BaseProcess) -> Outcome:
    if process.exitcode == 0:
        return "done"
    return "killed" if process.exitcode == -signal.SIGKILL else "failed"


def _send(pid: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):  # it has come to its end meanwhile
        os.kill(pid, number)
