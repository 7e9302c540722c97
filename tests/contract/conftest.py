"""One system after another."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.bigquery_emulator import new_bigquery
from tests.conftest import CONTRACT
from tests.contract.systems import (
    DESTINATIONS,
    SOURCES,
    BigQuerySystem,
    DeltaSystem,
    DestinationSystem,
    DuckDbSystem,
    HttpSystem,
    MariaDbSystem,
    PostgresSystem,
    SnowflakeSystem,
    SourceSystem,
    SqlAlchemySystem,
    SqliteSystem,
)
from tests.http_api import Reply, new_api
from tests.mariadb import new_mariadb
from tests.snowflake_emulator import new_snowflake


@pytest.fixture(params=[each for each in SOURCES if each != "files"])
def system(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[SourceSystem]:
    """A fresh database of each system that can be a source and is one."""
    with ExitStack() as stack:
        if request.param in ("postgres", "sqlalchemy"):
            create: Callable[[str], str] = request.getfixturevalue("new_database")
            kind = PostgresSystem if request.param == "postgres" else SqlAlchemySystem
            yield kind(create("source"))
        elif request.param == "mariadb":
            yield MariaDbSystem(stack.enter_context(new_mariadb()))
        elif request.param == "http":
            api = stack.enter_context(new_api(lambda _: Reply()))
            served = HttpSystem(tmp_path / "source.db", api=api)
            api.respond = served.respond
            served.execute("PRAGMA journal_mode = WAL")
            yield served
        else:
            found = SqliteSystem(tmp_path / "source.db")
            found.execute("PRAGMA journal_mode = WAL")
            yield found


@pytest.fixture(params=[each for each in DESTINATIONS if each != "parquet"])
def destination_system(
    request: pytest.FixtureRequest, new_database: Callable[[str], str], tmp_path: Path
) -> Iterator[DestinationSystem]:
    """A fresh database of each system that can be a destination, the state in another one but for PostgreSQL."""
    if request.param == "postgres":
        yield PostgresSystem(new_database("warehouse"))
        return
    state = new_database("state")
    if request.param == "delta":
        yield DeltaSystem(tmp_path / "lake", state)
    elif request.param == "duckdb":
        yield DuckDbSystem(tmp_path / "warehouse.duckdb", state)
    elif request.param == "sqlalchemy":
        yield SqlAlchemySystem(new_database("warehouse"), state)
    elif request.param == "snowflake":
        with new_snowflake() as snowflake:
            yield SnowflakeSystem(snowflake, state)
    elif request.param == "bigquery":
        with new_bigquery() as dataset:
            yield BigQuerySystem(dataset, state)
    elif request.param == "sqlite":
        yield SqliteSystem(tmp_path / "warehouse.db", state)
    else:
        with new_mariadb() as database:
            yield MariaDbSystem(database, state)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Note on its report which system a test holds to which promise; tests/conftest.py makes a table of it."""
    report = yield
    mark = item.get_closest_marker("contract")
    params = getattr(item, "callspec", None)
    if mark is not None and params is not None:
        for fixture in ("system", "destination_system"):
            if fixture in params.params:
                note: tuple[str, object] = (CONTRACT, [fixture, mark.args[0], params.params[fixture]])
                if note not in report.user_properties:
                    report.user_properties.append(note)
    return report
