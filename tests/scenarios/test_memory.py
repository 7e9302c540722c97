"""S16: a step needs no more memory for ten times the rows."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import psycopg
import pytest

from airflow_etl_sync.core.model import Extraction
from tests.scenarios.world import World, scalar

FEW, MANY = 20_000, 200_000
MOST_GROWTH = 25 * 2**20
"""Measured: 1 to 9 MB, where holding the whole stream takes more than 60."""
TABLE = """
CREATE TYPE mood AS ENUM ('sad', 'ok', 'happy');
CREATE TABLE t (
    id bigint PRIMARY KEY, token uuid NOT NULL, amount integer, name text, mood mood, price numeric(12, 2),
    currency char(3), is_open boolean, note text, details jsonb, tags text[], weight double precision,
    place text, created_at timestamptz, c timestamptz NOT NULL
)
"""
FILL = f"""
INSERT INTO t
SELECT
    i, gen_random_uuid(), i % 1000, 'a name of some length ' || md5(i::text),
    (ARRAY['sad', 'ok', 'happy'])[1 + i % 3]::mood, i / 7.0, 'EUR', i % 2 = 0,
    CASE WHEN i % 4 = 0 THEN md5((-i)::text) END,
    jsonb_build_object('number', i, 'text', md5(i::text), 'list', jsonb_build_array(i, i + 1)),
    ARRAY['one', md5(i::text)], sqrt(i), 'a place ' || i % 100, now() - interval '1 day', now() - interval '1 hour'
FROM generate_series(1, {MANY}) AS i
"""

Step = Literal["extract", "load", "sync"]


@pytest.fixture
def wide(world: World, source: psycopg.Connection) -> World:
    source.execute(TABLE)
    source.execute(FILL)
    return world.but(chunk_rows=250_000)


def peaks(world: World, warehouse: psycopg.Connection, rows: int) -> dict[Step, int]:
    """The peak memory of each step, in bytes, over the first so many rows."""
    world = world.but(stream=replace(world.stream, sync_key=f"{rows} rows", where=f"id <= {rows}"))
    extracted = world.run_measured("extract", "chain")
    extraction = Extraction.from_xcom(extracted["extraction"])
    loaded = world.run_measured("load", "chain", extraction)
    assert scalar(warehouse, "SELECT count(*) FROM t") == rows
    warehouse.execute("DROP TABLE t")
    synced = world.run_measured("sync", "one task")
    assert scalar(warehouse, "SELECT count(*) FROM t") == rows
    warehouse.execute("DROP TABLE t")
    steps = {"extract": extracted, "load": loaded, "sync": synced}
    assert not any(measured["has_airflow"] for measured in steps.values())
    return {step: measured["peak_bytes"] for step, measured in steps.items()}  # type: ignore[misc]


@pytest.mark.slow
@pytest.mark.scenario("S16")
def test_peak_memory_does_not_grow_with_the_table(wide: World, warehouse: psycopg.Connection) -> None:
    few, many = peaks(wide, warehouse, FEW), peaks(wide, warehouse, MANY)
    growth = {step: many[step] - few[step] for step in few}
    assert max(growth.values()) < MOST_GROWTH, growth
