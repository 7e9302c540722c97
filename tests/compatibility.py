"""Run a part of the suite on other versions of Airflow and of Python, with the oldest dependencies that are allowed.

``python -m tests.compatibility 3.1:3.10 3.2:3.13`` makes an environment for each pair of Airflow and Python in
``.compat``: the newest patch of that Airflow, our own dependencies as old as pyproject.toml allows beside it, and
whatever else resolves. A pair whose Python is not on this machine is told of and passed over.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import requires
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
HOME = ROOT / ".compat"
EXTRAS = ("delta", "demo", "duckdb", "mysql", "openlineage")
TOOLS = (
    "boto3",
    "compose-spec",
    "flask",
    "flask-cors",
    "hypothesis",
    "moto",
    "pandas",
    "polars",
    "pytest",
    "pytest-xdist",
    "statsd",
)
"""What the tests below need, of the extra ``test``; the newest that fits: nobody who installs the package gets it."""

UNIT = ("tests/unit",)
FAST = (
    *UNIT,
    "tests/integration/test_preflight.py",
    "tests/dags/test_backfill_by_month.py",
    "tests/dags/test_before_3_3.py",
    "tests/dags/test_import.py",
    "tests/dags/test_metrics.py",
    "tests/dags/test_notifications.py",
    "tests/dags/test_records.py::test_all_arguments_as_text",
    "tests/dags/test_retries.py::test_a_wrong_password_has_one_try",
    "tests/dags/test_run.py::test_orders_hourly",
    "tests/dags/test_status_command.py::test_failed_records_and_captures",
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
    parser.add_argument("pairs", nargs="*", default=["3.1:3.10", "3.2:3.13"], metavar="AIRFLOW:PYTHON")
    parser.add_argument("--unit", action="store_true", help="run the unit tests alone")
    parser.add_argument("--workers", default="2", help="how many processes run the tests (default %(default)s)")
    given = parser.parse_args(arguments)
    tests = ["--numprocesses", given.workers, "--dist", "loadfile", *(UNIT if given.unit else FAST)]
    HOME.mkdir(exist_ok=True)
    pairs = [pair.partition(":") for pair in given.pairs]
    outcomes = [outcome for airflow, _, python in pairs for outcome in _try(airflow, python, tests)]
    print(*outcomes, sep="\n")
    return 0 if all(outcome.is_good for outcome in outcomes) else 1


def _try(airflow: str, python: str, tests: Sequence[str]) -> Iterator[Outcome]:
    command = _interpreter(python)
    if command is None:
        print(f"Airflow {airflow}, Python {python}: NOT RUN, this machine has no Python {python}", flush=True)
        return
    began = time.monotonic()
    place = _install(airflow, python, command)
    installed = time.monotonic()
    own = str(place / "bin" / "python")
    done = subprocess.run(
        [own, "-m", "pytest", "-q", "-p", "no:cacheprovider", *tests], cwd=ROOT, env=_environment(), check=False
    )
    tested = time.monotonic()
    exact = _output([own, "-c", "import importlib.metadata as m; print(m.version('apache-airflow'))"])
    yield Outcome(exact, python, done.returncode == 0, installed - began, tested - installed)


def _interpreter(version: str) -> str | None:
    """The command of a Python on the path or of pyenv's."""
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    commands = [shutil.which(f"python{version}"), *sorted(pyenv.glob(f"versions/{version}.*/bin/python"))]
    return next((str(command) for command in commands if command and _runs(str(command))), None)


def _runs(command: str) -> bool:
    """Whether it does: pyenv's own commands on the path do not where their version is not chosen."""
    return subprocess.run([command, "--version"], capture_output=True, check=False).returncode == 0


def _install(airflow: str, version: str, command: str) -> Path:
    place = HOME / f"airflow-{airflow}-python-{version}"
    python = place / "bin" / "python"
    _uv("venv", "--quiet", "--clear", "--python", command, str(place))
    oldest = HOME / f"{place.name}.txt"
    oldest.write_text("\n".join([*_oldest(airflow, python), *BESIDE.get(airflow, ())]) + "\n")
    print(f"Airflow {airflow}, Python {version}:", *oldest.read_text().split(), flush=True)
    _uv("pip", "install", "--quiet", "--python", str(python), "--constraint", str(oldest),
        "--editable", f"{ROOT}[{','.join(EXTRAS)}]", *_tools())  # fmt: skip
    return place


def _oldest(airflow: str, python: Path) -> list[str]:
    """The newest patch of Airflow, and our own dependencies as old as they may be beside it."""
    pin = _compile(python, f"apache-airflow=={airflow}.*", "--no-deps")
    wanted = HOME / "airflow.txt"
    wanted.write_text("\n".join(pin))
    extras = [word for extra in EXTRAS for word in ("--extra", extra)]
    found = _compile(
        python, "", "--resolution", "lowest-direct", "--constraint", str(wanted), *extras, str(ROOT / "pyproject.toml")
    )
    own = {_name(text) for text in _required()} | {"psycopg-binary"}
    return [line for line in found if _name(line) in own]


def _tools() -> list[str]:
    return [text.partition(";")[0] for text in _required() if _name(text) in TOOLS]


def _required() -> list[str]:
    """What the package and its extras require, as installed here."""
    return requires("airflow-etl-sync") or []


def _name(requirement: str) -> str:
    return re.split(r"[^A-Za-z0-9._-]", requirement)[0].lower()


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
    sys.exit(main())
