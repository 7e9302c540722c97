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
        console.print(f"The demonstration failed: {error}", style="red", markup=False, highlight=False, soft_wrap=True)
        return 1
    return 0 if is_right else 1


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m airflow_etl_sync.demo", description=__doc__)
    parser.add_argument(
        "--rows",
        default=os.environ.get("ROWS", DEFAULT_ORDERS),
        help="how many orders the shop begins with (environment: ROWS)",
    )
    parser.add_argument("--ui", action="store_true", help="leave Airflow running afterwards, until Ctrl-C")
    options = parser.parse_args(arguments)
    if not is_row_count(options.rows):
        parser.exit(
            2, f"ROWS must be a whole number of at least 1, such as {DEFAULT_ORDERS}; it is {options.rows!r}.\n"
        )
    options.rows = int(options.rows)
    return options


def is_row_count(text: str) -> bool:
    """Whether a text is a number of orders that a shop can begin with."""
    return text.isascii() and text.isdecimal() and int(text) > 0


if __name__ == "__main__":
    sys.exit(main())
