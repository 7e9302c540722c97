"""How fast a binary log is captured: ``python -m tests.benchmarks.binlog [--changes 200000] [--rounds 3]``.

It starts a MariaDB and a PostgreSQL of its own. Each round captures the same backlog into a copy of the warehouse, in a
process of its own, and lets `mysql-replication <https://pypi.org/project/mysql-replication/>`__ read the same log
without doing anything with it (``pip install mysql-replication``; without it that line is missing). ``--profile``
prints where the time went.
"""

from __future__ import annotations

import argparse
import pickle
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from itertools import count
from pathlib import Path
from statistics import median

import psycopg

from airflow_etl_sync.demo.postgres import EmbeddedPostgres
from tests.benchmarks.binlog_round import BinlogRound, Orders
from tests.binlog import logging_mariadb
from tests.mariadb import MariaDb
from tests.placing import quickest_place
from tests.scenarios.binlog_world import BinlogCapture, copied, told

ROOT = Path(__file__).resolve().parents[2]
DATABASE = "shop"
TABLE = """
CREATE TABLE t (
    id bigint PRIMARY KEY, customer bigint NOT NULL, status varchar(20) NOT NULL, amount decimal(12, 2) NOT NULL,
    note text, created_at timestamp(6) NOT NULL DEFAULT now(6), updated_at timestamp(6) NOT NULL DEFAULT now(6)
)
"""
FILL = "INSERT INTO t (id, customer, status, amount, note) \
SELECT seq, seq % 1000, 'new', seq / 7.0, md5(seq) FROM seq_{}_to_{}"


@dataclass
class BinlogBacklog:
    """Changes that wait in the log of a server, and the ``warehouse`` as it was before them.

    :param postgres: a server that nobody else uses
    :param changes: about how many changes wait
    """

    mariadb: MariaDb
    postgres: EmbeddedPostgres
    root: Path
    changes: int
    shop: MariaDb = field(init=False)
    _begins: tuple[str, int] = ("", 0)
    _rounds: count[int] = field(default_factory=lambda: count(1))

    def make(self) -> None:
        """Give both sides the same table, then change it at the source."""
        self.mariadb.execute(f"CREATE DATABASE {DATABASE}")
        self.shop = replace(self.mariadb, database=DATABASE)
        self.shop.execute(TABLE, FILL.format(1, self.changes))
        warehouse = self.postgres.create_database("warehouse")
        BinlogCapture(self.shop, warehouse, self.root).run()
        with psycopg.connect(warehouse, autocommit=True) as connection:
            connection.execute("ANALYZE t")
        file, place, *_ = self.shop.execute("SHOW MASTER STATUS")[0]
        self._begins = file, int(place)
        self._change()

    def measure(self, *, profile: bool = False) -> BinlogRound:
        """Capture the backlog from the beginning."""
        name = f"round_{next(self._rounds)}"
        warehouse = self.postgres.databases.create_database(name, template="warehouse")
        orders = Orders(BinlogCapture(self.shop, warehouse, self.root), *self._begins, profile)
        done = subprocess.run(
            [sys.executable, "-m", "tests.benchmarks.binlog_round"],
            cwd=ROOT, input=pickle.dumps(orders), stdout=subprocess.PIPE, check=True,
        )  # fmt: skip
        measured: BinlogRound = pickle.loads(done.stdout)
        with psycopg.connect(warehouse) as connection:
            columns = "id, customer, status, amount, note"
            assert copied(connection, columns) == told(self.shop, columns)
        self.postgres.databases.drop_database(name)
        return measured

    def _change(self) -> None:
        """Half inserts, four tenths updates, one tenth deletes, 1,000 changes to a transaction."""
        for first in range(1, self.changes // 2 + 1, 500):
            low, high = first * 4 // 5 + 1, self.changes - first // 5
            self.shop.execute(
                "BEGIN",
                FILL.format(self.changes + first, self.changes + first + 499),
                f"UPDATE t SET status = 'paid', updated_at = now(6) WHERE id BETWEEN {low} AND {low + 399}",
                f"DELETE FROM t WHERE id BETWEEN {high - 99} AND {high}",
                "COMMIT",
            )


def middle(rounds: Sequence[BinlogRound]) -> BinlogRound:
    """The median of each measure; of the memory the most."""
    readers = [one.reader_seconds for one in rounds if one.reader_seconds is not None]
    return BinlogRound(
        changes=rounds[0].changes,
        peek_seconds=median(one.peek_seconds for one in rounds),
        capture_seconds=median(one.capture_seconds for one in rounds),
        reader_seconds=median(readers) if readers else None,
        peak_bytes=max(one.peak_bytes for one in rounds),
    )


def table(measured: BinlogRound) -> str:
    """The measures as people read them."""
    lines = ["| step | seconds | changes a second | of the capture |", "|---|---:|---:|---:|"]
    for step, seconds in (
        ("mysql-replication reads the log, and nothing else", measured.reader_seconds),
        ("the log read, as changes", measured.peek_seconds),
        ("captured, end to end", measured.capture_seconds),
    ):
        if seconds is not None:
            share = seconds / measured.capture_seconds
            lines.append(f"| {step} | {seconds:.2f} | {measured.changes / seconds:,.0f} | {share:.2f} |")
    return "\n".join([*lines, "", f"{measured.changes:,.0f} changes; peak memory {measured.peak_bytes / 1e6:,.0f} MB"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--changes", type=int, default=200_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--profile", action="store_true")
    given = parser.parse_args()
    if find_spec("pymysqlreplication") is None:
        print("mysql-replication is not installed, so there is nothing to compare with: pip install mysql-replication")
    with (
        tempfile.TemporaryDirectory(dir=quickest_place()) as root,
        logging_mariadb(Path(root) / "mariadb") as mariadb,
        EmbeddedPostgres(parent=quickest_place()) as postgres,
    ):
        backlog = BinlogBacklog(mariadb, postgres, Path(root), given.changes)
        backlog.make()
        rounds = [backlog.measure(profile=given.profile) for _ in range(given.rounds)]
    print(table(middle(rounds)))
    print(f"Median of {given.rounds} rounds; the tables were equal after each.")


if __name__ == "__main__":
    main()
