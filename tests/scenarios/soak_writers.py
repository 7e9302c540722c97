"""The people of the soak: their transactions, of every length, insert, change, delete, bring back, and take back."""

from __future__ import annotations

import random
import threading
import time
from collections import defaultdict, deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import psycopg
from psycopg import errors

from tests.scenarios.soak_table import IDS, KINDS, random_values

Key = tuple[str, int]

OUR_OWN_FAULT = (
    *(errors.DeadlockDetected, errors.UniqueViolation, errors.SerializationFailure, errors.LockNotAvailable),
)
PAUSES_SECONDS = (0, 0, 0, 0.005, 0.02, 0.1, 0.4)
HOLDS_SECONDS = (*[0] * 12, 0.05, 0.05, 0.3, 0.3, 1.0, 3.0)
PREPARED_SECONDS = (0, 2.0, 5.0, 8.0)


@dataclass(slots=True)
class Habits:
    """What the writers do in one round.

    :param has_deletes: whether rows may go for good
    :param is_cursor_honest: whether a record's cursor never goes back, as ``latest_wins`` must be able to rely on.
        ``now()`` alone does not give that: it is the start of a transaction, and an older one may write last
    :param prepares: whether some transactions are prepared, which holds the watermark where it is, and committed later
    """

    has_deletes: bool
    is_cursor_honest: bool = True
    prepares: bool = False


@dataclass(slots=True)
class Writers:
    """Some threads that change table ``t``; they can be held still.

    :param history: what was last done to each key, to be told where a key went wrong
    """

    conninfo: str
    seed: int
    habits: Habits
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
                writer = _Writer(connection, random.Random(f"{self.seed} {number}"), number, self)
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
        is_repeatable = not self.writers.habits.is_cursor_honest and self.chance.random() < 0.25
        self.connection.execute(f"BEGIN ISOLATION LEVEL {'REPEATABLE READ' if is_repeatable else 'READ COMMITTED'}")
        began = self.connection.execute("SELECT now()::text").fetchone()
        for _ in range(self.chance.choice([1, 1, 1, 2, 3, 5, 20])):
            self._step()
            time.sleep(self.chance.choice(PAUSES_SECONDS) / 4)
        time.sleep(self.chance.choice(HOLDS_SECONDS))
        end = self.chance.random()
        if end < 0.12:
            self.connection.execute("ROLLBACK")
            return None
        if end > 0.9 and self.writers.habits.prepares and self._prepares():
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
        known = len(self.done)
        self._change()
        if takes_back:
            self.connection.execute("ROLLBACK TO SAVEPOINT doubt")
            del self.done[known:]

    def _change(self) -> None:
        key, new = self._key(), self._key()
        self._lock(key, new)
        deed = self.chance.choice(["put", "put", "put", "renew", "delete", "move"])
        if deed in ("delete", "move") and not self.writers.habits.has_deletes:
            deed = "put"
        if deed == "put":
            self._put(key)
        elif deed == "renew":
            self._delete(key)
            self._put(key)
        elif deed == "delete":
            self._delete(key)
        else:
            self._move(key, new)

    def _lock(self, *keys: Key) -> None:
        """One transaction at a time looks at a key's former cursor and sets the next one."""
        if self.writers.habits.is_cursor_honest:
            for key in sorted(keys):
                self.connection.execute("SELECT pg_advisory_xact_lock(hashtext(%s), %s)", key)

    def _key(self) -> Key:
        return self.chance.choice(KINDS), self.chance.randrange(IDS)

    def _put(self, key: Key) -> None:
        values = random_values(self.chance)
        update = ", ".join(f"{name} = excluded.{name}" for name in values)
        self.connection.execute(
            f"INSERT INTO t (kind, id, c, {', '.join(values)})"
            f" SELECT kind, id, {self._cursor('grave.c')}, {', '.join(values.values())}"
            " FROM (SELECT %s::text, %s::integer) AS asked (kind, id) LEFT JOIN grave USING (kind, id)"
            f" ON CONFLICT (kind, id) DO UPDATE SET {update}, c = {self._cursor('t.c', 'excluded.c')}",
            key,
        )
        self.done.append((key, "put"))

    def _delete(self, key: Key) -> None:
        self.connection.execute(
            "WITH gone AS (DELETE FROM t WHERE (kind, id) = (%s, %s) RETURNING kind, id, c)"
            " INSERT INTO grave SELECT kind, id, c FROM gone"
            " ON CONFLICT (kind, id) DO UPDATE SET c = greatest(grave.c, excluded.c)",
            key,
        )
        self.done.append((key, "deleted"))

    def _move(self, key: Key, new: Key) -> None:
        """Change a row's key, where the new one is free."""
        self.connection.execute(
            "INSERT INTO grave SELECT kind, id, c FROM t WHERE (kind, id) = (%s, %s)"
            " ON CONFLICT (kind, id) DO UPDATE SET c = greatest(grave.c, excluded.c)",
            key,
        )
        self.connection.execute(
            "UPDATE t SET kind = %s, id = %s,"
            f" c = {self._cursor('(SELECT max(c) FROM grave WHERE (kind, id) = (%s, %s))')}"
            " WHERE (kind, id) = (%s, %s) AND NOT EXISTS (SELECT FROM t WHERE (kind, id) = (%s, %s))",
            [*new, *(new if self.writers.habits.is_cursor_honest else ()), *key, *new],
        )
        self.done += [(key, f"moved to {new}"), (new, f"moved from {key}")]

    def _cursor(self, former: str, *others: str) -> str:
        """The cursor of a changed row, in SQL."""
        if self.writers.habits.is_cursor_honest:
            return f"greatest(now(), {', '.join([former, *others])})"
        return self.chance.choice(["now()"] * 30 + ["NULL", "'2099-01-01'::timestamptz", "'infinity'::timestamptz"])

    def _prepares(self) -> bool:
        if self._can_prepare is None:
            row = self.connection.execute("SHOW max_prepared_transactions").fetchone()
            self._can_prepare = row is not None and int(row[0]) > 0
        return self._can_prepare
