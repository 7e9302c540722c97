"""``python -m airflow_etl_sync.demo``: what ``make demo`` and ``make ui`` run."""

from __future__ import annotations

import argparse
import os
import sys

from airflow_etl_sync.demo.signals import stopped_by_signals

DEFAULT_ORDERS = "100000"
INTERRUPTED = 130


def main(arguments: list[str] | None = None) -> int:
    """Play the demonstration and return the exit code."""
    options = _parse(arguments)
    with stopped_by_signals():
        return _play(options)


def _play(options: argparse.Namespace) -> int:
    import httpx
    import psycopg
    from rich.console import Console

    from airflow_etl_sync.demo.demonstration import run_demonstration
    from airflow_etl_sync.demo.steps import Steps

    console = Console()
    try:
        is_right = run_demonstration(Steps(console), orders=options.rows, stays=options.ui)
    except KeyboardInterrupt:
        console.print("Stopped.")
        return 0 if options.ui else INTERRUPTED
    except (RuntimeError, LookupError, OSError, psycopg.Error, httpx.HTTPError) as error:
        console.print(f"The demonstration failed: {error}", style="red", markup=False, highlight=False)
        return 1
    return 0 if is_right else 1


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m airflow_etl_sync.demo", description=__doc__)
    parser.add_argument(
        "--rows",
        type=_row_count,
        default=os.environ.get("ROWS", DEFAULT_ORDERS),
        help="how many orders the shop begins with (environment: ROWS)",
    )
    parser.add_argument("--ui", action="store_true", help="leave Airflow running afterwards, until Ctrl-C")
    return parser.parse_args(arguments)


def _row_count(text: str) -> int:
    if text.isascii() and text.isdecimal() and int(text) > 0:
        return int(text)
    raise argparse.ArgumentTypeError(f"ROWS must be a whole number of at least 1, such as 100000; it is {text!r}.")


if __name__ == "__main__":
    sys.exit(main())
