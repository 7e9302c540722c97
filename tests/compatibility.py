"""Run a part of the suite on other versions of Airflow and of Python, with the oldest dependencies that are allowed.

``python -m tests.compatibility --airflow 3.1 3.2 --python python3.10`` makes an environment for each pair in
``.compat``: the newest patch of that Airflow, our own dependencies as old as pyproject.toml allows beside it, and
whatever else resolves.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import requires
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
HOME = ROOT / ".compat"
TOOLS = (
    "boto3",
    "compose-spec",
    "duckdb",
    "flask",
    "flask-cors",
    "hypothesis",
    "moto[s3]",
    "pandas",
    "polars",
    "pytest",
)
"""What the tests below need; the newest that fits, since nobody who installs the package gets it."""

UNIT = ("tests/unit",)
FAST = (
    *UNIT,
    "tests/dags/test_import.py",
    "tests/integration/test_preflight.py",
    "tests/dags/test_records.py::test_all_arguments_as_text",
    "tests/dags/test_retries.py::test_a_wrong_password_has_one_try",
    "tests/dags/test_run.py::test_orders_hourly",
    "tests/dags/test_status_command.py::test_failed_records_and_captures",
    "tests/dags/test_notifications.py",
)
BESIDE = {"3.2": ("cadwyn<7", "fastapi<0.136", "svcs<26")}
"""What an Airflow needs to be older than it asks for: with newer ones 3.2.2 itself runs no DAG in one process."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one pair of versions."""

    airflow: str
    python: str
    is_good: bool
    install_seconds: float
    test_seconds: float

    def __str__(self) -> str:
        verdict = "passed" if self.is_good else "FAILED"
        return (
            f"Airflow {self.airflow}, Python {self.python}: {verdict}; "
            f"installed in {self.install_seconds:.0f} s, tested in {self.test_seconds:.0f} s"
        )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run all pairs; 1 where one has failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--airflow", nargs="+", default=["3.1", "3.2"], metavar="MINOR")
    parser.add_argument("--python", nargs="+", default=[sys.executable], metavar="COMMAND")
    parser.add_argument("--unit", action="store_true", help="run the unit tests alone")
    given = parser.parse_args(arguments)
    outcomes = [
        _try(airflow, python, UNIT if given.unit else FAST) for airflow in given.airflow for python in given.python
    ]
    print(*outcomes, sep="\n")
    return 0 if all(outcome.is_good for outcome in outcomes) else 1


def _try(airflow: str, command: str, tests: Sequence[str]) -> Outcome:
    version = _output([command, "-c", "import platform; print(platform.python_version())"])
    place = HOME / f"airflow-{airflow}-python-{version}"
    python = place / "bin" / "python"
    began = time.monotonic()
    _uv("venv", "--quiet", "--clear", "--python", command, str(place))
    oldest = HOME / f"{place.name}.txt"
    oldest.write_text("\n".join([*_oldest(airflow, python), *BESIDE.get(airflow, ())]) + "\n")
    print(f"Airflow {airflow}, Python {version}:", *oldest.read_text().split(), flush=True)
    _uv("pip", "install", "--quiet", "--python", str(python), "--constraint", str(oldest),
        "--editable", f"{ROOT}[demo,mysql,openlineage]", *TOOLS)  # fmt: skip
    installed = time.monotonic()
    done = subprocess.run(
        [str(python), "-m", "pytest", "-q", "-p", "no:cacheprovider", *tests], cwd=ROOT, env=_environment(), check=False
    )
    exact = _output([str(python), "-c", "import importlib.metadata as m; print(m.version('apache-airflow'))"])
    return Outcome(exact, version, done.returncode == 0, installed - began, time.monotonic() - installed)


def _oldest(airflow: str, python: Path) -> list[str]:
    """The newest patch of Airflow, and our own dependencies as old as they may be beside it."""
    pin = _compile(python, f"apache-airflow=={airflow}.*", "--no-deps")
    wanted = HOME / "airflow.txt"
    wanted.write_text("\n".join(pin))
    found = _compile(
        python, "", "--resolution", "lowest-direct", "--constraint", str(wanted), str(ROOT / "pyproject.toml")
    )
    own = {re.split(r"[^A-Za-z0-9._-]", text)[0].lower() for text in requires("airflow-etl-sync") or ()}
    return [line for line in found if line.partition("==")[0] in own | {"psycopg-binary"}]


def _compile(python: Path, wanted: str, *options: str) -> list[str]:
    source = ["-"] if wanted else []
    command = ["pip", "compile", "--quiet", "--no-header", "--no-annotate", "--python", str(python), *options, *source]
    return _uv(*command, given=wanted).split()


def _uv(*arguments: str, given: str = "") -> str:
    uv = Path(sys.executable).with_name("uv")
    return _output([str(uv), "--no-python-downloads", *arguments], given)


def _output(command: Sequence[str], given: str = "") -> str:
    done = subprocess.run(command, input=given, check=True, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    return done.stdout.strip()


def _environment() -> dict[str, str]:
    """Without what the calling environment says of Airflow."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW", "VIRTUAL_ENV"))}


if __name__ == "__main__":
    HOME.mkdir(exist_ok=True)
    sys.exit(main())
