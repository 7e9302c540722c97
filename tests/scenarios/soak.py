"""The soak: writers that do anything, runs that are killed anywhere, and in the end tables that are the same.

``python -m tests.scenarios.soak --what sync --minutes 30`` plays rounds until the time is over. In each round writers
change the source while runs are killed, stalled, tried again, given up, and started two at once. A round ends in a
quiet moment: the writers pause, undisturbed runs bring over what is left, and then source and destination must be
equal, every count must add up, and the watermark, or the position in the source's log, must never have gone back.
The seed is printed: it repeats the choices, though not the moments at which the operating system lets the processes
run.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

from airflow_etl_sync.demo.postgres import EmbeddedPostgres
from tests.binlog import logging_server
from tests.placing import quickest_place
from tests.scenarios.soak_binlog import BinlogSoak
from tests.scenarios.soak_cdc import CdcSoak
from tests.scenarios.soak_sync import SyncSoak
from tests.scenarios.soaking import Soak


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.scenarios.soak", description=__doc__.splitlines()[0])
    parser.add_argument("--what", choices=["sync", "cdc", "binlog"], default="sync")
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--seed", default="", help="repeats the choices of another soak")
    parser.add_argument("--no-deletes", action="store_true", help="of a sync: let no row go for good")
    options = parser.parse_args()
    seed = int(options.seed or random.SystemRandom().randrange(10**9))
    print(f"seed {seed}", flush=True)
    with ExitStack() as stack:
        root = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="etl-sync-soak-")))
        postgres = stack.enter_context(
            EmbeddedPostgres(settings={"max_prepared_transactions": "20"}, parent=quickest_place())
        )
        source, warehouse = (postgres.create_database(name) for name in ("source", "warehouse"))
        if options.what == "binlog":
            server = stack.enter_context(logging_server(root / "mariadb"))
            seconds = options.minutes * 60
            soak: Soak = BinlogSoak(server=server, warehouse_db=warehouse, root=root, seed=seed, seconds=seconds)
        else:
            soak = _soak(options, source, warehouse, root, seed)
        try:
            soak.play()
        except AssertionError as error:
            print(f"{error}\nFAILED with seed {seed} after {soak.rounds} rounds, {soak.runs.tally}", flush=True)
            return 1
    print(f"EQUAL after {soak.rounds} quiet moments, {soak.runs.tally}; seed {seed}", flush=True)
    return 0


def _soak(options: argparse.Namespace, source: str, warehouse: str, root: Path, seed: int) -> Soak:
    seconds = options.minutes * 60
    if options.what == "cdc":
        return CdcSoak(source_db=source, warehouse_db=warehouse, root=root, seed=seed, seconds=seconds)
    return SyncSoak(
        source_db=source,
        warehouse_db=warehouse,
        root=root,
        seed=seed,
        seconds=seconds,
        has_deletes=not options.no_deletes,
    )


if __name__ == "__main__":
    sys.exit(main())
