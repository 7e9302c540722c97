"""The command line's front door: read it, run the command, end with 0, or with 1 and a sentence of what is wrong."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from typing import Any

from airflow_etl_sync.cli import failed, init, preflight, status, watermark
from airflow_etl_sync.errors import EtlSyncError

GROUPS: tuple[Callable[[Any], None], ...] = tuple(
    module.add_to for module in (status, preflight, init, watermark, failed)
)
"""Each adds a command, or a group of them, to the parsers it is given.

A command is a function of its arguments; it may give the exit code."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command that the arguments name, by default those of the process.

    :returns: the exit code: 0, or 1 where the command was refused or found something amiss; wrong usage exits with 2
    """
    given = _parser().parse_args(arguments)
    # as Airflow's own commands do, so that the connections of its database are found and not only the environment's
    os.environ.setdefault("_AIRFLOW_PROCESS_CONTEXT", "server")
    logging.disable(logging.INFO)  # the answer says it all
    try:
        with redirect_stdout(sys.stderr):  # Airflow logs to standard output, where only the answer belongs
            code: int | None = given.command(given)
    except EtlSyncError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return code or 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="etl-sync",
        description="Look after the syncs of airflow-etl-sync. Connections are Airflow's: run it where Airflow runs.",
    )
    groups = parser.add_subparsers(title="commands and groups of them", metavar="COMMAND", required=True)
    for add_to in GROUPS:
        add_to(groups)
    return parser
