"""S01, S12, S13 and what nobody has thought of: a short soak; ``make soak`` plays a long one."""

from __future__ import annotations

import os
import random
from pathlib import Path

import psycopg
import pytest

from tests.scenarios.soak import Soak
from tests.scenarios.soak_runs import SoakError

SECONDS = 30


@pytest.fixture
def soak(source_db: str, warehouse_db: str, tmp_path: Path) -> Soak:
    seed = int(os.environ.get("ETL_SYNC_SOAK_SEED") or random.SystemRandom().randrange(10**9))
    print(f"ETL_SYNC_SOAK_SEED={seed}")  # noqa: T201 - repeats a failure
    return Soak(source_db, warehouse_db, tmp_path, seed, SECONDS, has_deletes=True)


@pytest.mark.slow
@pytest.mark.scenario("S01")
@pytest.mark.scenario("S12")
@pytest.mark.scenario("S13")
def test_half_a_minute_of_writers_and_killed_runs_ends_in_equal_tables(soak: Soak) -> None:
    soak.play()
    assert soak.rounds and soak.runs.tally.done and soak.runs.tally.kills


def test_a_soak_tells_a_difference(soak: Soak, source: psycopg.Connection, warehouse: psycopg.Connection) -> None:
    soak.prepare()
    source.execute("INSERT INTO t (kind, id, price) VALUES ('a', 1, 1.5), ('a', 2, 2)")
    warehouse.execute("INSERT INTO t (kind, id, price) VALUES ('a', 1, 1.25)")
    with pytest.raises(SoakError, match=r"(?s)2 rows differ.*1\.500.*1\.250.*\('a', 2\).*None.*the last runs"):
        soak.compare()
