"""How fast a backlog of changes is captured: ``python -m tests.benchmarks.cdc [--changes 200000] [--rounds 3]``.

It starts a PostgreSQL of its own and needs nothing else. Each round reads the same backlog, by a copy of the slot, into
a copy of the warehouse, in a process of its own. ``--transaction`` makes the backlog one transaction of inserts;
``--apply history`` appends the changes; ``--profile`` prints where the time went.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from itertools import count
from pathlib import Path
from statistics import median
from typing import get_args

import psycopg

from airflow_etl_sync.core.history import ApplyMode
from airflow_etl_sync.demo.postgres import EmbeddedPostgres
from tests.benchmarks.cdc_round import Round
from tests.scenarios.streaming import Capture, same

ROOT = Path(__file__).resolve().parents[2]
NAME = "benchmark"
TABLE = """
CREATE TABLE t (
    id bigint PRIMARY KEY, customer bigint NOT NULL, status text NOT NULL, amount numeric(12, 2) NOT NULL,
    note text, created_at timestamptz NOT NULL DEFAULT now(), updated_at timestamptz NOT NULL DEFAULT now()
)
"""
FILL = "INSERT INTO t SELECT i, i %% 1000, 'new', i / 7.0, md5(i::text) FROM generate_series(%s::bigint, %s) AS i"


@dataclass
class Backlog:
    """Changes that wait in a slot of the database ``source``, and the ``warehouse`` as it was before them.

    :param server: a server that nobody else uses
    :param changes: about how many changes wait
    """

    server: EmbeddedPostgres
    root: Path
    changes: int
    is_one_transaction: bool = False
    apply: ApplyMode = "upsert"
    _rounds: count[int] = field(default_factory=lambda: count(1))

    def make(self) -> None:
        """Give both sides the same table, then change it at the source."""
        self._source, self._warehouse = (self.server.create_database(name) for name in ("source", "warehouse"))
        with psycopg.connect(self._source, autocommit=True) as source:
            source.execute(TABLE)
            source.execute(FILL, [1, self.changes])
            capture = Capture(self._source, self._warehouse, NAME, self.root, apply=self.apply)
            capture.set_up()
            if self.apply == "upsert":
                self._copy()
            capture.run(first_copy=capture.copy if self.apply == "history" else None)  # the state tables are there
            if self.is_one_transaction:
                source.execute(FILL, [self.changes + 1, 2 * self.changes])
            else:
                self._change(source)

    def measure(self, *, profile: bool = False) -> Round:
        """Capture the backlog from the beginning."""
        name = f"round_{next(self._rounds)}"
        warehouse = self.server.databases.create_database(name, template="warehouse")
        with (
            psycopg.connect(self._source, autocommit=True) as source,
            psycopg.connect(warehouse, autocommit=True) as copy,
        ):
            source.execute("SELECT pg_copy_logical_replication_slot(%s, %s, false)", [NAME, name])
            copy.execute("UPDATE etl_sync.cdc_pipeline SET slot = %s", [name])
            orders = {
                "source_db": self._source, "warehouse_db": warehouse, "slot_name": name, "publication": NAME,
                "root": str(self.root), "apply": self.apply, "profile": profile,
            }  # fmt: skip
            done = subprocess.run(
                [sys.executable, "-m", "tests.benchmarks.cdc_round"],
                cwd=ROOT, input=json.dumps(orders), stdout=subprocess.PIPE, text=True, check=True,
            )  # fmt: skip
            assert self.apply == "history" or same(source, copy)
            source.execute("SELECT pg_drop_replication_slot(%s)", [name])
        self.server.databases.drop_database(name)
        return Round(**json.loads(done.stdout))

    def _copy(self) -> None:
        with (
            psycopg.connect(self._source) as source,
            psycopg.connect(self._warehouse, autocommit=True) as warehouse,
        ):
            warehouse.execute(TABLE)
            query = "COPY (SELECT * FROM t) TO STDOUT"
            with source.cursor().copy(query) as read, warehouse.cursor().copy("COPY t FROM STDIN") as write:
                for block in read:
                    write.write(block)
            warehouse.execute("ANALYZE t")

    def _change(self, source: psycopg.Connection) -> None:
        """Half inserts, four tenths updates, one tenth deletes, 1,000 changes to a transaction."""
        for first in range(1, self.changes // 2 + 1, 500):
            with source.transaction():
                source.execute(FILL, [self.changes + first, self.changes + first + 499])
                low, high = first * 4 // 5 + 1, self.changes - first // 5
                source.execute(
                    "UPDATE t SET status = 'paid', updated_at = now() WHERE id BETWEEN %s AND %s", [low, low + 399]
                )
                source.execute("DELETE FROM t WHERE id BETWEEN %s AND %s", [high - 99, high])


def middle(rounds: Sequence[Round]) -> Round:
    """The median of each measure; of the memory the most."""
    medians = {each.name: median(getattr(one, each.name) for one in rounds) for each in fields(Round)}
    return Round(**medians | {"peak_bytes": max(one.peak_bytes for one in rounds)})


def table(measured: Round) -> str:
    """The measures as people read them."""
    lines = ["| step | seconds | changes a second | of the floor |", "|---|---|---|---|"]
    floor = measured.decode_seconds
    for step, seconds in (
        ("peek alone", measured.peek_seconds),
        ("peek and decode: the floor", floor),
        ("captured, end to end", measured.capture_seconds),
    ):
        lines.append(f"| {step} | {seconds:.2f} | {measured.changes / seconds:,.0f} | {seconds / floor:.1f} |")
    return "\n".join([*lines, "", f"{measured.changes:,.0f} changes; peak memory {measured.peak_bytes / 1e6:,.0f} MB"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--changes", type=int, default=200_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--transaction", action="store_true")
    parser.add_argument("--apply", choices=get_args(ApplyMode), default="upsert")
    parser.add_argument("--profile", action="store_true")
    given = parser.parse_args()
    with EmbeddedPostgres() as server, tempfile.TemporaryDirectory() as root:
        backlog = Backlog(server, Path(root), given.changes, given.transaction, given.apply)
        backlog.make()
        rounds = [backlog.measure(profile=given.profile) for _ in range(given.rounds)]
    print(table(middle(rounds)))
    print(f"Median of {given.rounds} rounds; the tables were equal after each." if given.apply == "upsert" else "")


if __name__ == "__main__":
    main()
