"""What every soak does: writers that do anything, runs that are killed anywhere, and again and again a quiet moment."""

from __future__ import annotations

import random
import time
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.scenarios.soak_runs import Runs, SoakError
from tests.scenarios.soak_table import Difference
from tests.scenarios.soak_writers import Writers

SHOWN = 5


@dataclass(slots=True, kw_only=True)
class Soak(ABC):
    """
    :param seconds: how long writers and runs go on; the round under way is finished
    :param runs_a_round: from how many to how many
    """

    source_db: str
    warehouse_db: str
    root: Path
    seed: int
    seconds: float
    runs_a_round: tuple[int, int] = (5, 30)
    rounds: int = 0
    runs: Runs = field(init=False)
    writers: Writers = field(init=False)

    def play(self) -> None:
        """:raises SoakError: with all that is needed to find out why"""
        self.prepare()
        ends = time.monotonic() + self.seconds
        tells = time.monotonic() + 60
        with self.watching(), self.writers.at_work():
            while time.monotonic() < ends:
                self._round(ends)
                self._quiet()
                if time.monotonic() > tells:
                    self.tell()
                    tells = time.monotonic() + 60
        self.tell()

    def tell(self) -> None:
        print(f"{time.strftime('%H:%M:%S')} {self.rounds} quiet moments, all equal; {self}", flush=True)

    @abstractmethod
    def __str__(self) -> str:
        """What was lived through."""

    @abstractmethod
    def prepare(self) -> None:
        """Make the tables, and what must be there before anybody is at work."""

    @abstractmethod
    def vary(self, chance: random.Random) -> None:
        """Begin a round; the writers are held still."""

    @abstractmethod
    def settle(self) -> None:
        """Let undisturbed runs bring over what is left; the writers are held still, and no run is under way."""

    @abstractmethod
    def compare(self) -> None:
        """:raises SoakError: where rows differ or counts do not add up"""

    @abstractmethod
    def last_runs(self) -> Iterable[str]:
        """The last runs, as the state tables tell of them."""

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Look at what must be so at any moment, while writers and runs are at work."""
        yield

    def complaint(self) -> str | None:
        """What was not so."""
        return None

    def refuse_differences(self, name: str, found: list[Difference]) -> None:
        """:raises SoakError: with the rows, what was done to them, and the runs that had to do with them"""
        if not found:
            return
        told = [f"{len(found)} rows of {name} differ, {self}"]
        for difference in found[:SHOWN]:
            told.append(str(difference))
            told += [f"  {line}" for key in self.keys_of(name, difference.key) for line in self.writers.history[key]]
        raise SoakError("\n".join([*told, "the last runs, newest first:", *self.last_runs()]))

    def keys_of(self, name: str, key: tuple[object, ...]) -> list[tuple[object, ...]]:
        """Under which keys the writers tell what was done to a row."""
        return [key]

    def _round(self, ends: float) -> None:
        """Some runs, under habits that are new."""
        self.rounds += 1
        chance = random.Random(f"{self.seed} round {self.rounds}")
        with self.writers.held_still():
            self.writers.prepares = chance.random() < 0.4
            self.vary(chance)
        for _ in range(chance.randint(*self.runs_a_round)):
            self._refuse_failures()
            self.runs.play()
            if time.monotonic() > ends:
                return

    def _quiet(self) -> None:
        with self.writers.held_still():
            self.runs.settle()
            self.settle()
            self.compare()
        self._refuse_failures()

    def _refuse_failures(self) -> None:
        if complaint := self.complaint():
            raise SoakError(complaint)
        if self.writers.failure:
            raise SoakError(f"A writer failed: {self.writers.failure!r}")
