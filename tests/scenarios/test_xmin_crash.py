"""S01, S12 for ``xmin`` where the source itself goes wrong: it crashes, lags, is restored, or has wrapped around."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest

from tests.scenarios.mortal import MortalPostgres
from tests.scenarios.world import World, rows, watermark


@pytest.fixture
def lazy(mortal: MortalPostgres) -> Iterator[None]:
    """The server brings to its disk only what commits: it has ten seconds for the rest."""
    with psycopg.connect(mortal.databases.admin, autocommit=True) as admin:
        admin.execute("ALTER SYSTEM SET wal_writer_delay = '10s'")
        admin.execute("SELECT pg_reload_conf()")
    yield
    with psycopg.connect(mortal.databases.admin, autocommit=True) as admin:
        admin.execute("ALTER SYSTEM RESET wal_writer_delay")
        admin.execute("SELECT pg_reload_conf()")


@pytest.mark.scenario("S01")
@pytest.mark.usefixtures("lazy")
def test_an_id_that_is_given_twice_since_a_crash_forgot_the_first_hides_no_row(
    mortal: MortalPostgres, doomed_db: str, world: World, warehouse: psycopg.Connection
) -> None:
    world = world.but(source_db=doomed_db).streaming(cursor_field="xmin")
    with psycopg.connect(doomed_db, autocommit=True) as source:
        source.execute("CREATE TABLE t (id bigint PRIMARY KEY, v text)")
        source.execute("INSERT INTO t VALUES (1, 'old')")
        source.execute("CHECKPOINT")
        for _ in range(20):
            source.execute("BEGIN; SELECT pg_current_xact_id(); ROLLBACK")
        world.run()
    mortal.crash()
    mortal.restart()
    with psycopg.connect(doomed_db, autocommit=True) as source:
        source.execute("INSERT INTO t VALUES (2, 'new')")
        for _ in range(20):
            source.execute("SELECT pg_current_xact_id()")
        world.run()
        print(watermark(warehouse), source.execute("SELECT xmin, id FROM t").fetchall())
        assert rows(warehouse) == rows(source)
