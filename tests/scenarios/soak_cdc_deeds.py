"""What the writers do to captured tables: rows, keys and long values, whole tables, and the tables' own shape."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

import psycopg

from tests.scenarios.soak_table import KINDS, TABLE, TYPES, Key, random_values

IDS, CHILDREN = 120, 120  # few, so that the same keys come, go and come again
SHAPES = f"""
{TYPES};
{TABLE};
ALTER TABLE t ADD big text;
ALTER TABLE t ALTER big SET STORAGE EXTERNAL;
CREATE TABLE child (
    id integer PRIMARY KEY, kind text NOT NULL, t_id integer NOT NULL, v text, body bytea NOT NULL,
    FOREIGN KEY (kind, t_id) REFERENCES t ON UPDATE CASCADE ON DELETE CASCADE
);
ALTER TABLE child ALTER body SET STORAGE EXTERNAL;
CREATE INDEX ON child (kind, t_id)
"""
"""Two tables, each with a value that is kept out of line, and that the log leaves out where it has not changed."""

LONG = "repeat(md5(random()::text), {times})"
"""Nothing compresses it, since it is stored as EXTERNAL."""

GROWING: tuple[tuple[str, ...], ...] = (
    ("smallint", "integer", "bigint", "numeric"),
    ("varchar(5)", "varchar(30)", "text"),
    ("numeric(8,2)", "numeric(14,5)"),
    ("date", "timestamp without time zone"),
    ("real", "double precision"),
)
WIDEST = {
    "smallint": "32767",
    "integer": "2147483647",
    "bigint": "9223372036854775807",
    "numeric": "1e30",
    "character varying(5)": "'12345'",
    "character varying(30)": "repeat('x', 30)",
    "text": "repeat('x', 90)",
    "numeric(8,2)": "123456.78",
    "numeric(14,5)": "123456789.12345",
    "date": "'2020-02-29'",
    "timestamp without time zone": "'2020-02-29 12:34:56.789'",
    "real": "3.25e38",
    "double precision": "1e300",
}
"""For each type a value that no narrower one of its line holds."""
MOST_COLUMNS = 10
GROWN = "SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute \
WHERE attrelid = 't'::regclass AND attname ~ '^x[0-9]+$' AND NOT attisdropped ORDER BY attnum"

WHOLE_TABLE: Key = ("whole tables",)


@dataclass(slots=True)
class Habits:
    """What the writers do in one round.

    :param truncates: whether whole tables are emptied
    :param alters: whether columns come, and change their types
    :param identifies: whether the replica identity changes to FULL and back
    """

    truncates: bool = False
    alters: bool = False
    identifies: bool = False


@dataclass(slots=True)
class CdcDeeds:
    """One writer of the tables ``t`` and ``child``."""

    connection: psycopg.Connection
    chance: random.Random
    habits: Habits

    def isolation(self) -> str:
        return "REPEATABLE READ" if self.chance.random() < 0.1 else "READ COMMITTED"

    def change(self) -> list[tuple[Key, str]]:
        rare = self.chance.random()
        if rare < 0.004 and self.habits.truncates:
            return self._truncate()
        if 0.004 < rare < 0.012 and self.habits.alters:
            return self._alter()
        if 0.012 < rare < 0.018 and self.habits.identifies:
            return self._identify()
        deeds: list[tuple[Callable[[], list[tuple[Key, str]]], int]] = [
            (self._put, 6), (self._touch, 5), (self._touch_many, 1), (self._put_many, 1), (self._delete, 2),
            (self._renew, 2), (self._move, 3), (self._swap, 1), (self._bear, 3), (self._touch_child, 3),
            (self._lose, 1), (self._adopt, 1),
        ]  # fmt: skip
        (deed,) = self.chance.choices([deed for deed, _ in deeds], [weight for _, weight in deeds])
        return deed()

    def _key(self) -> Key:
        return self.chance.choice(KINDS), self.chance.randrange(IDS)

    def _long(self) -> str:
        return LONG.format(times=self.chance.randint(80, 300))

    def _grown(self) -> dict[str, str]:
        """A value for each column that has come, which may be too wide for what the warehouse has."""
        rows: list[tuple[str, str]] = self.connection.execute(GROWN).fetchall()
        return {name: self.chance.choice(["NULL", _narrow(type_), WIDEST[type_]]) for name, type_ in rows}

    # -- rows -----------------------------------------------------------------------------------------------

    def _put(self, key: Key | None = None) -> list[tuple[Key, str]]:
        """Insert a row, or change all of it but, often, its long value."""
        key = key or self._key()
        values = random_values(self.chance) | self._grown()
        if self.chance.random() < 0.4:
            values["big"] = self._long()
        update = ", ".join(f"{name} = excluded.{name}" for name in values)
        self.connection.execute(
            f"INSERT INTO t (kind, id, c, {', '.join(values)})"
            f" VALUES (%s, %s, clock_timestamp(), {', '.join(values.values())})"
            f" ON CONFLICT (kind, id) DO UPDATE SET {update}, c = excluded.c",
            key,
        )
        return [(("t", *key), "put with a new long value" if "big" in values else "put")]

    def _touch(self) -> list[tuple[Key, str]]:
        key = self._key()
        self.connection.execute(
            "UPDATE t SET c = clock_timestamp(), exact = %s WHERE (kind, id) = (%s, %s)", [self.chance.random(), *key]
        )
        return [(("t", *key), "touched")]

    def _touch_many(self) -> list[tuple[Key, str]]:
        (kind, first), many = self._key(), self.chance.randint(3, 40)
        self.connection.execute(
            "UPDATE t SET c = clock_timestamp() WHERE kind = %s AND id BETWEEN %s AND %s", [kind, first, first + many]
        )
        return [(("t", kind, id_), "touched with others") for id_ in range(first, first + many + 1)]

    def _put_many(self) -> list[tuple[Key, str]]:
        (kind, first), many = self._key(), self.chance.randint(3, 40)
        self.connection.execute(
            f"INSERT INTO t (kind, id, words, big) SELECT %s, i, 'one of many', {self._long()}"
            " FROM generate_series(%s::int, %s) AS i ON CONFLICT DO NOTHING",
            [kind, first, min(first + many, IDS - 1)],
        )
        return [(("t", kind, id_), "put with others, if absent") for id_ in range(first, first + many + 1)]

    def _delete(self, key: Key | None = None) -> list[tuple[Key, str]]:
        key = key or self._key()
        self.connection.execute("DELETE FROM t WHERE (kind, id) = (%s, %s)", key)
        return [(("t", *key), "deleted, with its children")]

    def _renew(self) -> list[tuple[Key, str]]:
        key = self._key()
        return self._delete(key) + self._put(key)

    def _move(self) -> list[tuple[Key, str]]:
        """Change a row's key, where the new one is free, and sometimes more of it."""
        key, new = self._key(), self._key()
        more = self.chance.choice(["", "", ", words = 'moved'", f", big = {self._long()}"])
        self.connection.execute(
            f"UPDATE t SET kind = %s, id = %s{more} WHERE (kind, id) = (%s, %s)"
            " AND NOT EXISTS (SELECT FROM t WHERE (kind, id) = (%s, %s))",
            [*new, *key, *new],
        )
        return [(("t", *key), f"moved to {new} if that was free"), (("t", *new), f"moved from {key} if it was free")]

    def _swap(self) -> list[tuple[Key, str]]:
        one, other = self._key(), self._key()
        aside: Key = ("aside", self.chance.randrange(10**9))
        for before, after in ((one, aside), (other, one), (aside, other)):
            self.connection.execute("UPDATE t SET kind = %s, id = %s WHERE (kind, id) = (%s, %s)", [*after, *before])
        return [(("t", *one), f"swapped with {other}"), (("t", *other), f"swapped with {one}")]

    # -- children -------------------------------------------------------------------------------------------

    def _bear(self) -> list[tuple[Key, str]]:
        """Insert a child of a row that is there, or give a child another long value."""
        id_, key = self.chance.randrange(CHILDREN), self._key()
        self.connection.execute(
            f"INSERT INTO child SELECT %s, kind, id, 'born', decode({self._long()}, 'hex') FROM t"
            " WHERE (kind, id) = (%s, %s) ON CONFLICT (id) DO UPDATE SET body = excluded.body",
            [id_, *key],
        )
        return [(("child", id_), f"born to {key}, or with a new long value")]

    def _touch_child(self) -> list[tuple[Key, str]]:
        id_ = self.chance.randrange(CHILDREN)
        self.connection.execute("UPDATE child SET v = clock_timestamp()::text WHERE id = %s", [id_])
        return [(("child", id_), "touched")]

    def _lose(self) -> list[tuple[Key, str]]:
        id_ = self.chance.randrange(CHILDREN)
        self.connection.execute("DELETE FROM child WHERE id = %s", [id_])
        return [(("child", id_), "deleted")]

    def _adopt(self) -> list[tuple[Key, str]]:
        """Give a child to another row, and sometimes another key, where that is free."""
        id_, key, new = self.chance.randrange(CHILDREN), self._key(), self.chance.randrange(CHILDREN)
        self.connection.execute(
            "UPDATE child SET kind = t.kind, t_id = t.id FROM t WHERE (t.kind, t.id) = (%s, %s) AND child.id = %s",
            [*key, id_],
        )
        self.connection.execute(
            "UPDATE child SET id = %s WHERE id = %s AND NOT EXISTS (SELECT FROM child WHERE id = %s)", [new, id_, new]
        )
        return [(("child", id_), f"given to {key}, moved to {new} if that was free"), (("child", new), "moved here")]

    # -- tables ---------------------------------------------------------------------------------------------

    def _truncate(self) -> list[tuple[Key, str]]:
        statement = self.chance.choice(["TRUNCATE t CASCADE", "TRUNCATE child", "TRUNCATE child, t"])
        return self._to_whole_tables(statement)

    def _alter(self) -> list[tuple[Key, str]]:
        """Let a column come, or take more."""
        grown: list[tuple[str, str]] = self.connection.execute(GROWN).fetchall()
        if not grown or (len(grown) < MOST_COLUMNS and self.chance.random() < 0.4):
            place = len(grown)
            return self._to_whole_tables(f"ALTER TABLE t ADD x{place} {GROWING[place % len(GROWING)][0]}")
        name, type_ = self.chance.choice(grown)
        line = list(GROWING[int(name[1:]) % len(GROWING)])
        place = [each.replace("varchar", "character varying") for each in line].index(type_)
        if place + 1 == len(line):
            return []
        return self._to_whole_tables(f"ALTER TABLE t ALTER {name} TYPE {line[place + 1]}")

    def _identify(self) -> list[tuple[Key, str]]:
        table, identity = self.chance.choice(["t", "child"]), self.chance.choice(["FULL", "DEFAULT"])
        return self._to_whole_tables(f"ALTER TABLE {table} REPLICA IDENTITY {identity}")

    def _to_whole_tables(self, statement: str) -> list[tuple[Key, str]]:
        """Do what waits for all readers, but not for long, since all others wait behind it."""
        self.connection.execute("SET LOCAL lock_timeout = '300ms'")
        self.connection.execute(statement)
        self.connection.execute("SET LOCAL lock_timeout = 0")
        return [(WHOLE_TABLE, statement)]


def _narrow(type_: str) -> str:
    """A value that the first type of its line holds."""
    return "'2021-01-01'" if type_.startswith(("date", "timestamp")) else "'1'"


def widen(source: psycopg.Connection) -> None:
    """Write a row that needs all the room which the columns have, so that the warehouse must have it, too."""
    grown = {name: WIDEST[type_] for name, type_ in source.execute(GROWN).fetchall()}
    names, values = ", ".join(["kind", "id", *grown]), ", ".join(["'widest'", "0", *grown.values()])
    source.execute("DELETE FROM t WHERE kind = 'widest'")
    source.execute(f"INSERT INTO t ({names}) VALUES ({values})")
