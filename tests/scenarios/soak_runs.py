"""The runs of the soak: each a task in a process of its own, killed, stalled, tried again, given up, two at once."""

from __future__ import annotations

import json
import os
import random
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field, replace
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Literal, get_args

from airflow_etl_sync.core.keys import ReconcileRules
from airflow_etl_sync.core.model import ConflictStrategy, Extraction, LoadRules
from airflow_etl_sync.errors import EtlSyncError, StateError
from airflow_etl_sync.journey.load import load
from tests.scenarios.forked import fork
from tests.scenarios.world import World

Form = Literal["chain", "one_task", "reconcile"]
Fate = Literal["let go", "killed", "stalled"]
TRIES = 4
CHUNK_ROWS = (20, 100, 400, 5_000)
SLEEPS_SECONDS = ((0.2, 1.5), (2.0, 10.0))
RETRYABLE, REFUSED = ".retryable", ".refused"


class SoakError(AssertionError):
    """Something happened that this package promises will not."""


@dataclass(frozen=True, slots=True)
class Task:
    """One run's work, as its tries find it.

    :param folder: where a try leaves what it hands on, and its last words
    """

    world: World
    form: Form
    name: str
    folder: Path

    @property
    def handed_on(self) -> Path:
        return self.folder / "extraction.json"

    def last_words(self, try_number: int) -> Path:
        return self.folder / f"try-{try_number}"


def take(task: Task, try_number: int) -> None:
    """One try: the whole way in one task, or the rest of the chain from where the last try stopped."""
    if task.form == "reconcile":
        reconcile(task.world, task.name)
        return
    if task.form == "one_task":
        task.world.sync(task.name, try_number=try_number)
        return
    if task.handed_on.exists():
        extraction = Extraction.from_xcom(json.loads(task.handed_on.read_text()))
    else:
        extraction = task.world.extract(task.name)
        draft = task.folder / f"draft-{os.getpid()}"
        draft.write_text(json.dumps(extraction.to_json()))
        draft.replace(task.handed_on)
    world = task.world
    with ThreadPoolExecutor(2) as mapped:
        loads = [
            mapped.submit(load, world.destination, world.staging, part, world.load_rules, try_number)
            for part in extraction.parts(2)
        ]
    for each in loads:
        each.result()
    world.advance(extraction)


def reconcile(world: World, name: str) -> None:
    """Delete what is gone from the source, however much it is."""
    world.reconcile(ReconcileRules(max_delete_percent=100), name, block_rows=50)


def attempt(task: Task, try_number: int) -> None:
    """A try, whose failure is told by name: those of two that are in each other's way are no defects."""
    try:
        take(task, try_number)
    except EtlSyncError as error:
        if error.is_retryable:
            task.last_words(try_number).with_suffix(RETRYABLE).touch()
        elif isinstance(error, StateError):
            task.last_words(try_number).with_suffix(REFUSED).touch()
        raise


@dataclass(slots=True)
class Tally:
    """What was lived through."""

    runs: int = 0
    done: int = 0
    kills: int = 0
    stalls: int = 0
    given_up: int = 0
    refused: int = 0
    at_once: int = 0
    taken_up: int = 0
    reconciled: int = 0

    def __str__(self) -> str:
        return (
            f"{self.runs} runs, {self.done} done, {self.kills} kills, {self.stalls} stalls, "
            f"{self.at_once} two at once, {self.refused} refused for another, {self.given_up} given up, "
            f"{self.taken_up} of these taken up later, {self.reconciled} reconciled"
        )


@dataclass(slots=True)
class Runs:
    """A maker of runs, whose every choice comes from the seed and the run's number."""

    world: World
    root: Path
    seed: int
    conflicts: tuple[ConflictStrategy, ...] = ("source_wins", "latest_wins")
    tally: Tally = field(default_factory=Tally)
    forms: tuple[Form, ...] = ("chain", "one_task")
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
            fate = _fate(chance) if try_number < first + TRIES - 1 else "let go"
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
        rules = LoadRules(conflict=chance.choice(self.conflicts))
        world = replace(self.world, load_rules=rules, chunk_rows=chance.choice(CHUNK_ROWS))
        return Task(world, chance.choice(self.forms), f"soak {number}", folder)

    def _taken_up_again(self, chance: random.Random) -> tuple[Task, int] | None:
        """Something that was given up some runs ago, as if a person had cleared it."""
        if chance.random() > 0.1 or not self._left_behind:
            return None
        task, try_number = self._left_behind.pop(0)
        if task.world.load_rules.conflict not in self.conflicts:
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

    def _try(self, task: Task, try_number: int, fate: Fate, chance: random.Random) -> BaseProcess:
        """A process that has ended, or one that stands still for a while."""
        began = time.monotonic()
        process = fork(attempt, task, try_number, errors=task.last_words(try_number))
        if fate == "let go":
            process.join()
            self._seconds += (time.monotonic() - began - self._seconds) / 10
            return process
        process.join(chance.uniform(0, 1.2) * self._seconds)
        if process.exitcode is not None or process.pid is None:
            return process
        if fate == "killed":
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
        if process.exitcode == 0:
            self.tally.done += 1
            self.tally.reconciled += task.form == "reconcile"
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
        raise SoakError(f"{task.name} ({task.form}), try {try_number}, ended by itself: {process.exitcode}, {told}")


def _fate(chance: random.Random) -> Fate:
    fate: Fate = chance.choices(get_args(Fate), [45, 45, 10])[0]
    return fate


def _send(pid: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):  # it has come to its end meanwhile
        os.kill(pid, number)
