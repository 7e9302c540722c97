"""What the writers of MariaDB do to captured tables: rows and keys, one or many, whole tables, columns, log files."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import pymysql

from tests.mariadb import MariaDb
from tests.scenarios.soak_table import Key
from tests.scenarios.soak_writers import HOLDS_SECONDS, PAUSES_SECONDS, Writers

KINDS, IDS, CHILDREN = ("a", "ä 'b\""), 120, 120
SHAPES = (
    """
    CREATE TABLE t (
        kind varchar(10) COLLATE utf8mb4_bin, id integer, c bigint NOT NULL DEFAULT 0, words longtext,
        price decimal(12, 3), many decimal(40, 20), `real` double, small tinyint unsigned, at datetime(6), day date,
        bytes longblob, doc json, uuid uuid, mood enum('happy', '', 'ä') CHARACTER SET latin1,
        PRIMARY KEY (kind, id)
    )
    """,
    "CREATE TABLE child (id integer PRIMARY KEY, kind varchar(10), t_id integer, c bigint NOT NULL, body longblob)",
    "CREATE TABLE audit (number bigint AUTO_INCREMENT PRIMARY KEY)",
    *(
        f"CREATE TRIGGER {table}_{deed} AFTER {deed} ON {table} FOR EACH ROW INSERT INTO audit VALUES ()"
        for table in ("t", "child")
        for deed in ("INSERT", "UPDATE", "DELETE")
    ),
)
"""Two tables that count what is done to their rows, in one that is not captured."""

VALUES: dict[str, tuple[str, ...]] = {
    "words": (
        *("''", "' '", "'NULL'", r"'\\N'", r"'\r\n\t'", "'👨‍👩'", "''''"),
        *("repeat('ä', 3000)", "repeat(uuid(), 2000)"),
    ),
    "price": ("1", "1.5", "-123456789.123", "0"),
    "many": ("99999999999999999999.00000000000000000001", "-1e-20", "0"),
    "`real`": ("0.1", "5e-324", "-0e0", "9007199254740993", "1.7e308"),
    "small": ("0", "255"),
    "at": ("'1000-01-01'", "'9999-12-31 23:59:59.999999'", "'2020-10-25 02:30:00.000001'"),
    "day": ("'1000-01-01'", "'9999-12-31'", "'2020-02-29'"),
    "bytes": ("''", "x'00'", "x'5c7800ff'", "repeat(x'00ff', 2000)"),
    "doc": ("'{\"a\": [1.00, null]}'", "'\"ä😀\"'", "'null'"),
    "uuid": ("uuid()", "'00000000-0000-0000-0000-000000000000'"),
    "mood": ("'happy'", "''", "'ä'"),
}
GROWING = ("smallint", "int", "bigint")
MOST_COLUMNS = 8
ROWS_ARE_TAKEN = (1062, 1586)
OUR_OWN_FAULT = (1020, 1054, 1060, 1072, 1205, 1213, 1412, 1317)
"""Deadlocks, and columns that another writer has made or not made yet."""
SERVER_IS_AWAY = (0, 1053, 1927, 2003, 2006, 2013)
WHOLE_TABLE: Key = ("whole tables",)

Done = list[tuple[Key, str]]


@dataclass(slots=True)
class BinlogHabits:
    """What the writers do in one round.

    :param truncates: whether whole tables are emptied
    :param alters: whether columns come, and change their types
    :param rotates: whether new files of the log are begun
    """

    truncates: bool = False
    alters: bool = False
    rotates: bool = True


@dataclass(slots=True)
class BinlogDeeds:
    """One writer of the tables ``t`` and ``child``."""

    cursor: pymysql.cursors.Cursor
    chance: random.Random
    habits: BinlogHabits

    def alone(self) -> Done | None:
        """A statement that is a transaction of its own; None where there is to be another one."""
        rare = self.chance.random()
        if rare < 0.03 and self.habits.rotates:
            self.cursor.execute("FLUSH BINARY LOGS")
            return []
        if 0.03 < rare < 0.04 and self.habits.truncates:
            self.cursor.execute(f"TRUNCATE {self.chance.choice(['t', 'child'])}")
            return [(WHOLE_TABLE, "emptied")]
        if 0.04 < rare < 0.06 and self.habits.alters:
            return self._alter()
        return None

    def change(self) -> Done:
        deeds: list[tuple[Callable[[], Done], int]] = [
            (self._put, 6), (self._touch, 5), (self._touch_many, 1), (self._put_many, 1), (self._delete, 2),
            (self._delete_many, 1), (self._move, 3), (self._swap, 1), (self._shift, 1), (self._bear, 3),
            (self._touch_children, 2), (self._lose, 1),
        ]  # fmt: skip
        (deed,) = self.chance.choices([deed for deed, _ in deeds], [weight for _, weight in deeds])
        try:
            return deed()
        except pymysql.err.IntegrityError as error:  # the statement has done nothing
            if error.args[0] not in ROWS_ARE_TAKEN:
                raise
            return []

    def _do(self, statement: str, *values: Any) -> None:
        self.cursor.execute(statement, values)

    def _key(self) -> tuple[str, int]:
        return self.chance.choice(KINDS), self.chance.randrange(IDS)

    def _range(self) -> tuple[str, int, int]:
        kind, first = self._key()
        return kind, first, first + self.chance.randint(3, 40)

    def _grown(self) -> dict[str, str]:
        self._do(
            "SELECT column_name, column_type FROM information_schema.columns"
            " WHERE table_schema = database() AND table_name = 't' AND column_name LIKE 'x_'"
        )
        widest = {"smallint": "32767", "int": "2147483647", "bigint": "9223372036854775807"}
        return {
            str(name): self.chance.choice(["NULL", "7", widest[str(type_).partition("(")[0]]])
            for name, type_ in self.cursor.fetchall()
        }

    # -- rows -----------------------------------------------------------------------------------------------

    def _put(self) -> Done:
        key = self._key()
        values = {
            name: "NULL" if self.chance.random() < 1 / 6 else self.chance.choice(each) for name, each in VALUES.items()
        } | self._grown()
        names, given = ", ".join(values), ", ".join(values.values())
        changed = ", ".join(f"{name} = VALUES({name})" for name in values)
        self._do(
            f"INSERT INTO t (kind, id, {names}) VALUES (%s, %s, {given}) ON DUPLICATE KEY UPDATE c = c + 1, {changed}",
            *key,
        )
        return [(("t", *key), "put")]

    def _touch(self) -> Done:
        key = self._key()
        self._do("UPDATE t SET c = c + 1, `real` = rand() WHERE kind = %s AND id = %s", *key)
        return [(("t", *key), "touched")]

    def _touch_many(self) -> Done:
        return self._many("UPDATE t SET c = c + 1 WHERE kind = %s AND id BETWEEN %s AND %s", "touched with others")

    def _delete_many(self) -> Done:
        return self._many("DELETE FROM t WHERE kind = %s AND id BETWEEN %s AND %s", "deleted with others")

    def _shift(self) -> Done:
        """Each row takes the key that the one before it has just left."""
        return self._many(
            "UPDATE t SET c = c + 1, id = id + 1 WHERE kind = %s AND id BETWEEN %s AND %s ORDER BY id DESC",
            "shifted by one, if there was room",
        )

    def _put_many(self) -> Done:
        kind, first, last = self._range()
        self._do(
            f"INSERT IGNORE INTO t (kind, id, words) SELECT %s, seq, 'one of many' FROM seq_{first}_to_{last}", kind
        )
        return [(("t", kind, id_), "put with others, if absent") for id_ in range(first, last + 1)]

    def _many(self, statement: str, deed: str) -> Done:
        kind, first, last = self._range()
        self._do(statement, kind, first, last)
        return [(("t", kind, id_), deed) for id_ in range(first, last + 2)]

    def _delete(self) -> Done:
        key = self._key()
        self._do("DELETE FROM t WHERE kind = %s AND id = %s", *key)
        return [(("t", *key), "deleted")]

    def _move(self) -> Done:
        key, new = self._key(), self._key()
        more = self.chance.choice(["", ", words = 'moved'", ", bytes = NULL"])
        self._do(f"UPDATE t SET c = c + 1, kind = %s, id = %s{more} WHERE kind = %s AND id = %s", *new, *key)
        return [(("t", *key), f"moved to {new}"), (("t", *new), f"moved from {key}")]

    def _swap(self) -> Done:
        one, other = self._key(), self._key()
        aside = ("aside", self.chance.randrange(10**9))
        for before, after in ((one, aside), (other, one), (aside, other)):
            self._do("UPDATE t SET c = c + 1, kind = %s, id = %s WHERE kind = %s AND id = %s", *after, *before)
        return [(("t", *one), f"swapped with {other}"), (("t", *other), f"swapped with {one}")]

    # -- children -------------------------------------------------------------------------------------------

    def _bear(self) -> Done:
        id_, key = self.chance.randrange(CHILDREN), self._key()
        self._do(
            "INSERT INTO child SELECT %s, kind, id, 0, bytes FROM t WHERE kind = %s AND id = %s"
            " ON DUPLICATE KEY UPDATE child.c = child.c + 1, body = VALUES(body)",
            id_, *key,
        )  # fmt: skip
        return [(("child", id_), f"born to {key}, or changed")]

    def _touch_children(self) -> Done:
        first = self.chance.randrange(CHILDREN)
        self._do("UPDATE child SET c = c + 1 WHERE id BETWEEN %s AND %s", first, first + 10)
        return [(("child", id_), "touched") for id_ in range(first, first + 11)]

    def _lose(self) -> Done:
        id_ = self.chance.randrange(CHILDREN)
        self._do("DELETE FROM child WHERE id = %s", id_)
        return [(("child", id_), "deleted")]

    # -- columns --------------------------------------------------------------------------------------------

    def _alter(self) -> Done:
        """Let a column come, in the midst of the others, or grow."""
        grown = list(self._grown())
        if len(grown) < MOST_COLUMNS and self.chance.random() < 0.6:
            place = self.chance.choice(["", " AFTER words", " FIRST"])
            self._do(f"ALTER TABLE t ADD x{len(grown)} {GROWING[0]} NULL{place}")
        elif grown:
            with suppress(pymysql.err.DataError):  # it has grown further already
                self._do(f"ALTER TABLE t MODIFY {self.chance.choice(grown)} {self.chance.choice(GROWING[1:])} NULL")
        return [(WHOLE_TABLE, "altered")]


@dataclass(slots=True)
class BinlogWriters(Writers):
    """Threads that change a database of MariaDB; its server may go away at any moment, and come back."""

    shop: MariaDb = field(kw_only=True)
    habits: BinlogHabits = field(kw_only=True)

    def _write(self, number: int) -> None:
        try:
            chance = random.Random(f"{self.seed} {number}")
            while not self._ends.is_set():
                self._write_until_the_server_is_away(chance)
        except BaseException as error:
            self.failure = error
            raise

    def _write_until_the_server_is_away(self, chance: random.Random) -> None:
        try:
            with self._turn():
                connection = self.shop.connect()
        except pymysql.err.OperationalError:
            time.sleep(0.1)
            return
        with connection, connection.cursor() as cursor:
            cursor.execute("SET innodb_lock_wait_timeout = 3, lock_wait_timeout = 3")
            writer = _Writer(self, BinlogDeeds(cursor, chance, self.habits))
            while not self._ends.is_set():
                with self._turn():
                    if not writer.take_turn():
                        return


@dataclass(slots=True)
class _Writer:
    writers: BinlogWriters
    deeds: BinlogDeeds
    done: Done = field(default_factory=list)

    def take_turn(self) -> bool:
        """Whether the server is still there."""
        chance = self.deeds.chance
        time.sleep(chance.choice(PAUSES_SECONDS))
        self.done = []
        try:
            outcome = self._transaction()
        except (pymysql.err.OperationalError, pymysql.err.InterfaceError) as error:
            if error.args[0] in SERVER_IS_AWAY:
                self._tell("and the server went away meanwhile")
                return False
            if error.args[0] not in OUR_OWN_FAULT:
                raise
            self.deeds.cursor.execute("ROLLBACK")
            return True
        if outcome:
            self._tell(outcome)
        return True

    def _tell(self, outcome: str) -> None:
        for key, deed in self.done:
            self.writers.history[key].append(f"{deed}, {outcome} at {time.strftime('%H:%M:%S')}")

    def _transaction(self) -> str | None:
        chance, cursor = self.deeds.chance, self.deeds.cursor
        alone = self.deeds.alone()
        if alone is not None:
            self.done = alone
            return "by itself"
        cursor.execute("BEGIN")
        for _ in range(chance.choice([1, 1, 1, 2, 3, 5, 20])):
            self._step()
            time.sleep(chance.choice(PAUSES_SECONDS) / 4)
        time.sleep(chance.choice(HOLDS_SECONDS))
        if chance.random() < 0.12:
            cursor.execute("ROLLBACK")
            return None
        cursor.execute("COMMIT")
        return "committed"

    def _step(self) -> None:
        takes_back = self.deeds.chance.random() < 0.08
        if takes_back:
            self.deeds.cursor.execute("SAVEPOINT doubt")
        done = self.deeds.change()
        if takes_back:
            self.deeds.cursor.execute("ROLLBACK TO SAVEPOINT doubt")
        else:
            self.done += done
