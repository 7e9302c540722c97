"""A process that goes a sync's way and kills itself at one point of it.

A failpoint reads ``before|after module:function nth``: at the nth call of that function the process sends itself
SIGKILL.
"""

from __future__ import annotations

import functools
import importlib
import os
import signal
from itertools import count
from pathlib import Path
from typing import Any

from airflow_etl_sync.core.keys import ReconcileRules
from airflow_etl_sync.core.model import Extraction, LoadRules, Stream, TableName
from tests.scenarios.world import World

PACKAGE = "airflow_etl_sync"


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def arm(failpoint: str) -> None:
    moment, target, nth = failpoint.split()
    module_name, _, path = target.partition(":")
    owner: Any = importlib.import_module(f"{PACKAGE}.{module_name}")
    *parents, name = path.split(".")
    for parent in parents:
        owner = getattr(owner, parent)
    real = getattr(owner, name)
    calls = count(1)

    @functools.wraps(real)
    def doomed(*arguments: Any, **named: Any) -> Any:
        is_last = next(calls) == int(nth)
        if is_last and moment == "before":
            die()
        result = real(*arguments, **named)
        if is_last:
            die()
        return result

    setattr(owner, name, doomed)


def go(asked: dict[str, Any]) -> Any:
    stream = asked["stream"]
    table = stream.pop("table")
    stream |= {name: tuple(stream[name]) for name in ("primary_key", "columns")}
    world = World(
        asked["source_db"],
        asked["warehouse_db"],
        Path(asked["root"]),
        stream=Stream(table=table and TableName(**table), **stream),
        load_rules=LoadRules(**asked["load_rules"] | {"primary_key": tuple(asked["load_rules"]["primary_key"])}),
        chunk_rows=asked["chunk_rows"],
    )
    if asked["step"] == "sync":
        return world.sync(asked["run"])
    if asked["step"].startswith("reconcile"):
        return world.reconcile(ReconcileRules(delete=asked["step"].split()[1]), asked["run"])
    if asked["step"] == "extract":
        return world.extract(asked["run"])
    if asked["step"] == "load":
        return world.load(Extraction.from_xcom(asked["extraction"]))
    return world.advance(Extraction.from_xcom(asked["extraction"]))


def obey(orders: dict[str, Any]) -> None:
    if orders["failpoint"] == "at the end":
        go(orders)
        die()
    arm(orders["failpoint"])
    go(orders)
