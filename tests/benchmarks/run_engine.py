"""This package without Airflow: the one-task form, or the chain with its steps in worker processes.

The seconds do not hold the start of a process and its imports, which a worker of Airflow has behind it.
"""

from __future__ import annotations

import json
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import alembic.runtime.migration  # noqa: F401 - what a step imports when it first needs it
import pyarrow.compute
import pyarrow.parquet  # noqa: F401
import sqlalchemy.dialects.postgresql.psycopg  # noqa: F401
import tenacity  # noqa: F401

from airflow_etl_sync.core.model import Extraction, LoadRules, RunIdentity, Stream, TableName, WindowRules
from airflow_etl_sync.core.staging import Staging
from airflow_etl_sync.journey.advance import advance
from airflow_etl_sync.journey.extract import extract
from airflow_etl_sync.journey.load import load
from airflow_etl_sync.journey.sync import sync
from airflow_etl_sync.systems.postgres.access import PostgresAccess
from airflow_etl_sync.systems.postgres.destination import PostgresDestination
from airflow_etl_sync.systems.postgres.source import PostgresSource

WORKERS = 2
STREAM = Stream(sync_key="measurements", cursor_field="updated_at", table=TableName("measurement"))


def main() -> None:
    orders: dict[str, Any] = json.load(sys.stdin)
    run = run_chain if orders["contestant"].startswith("chain") else run_one_task
    json.dump(run(orders), sys.stdout)


def run_one_task(orders: dict[str, Any]) -> dict[str, Any]:
    report = sync(
        _source(orders),
        _destination(orders),
        stream=STREAM,
        window_rules=WindowRules(),
        load_rules=LoadRules(),
        identity=_identity(orders),
        chunk_rows=orders["chunk_rows"],
    )
    return {"seconds": report.seconds, "counts": report.counts.to_json()}


def run_chain(orders: dict[str, Any]) -> dict[str, Any]:
    """Extract, loads in parallel, advance, each in one of the workers."""
    with ProcessPoolExecutor(WORKERS, mp_context=get_context("spawn")) as pool:
        list(pool.map(time.sleep, [0.2] * WORKERS))  # all have started and imported this module
        began = time.monotonic()
        extraction = pool.submit(extract_step, orders).result()
        extracted = time.monotonic()
        list(pool.map(partial(load_step, orders), extraction.parts(4)))
        loaded = time.monotonic()
        counts = pool.submit(advance_step, orders, extraction).result()
        ended = time.monotonic()
    steps = {"extract": extracted - began, "load": loaded - extracted, "advance": ended - loaded}
    return {"seconds": ended - began, "counts": counts, "steps": steps}


def extract_step(orders: dict[str, Any]) -> Extraction:
    source = _source(orders)
    source.pack()  # as incremental_sync lets it between two PostgreSQL databases
    return extract(
        source,
        _destination(orders).engine,
        _staging(orders),
        stream=STREAM,
        rules=WindowRules(),
        identity=_identity(orders),
        chunk_rows=orders["chunk_rows"],
    )


def load_step(orders: dict[str, Any], part: Extraction) -> None:
    load(_destination(orders), _staging(orders), part, LoadRules())


def advance_step(orders: dict[str, Any], extraction: Extraction) -> dict[str, int]:
    return advance(_destination(orders).engine, _staging(orders), extraction).counts.to_json()


def _source(orders: dict[str, Any]) -> PostgresSource:
    return PostgresSource(PostgresAccess(orders["source"]), STREAM)


def _destination(orders: dict[str, Any]) -> PostgresDestination:
    return PostgresDestination(PostgresAccess(orders["target"]), TableName("measurement"))


def _staging(orders: dict[str, Any]) -> Staging:
    return Staging(Path(orders["folder"]) / "staging")


def _identity(orders: dict[str, Any]) -> RunIdentity:
    return RunIdentity("benchmark", orders["contestant"], orders["phase"])


if __name__ == "__main__":
    main()
