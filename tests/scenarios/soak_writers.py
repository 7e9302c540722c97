"""The people of a soak: transactions of every length, rolled back, prepared, held open; others say what they do."""

from __future__ import annotations

import random
import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol

import psycopg
from psycopg import errors

from tests.scenarios.soak_table import Key

OUR_OWN_FAULT = (
    *(errors.DeadlockDetected, errors.UniqueViolation, errors.SerializationFailure, errors.LockNotAvailable),
    *(errors.ForeignKeyViolation, errors.UndefinedColumn, errors.DuplicateColumn),
)
PAUSES_SECONDS = (0, 0, 0, 0.005, 0.02, 0.1, 0.4)
HOLDS_SECONDS = (*[0] * 12, 0.05, 0.05, 0.3, 0.3, 1.0, 3.0)
PREPARED_SECONDS = (0, 2.0, 5.0, 8.0)


class Deeds(Protocol):
    """What one writer does within its transactions."""

    def isolation(self) -> str:
        """The isolation level of the next transaction."""
        ...

    def change(self) -> list[tuple[Key, str]]:
        """Do one thing; the keys that it has changed, and how."""
        ...


@dataclass(slots=True)
class Writers:
    """Some threads that change a source; they can be held still.

    :param new_deeds: gives a writer's deeds, by its connection and its source of chance
    :param prepares: whether some transactions are prepared, and committed later
    :param history: what was last done to each key, to be told where a key went wrong
    """

    conninfo: str
    seed: int
    new_deeds: Callable[[psycopg.Connection, random.Random], Deeds]
    prepares: bool = False
    count: int = 8
    transactions: int = 0
    history: dict[Key, deque[str]] = field(default_factory=lambda: defaultdict(lambda: deque(maxlen=10)))
    failure: BaseException | None = None
    _ends: threading.Event = field(default_factory=threading.Event)
    _gate: threading.Condition = field(default_factory=threading.Condition)
    _busy: int = 0
    _is_held: bool = False

    @contextmanager
    def at_work(self) -> Iterator[None]:
        threads = [threading.Thread(target=self._write, args=[number]) for number in range(self.count)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._ends.set()
            with self._gate:
                self._is_held = False
                self._gate.notify_all()
            for thread in threads:
                thread.join()

    @contextmanager
    def held_still(self) -> Iterator[None]:
        """No transaction is open and none begins."""
        with self._gate:
            self._is_held = True
            self._gate.wait_for(lambda: self._busy == 0)
        yield
        with self._gate:
            self._is_held = False
            self._gate.notify_all()

    def _write(self, number: int) -> None:
        try:
            with psycopg.connect(self.conninfo, autocommit=True) as connection:
                chance = random.Random(f"{self.seed} {number}")
                writer = _Writer(connection, chance, number, self, self.new_deeds(connection, chance))
                while not self._ends.is_set():
                    with self._turn():
                        writer.take_turn()
        except BaseException as error:
            self.failure = error
            raise

    @contextmanager
    def _turn(self) -> Iterator[None]:
        with self._gate:
            self._gate.wait_for(lambda: not self._is_held)
            self._busy += 1
        try:
            yield
        finally:
            with self._gate:
                self._busy -= 1
                self.transactions += 1
                self._gate.notify_all()


@dataclass(slots=True)
class _Writer:
    connection: psycopg.Connection
    chance: random.Random
    number: int
    writers: Writers
    deeds: Deeds
    done: list[tuple[Key, str]] = field(default_factory=list)
    _can_prepare: bool | None = None

    def take_turn(self) -> None:
        time.sleep(self.chance.choice(PAUSES_SECONDS))
        self.done = []
        try:
            outcome = self._transaction()
        except OUR_OWN_FAULT:
            self.connection.execute("ROLLBACK")
            return
        if outcome:
            for key, deed in self.done:
                self.writers.history[key].append(f"{deed}, {outcome}")

    def _transaction(self) -> str | None:
        self.connection.execute(f"BEGIN ISOLATION LEVEL {self.deeds.isolation()}")
        began = self.connection.execute("SELECT now()::text").fetchone()
        for _ in range(self.chance.choice([1, 1, 1, 2, 3, 5, 20])):
            self._step()
            time.sleep(self.chance.choice(PAUSES_SECONDS) / 4)
        time.sleep(self.chance.choice(HOLDS_SECONDS))
        end = self.chance.random()
        if end < 0.12:
            self.connection.execute("ROLLBACK")
            return None
        if end > 0.9 and self.writers.prepares and self._prepares():
            name = f"writer {self.number}"
            self.connection.execute(f"PREPARE TRANSACTION '{name}'")
            time.sleep(self.chance.choice(PREPARED_SECONDS))
            self.connection.execute(f"COMMIT PREPARED '{name}'")
        else:
            self.connection.execute("COMMIT")
        ended = self.connection.execute("SELECT clock_timestamp()::text").fetchone()
        return f"begun {began and began[0]}, committed before {ended and ended[0]}"

    def _step(self) -> None:
        takes_back = self.chance.random() < 0.08
        if takes_back:
            self.connection.execute("SAVEPOINT doubt")
        done = self.deeds.change()
        if takes_back:
            self.connection.execute("ROLLBACK TO SAVEPOINT doubt")
        else:
            self.done += done

    def _prepares(self) -> bool:
        if self._can_prepare is None:
            row = self.connection.execute("SHOW max_prepared_transactions").fetchone()
            self._can_prepare = row is not None and int(row[0]) > 0
        return self._can_prepare
