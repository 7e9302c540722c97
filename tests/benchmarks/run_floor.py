"""The floor: what PostgreSQL's own tools need, ``COPY | COPY`` into a staging table and one ``INSERT … ON CONFLICT``.

A contestant reads its orders as JSON from its input and writes the seconds that it took as JSON to its output.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from typing import Any

import psycopg

from tests.benchmarks.measurements import COLUMNS, CREATE

STAGING = "CREATE UNLOGGED TABLE staging (LIKE measurement)"
MERGE = "INSERT INTO measurement SELECT * FROM staging ON CONFLICT (id) DO UPDATE SET {}".format(
    ", ".join(f"{name} = excluded.{name}" for name in COLUMNS if name != "id")
)


def main() -> None:
    orders: dict[str, Any] = json.load(sys.stdin)
    if orders["phase"] == "full":
        with psycopg.connect(orders["target"]) as connection:
            connection.execute(CREATE)
    began = time.monotonic()
    _copy(orders)
    _psql(orders, "target", f"{MERGE}; DROP TABLE staging;")
    json.dump({"seconds": time.monotonic() - began}, sys.stdout)


def _copy(orders: dict[str, Any]) -> None:
    condition = f" WHERE updated_at >= '{orders['cursor']}'" if orders["phase"] != "full" else ""
    _psql(orders, "target", STAGING)
    read = f"COPY (SELECT * FROM measurement{condition}) TO STDOUT (FORMAT binary)"
    write = "COPY staging FROM STDIN (FORMAT binary)"
    with subprocess.Popen(_command(orders, "source", read), stdout=subprocess.PIPE) as reader:
        subprocess.run(_command(orders, "target", write), stdin=reader.stdout, check=True, stdout=subprocess.DEVNULL)
    if reader.returncode:
        raise RuntimeError("psql could not read the source")


def _psql(orders: dict[str, Any], side: str, statement: str) -> None:
    subprocess.run(_command(orders, side, statement), check=True, stdout=subprocess.DEVNULL)


def _command(orders: dict[str, Any], side: str, statement: str) -> list[str]:
    return [orders["psql"], "-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", orders[side], "-c", statement]


if __name__ == "__main__":
    main()
