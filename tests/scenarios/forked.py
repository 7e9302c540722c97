"""Processes that can be killed, each forked from one that has everything imported already: a start costs 20 ms."""

from __future__ import annotations

import functools
import multiprocessing
import sys
import traceback
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

# What a sync imports on its way; the first is there because each process looks at the main program of the tests.
IMPORTED = (
    "pytest",
    "tests.scenarios.doomed",
    "adbc_driver_postgresql.dbapi",
    "alembic.operations",
    "alembic.runtime.migration",
    "alembic.script",
    "psycopg",
    "pyarrow.parquet",
    "sqlalchemy.dialects.postgresql.psycopg",
)


def fork(target: Callable[..., None], *arguments: Any, errors: Path) -> BaseProcess:
    """Start a function of a module in a process of its own.

    :param errors: the file that takes its last words, if it ends by an exception
    """
    process = _context().Process(target=_run, args=(target, arguments, errors))  # type: ignore[attr-defined]
    process.start()
    return process  # type: ignore[no-any-return]


@functools.cache
def _context() -> multiprocessing.context.BaseContext:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(IMPORTED))
    return context


def _run(target: Callable[..., None], arguments: tuple[Any, ...], errors: Path) -> None:
    try:
        target(*arguments)
    except Exception:  # noqa: BLE001 - told to whoever waits for the process
        errors.write_text(traceback.format_exc())
        sys.exit(1)
