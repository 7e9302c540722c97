"""One system after another."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.contract.systems import SOURCES, MariaDbSystem, PostgresSystem, SourceSystem, SqlAlchemySystem, SqliteSystem
from tests.mariadb import new_mariadb


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
