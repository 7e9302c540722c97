"""Compare the package with PostgreSQL's own tools and with dlt: ``python -m tests.benchmarks``, see ``--help``."""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import psycopg

from airflow_etl_sync.demo.postgres import EmbeddedPostgres
from tests.benchmarks import contestants, report
from tests.benchmarks.rounds import CHUNK_ROWS, SERVER_SETTINGS, VERSION, Course


def main() -> None:
    given = _arguments()
    chunk_rows = dict.fromkeys(CHUNK_ROWS, given.chunk_rows) if given.chunk_rows else CHUNK_ROWS
    with tempfile.TemporaryDirectory(prefix="etl-sync-benchmark-") as root:
        _tell("setting up")
        taking_part = contestants.prepare(Path(root), with_airflow=given.airflow, with_dlt=given.dlt)
        with EmbeddedPostgres(version=VERSION, settings=SERVER_SETTINGS) as server:
            course = Course(
                server=server,
                contestants=taking_part,
                rows=given.rows,
                changes=max(2, given.rows // 10),
                folder=Path(root),
                chunk_rows=chunk_rows,
                tell=_tell,
            )
            lines = report.summarise(list(course.run(given.rounds)))
            with psycopg.connect(server.databases.admin) as connection:
                server_version = connection.info.parameter_status("server_version") or ""
    report.show(lines, given.rows, given.rounds)
    if given.write:
        report.write(
            given.write,
            lines,
            rows=given.rows,
            rounds=given.rounds,
            chunk_rows=chunk_rows,
            server=server_version,
        )
        _tell(f"written to {given.write.name}")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="tests.benchmarks", description=__doc__)
    parser.add_argument("--rows", type=int, default=2_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--chunk-rows", type=int, help="other chunks than the package's defaults")
    parser.add_argument("--airflow", action=argparse.BooleanOptionalAction, default=True, help="run in Airflow too")
    parser.add_argument(
        "--dlt", action=argparse.BooleanOptionalAction, default=True, help="run dlt, which is installed"
    )
    parser.add_argument("--write", type=Path, help="a Markdown file for the results, such as RESULTS.md")
    return parser.parse_args()


def _tell(what: str) -> None:
    print(what, flush=True)


if __name__ == "__main__":
    main()
