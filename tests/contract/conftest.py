"""One system after another."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.contract.matrix import Matrix
from tests.contract.systems import (
    DESTINATIONS,
    SOURCES,
    DestinationSystem,
    MariaDbSystem,
    PostgresSystem,
    SourceSystem,
    SqlAlchemySystem,
    SqliteSystem,
)
from tests.mariadb import new_mariadb

_MATRIX = Matrix()


@pytest.fixture(params=SOURCES)
def system(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[SourceSystem]:
    """A fresh database of each system that can be a source."""
    with ExitStack() as stack:
        if request.param in ("postgres", "sqlalchemy"):
            create: Callable[[str], str] = request.getfixturevalue("new_database")
            kind = PostgresSystem if request.param == "postgres" else SqlAlchemySystem
            yield kind(create("source"))
        elif request.param == "mariadb":
            yield MariaDbSystem(stack.enter_context(new_mariadb()))
        else:
            found = SqliteSystem(tmp_path / "source.db")
            found.execute("PRAGMA journal_mode = WAL")
            yield found


@pytest.fixture(params=DESTINATIONS)
def destination_system(
    request: pytest.FixtureRequest, new_database: Callable[[str], str], tmp_path: Path
) -> Iterator[DestinationSystem]:
    """A fresh database of each system that can be a destination, the state in another one but for PostgreSQL."""
    if request.param == "postgres":
        yield PostgresSystem(new_database("warehouse"))
        return
    state = new_database("state")
    if request.param == "sqlalchemy":
        yield SqlAlchemySystem(new_database("warehouse"), state)
    elif request.param == "sqlite":
        yield SqliteSystem(tmp_path / "warehouse.db", state)
    else:
        with new_mariadb() as database:
            yield MariaDbSystem(database, state)


def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> None:
    """Note what became of a test that holds a system to a promise."""
    mark = item.get_closest_marker("contract")
    params = getattr(item, "callspec", None)
    if mark is None or params is None:
        return
    skipped = call.excinfo is not None and call.excinfo.errisinstance(pytest.skip.Exception)
    if call.when == "call" or call.excinfo is not None:
        outcome = "skipped" if skipped else "failed" if call.excinfo else "passed"
        for fixture in ("system", "destination_system"):
            if fixture in params.params:
                _MATRIX.note(fixture, mark.args[0], params.params[fixture], outcome)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Show the matrix at the end."""
    if _MATRIX.outcomes:
        terminalreporter.section("which system keeps which promise")
        for line in _MATRIX.lines():
            terminalreporter.write_line(line)
