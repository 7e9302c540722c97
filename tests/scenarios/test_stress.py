"""S01, S21 with ten writers at once: transactions of every length, rolled back or committed, and none is lost."""

from __future__ import annotations

import os
import random
import threading
import time

import psycopg
import pytest

from tests.scenarios.world import World, rows

WRITERS = 10
TRANSACTIONS = 30
TABLES = {
    "timestamptz": "CREATE TABLE t (id bigserial PRIMARY KEY, c timestamptz NOT NULL DEFAULT now(), v text)",
    "bigint": "CREATE TABLE t (id bigserial PRIMARY KEY, c bigserial, v text)",
}
TOUCH = {"timestamptz": "now()", "bigint": "nextval('t_c_seq')"}


def write(conninfo: str, cursor: str, number: int, seed: int) -> None:
    """Insert rows and change one's own, in transactions of up to a third of a second."""
    chance = random.Random(f"{seed} {number}")
    update = f"UPDATE t SET v = v || '+', c = {TOUCH[cursor]} WHERE id = %s"
    ids: list[int] = []
    with psycopg.connect(conninfo, autocommit=True) as connection:
        for _ in range(TRANSACTIONS):
            connection.execute("BEGIN")
            new = []
            for _ in range(chance.randint(1, 3)):
                time.sleep(chance.choice([0, 0.001, 0.02, 0.1]))
                row = connection.execute("INSERT INTO t (v) VALUES (%s) RETURNING id", [str(number)]).fetchone()
                new.append(row[0] if row else 0)
                if ids:
                    connection.execute(update, [chance.choice(ids)])
            time.sleep(chance.choice([0, 0, 0.05, 0.2]))
            if chance.random() < 0.1:
                connection.execute("ROLLBACK")
            else:
                connection.execute("COMMIT")
                ids += new


@pytest.mark.parametrize(
    "cursor",
    [
        pytest.param("timestamptz", marks=pytest.mark.scenario("S01")),
        pytest.param("bigint", marks=pytest.mark.scenario("S21")),
    ],
)
def test_ten_writers_lose_nothing(
    cursor: str, world: World, source: psycopg.Connection, warehouse: psycopg.Connection
) -> None:
    seed = int(os.environ.get("ETL_SYNC_STRESS_SEED") or random.SystemRandom().randrange(10**6))
    print(f"ETL_SYNC_STRESS_SEED={seed}")  # noqa: T201 - repeats a failure
    source.execute(TABLES[cursor])
    world.run()  # so that the first run beside the writers is as quick as the others
    writers = [
        threading.Thread(target=write, args=(world.source_db, cursor, number, seed)) for number in range(WRITERS)
    ]
    for writer in writers:
        writer.start()
    while any(writer.is_alive() for writer in writers):
        world.run()
    world.run()
    assert rows(warehouse) == rows(source)
