"""What the writers do to a table with a cursor: insert, update, delete, bring back, move."""

from __future__ import annotations

import random
from dataclasses import dataclass

import psycopg

from tests.scenarios.soak_table import IDS, KINDS, Key, random_values

GRAVES = "CREATE TABLE grave (kind text, id integer, c timestamptz, PRIMARY KEY (kind, id))"
"""The cursors of rows that went, below which those that come in their place must not begin."""


@dataclass(slots=True)
class Habits:
    """What the writers do in one round.

    :param has_deletes: whether rows may go for good
    :param is_cursor_honest: whether a record's cursor never goes back, as ``latest_wins`` must be able to rely on.
        ``now()`` alone does not give that: it is the start of a transaction, and an older one may write last
    """

    has_deletes: bool
    is_cursor_honest: bool = True


@dataclass(slots=True)
class SyncDeeds:
    """One writer of table ``t``."""

    connection: psycopg.Connection
    chance: random.Random
    habits: Habits

    def isolation(self) -> str:
        is_repeatable = not self.habits.is_cursor_honest and self.chance.random() < 0.25
        return "REPEATABLE READ" if is_repeatable else "READ COMMITTED"

    def change(self) -> list[tuple[Key, str]]:
        key, new = self._key(), self._key()
        self._lock(key, new)
        deed = self.chance.choice(["put", "put", "put", "renew", "delete", "move"])
        if deed in ("delete", "move") and not self.habits.has_deletes:
            deed = "put"
        if deed == "put":
            return self._put(key)
        if deed == "renew":
            return self._delete(key) + self._put(key)
        return self._delete(key) if deed == "delete" else self._move(key, new)

    def _lock(self, *keys: Key) -> None:
        """One transaction at a time looks at a key's former cursor and sets the next one."""
        if self.habits.is_cursor_honest:
            for key in sorted(keys):
                self.connection.execute("SELECT pg_advisory_xact_lock(hashtext(%s), %s)", key)

    def _key(self) -> Key:
        return self.chance.choice(KINDS), self.chance.randrange(IDS)

    def _put(self, key: Key) -> list[tuple[Key, str]]:
        values = random_values(self.chance)
        update = ", ".join(f"{name} = excluded.{name}" for name in values)
        self.connection.execute(
            f"INSERT INTO t (kind, id, c, {', '.join(values)})"
            f" SELECT kind, id, {self._cursor('grave.c')}, {', '.join(values.values())}"
            " FROM (SELECT %s::text, %s::integer) AS asked (kind, id) LEFT JOIN grave USING (kind, id)"
            f" ON CONFLICT (kind, id) DO UPDATE SET {update}, c = {self._cursor('t.c', 'excluded.c')}",
            key,
        )
        return [(key, "put")]

    def _delete(self, key: Key) -> list[tuple[Key, str]]:
        self.connection.execute(
            "WITH gone AS (DELETE FROM t WHERE (kind, id) = (%s, %s) RETURNING kind, id, c)"
            " INSERT INTO grave SELECT kind, id, c FROM gone"
            " ON CONFLICT (kind, id) DO UPDATE SET c = greatest(grave.c, excluded.c)",
            key,
        )
        return [(key, "deleted")]

    def _move(self, key: Key, new: Key) -> list[tuple[Key, str]]:
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
            [*new, *(new if self.habits.is_cursor_honest else ()), *key, *new],
        )
        return [(key, f"moved to {new}"), (new, f"moved from {key}")]

    def _cursor(self, former: str, *others: str) -> str:
        """The cursor of a changed row, in SQL."""
        if self.habits.is_cursor_honest:
            return f"greatest(now(), {', '.join([former, *others])})"
        return self.chance.choice(["now()"] * 30 + ["NULL", "'2099-01-01'::timestamptz", "'infinity'::timestamptz"])
