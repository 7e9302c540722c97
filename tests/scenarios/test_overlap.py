"""S12: staging runs ahead of merging, and a merge that fails takes nothing of what is staged behind it along."""

from __future__ import annotations

import threading
from typing import Any

import psycopg
import pytest

from airflow_etl_sync.core.model import Counts
from airflow_etl_sync.systems.postgres.destination import PostgresDestination
from tests.scenarios.world import FORMS, Form, World, rows, scalar

pytestmark = pytest.mark.scenario("S12")

PATIENCE_SECONDS = 30
STAGED = "SELECT count(*) FROM pg_class WHERE relname LIKE 'stage%' AND relnamespace = 'etl_sync'::regnamespace"


@pytest.fixture
def four_chunks(world: World, source: psycopg.Connection) -> World:
    source.execute("CREATE TABLE t (id bigint PRIMARY KEY, c timestamptz, v text)")
    source.execute("INSERT INTO t SELECT i, now() - interval '1 hour', 'v' FROM generate_series(1, 400) AS i")
    return world.but(chunk_rows=100)


@pytest.fixture
def is_second_staged(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Set once a second chunk is on the destination's side."""
    is_there, real, calls = threading.Event(), PostgresDestination.stage, iter(range(1000))

    def stage(self: PostgresDestination, *given: Any) -> Any:
        staged = real(self, *given)
        if next(calls) == 1:
            is_there.set()
        return staged

    monkeypatch.setattr(PostgresDestination, "stage", stage)
    return is_there


@pytest.mark.parametrize("form", FORMS)
def test_while_a_chunk_is_merged_the_next_is_staged(
    form: Form,
    four_chunks: World,
    source: psycopg.Connection,
    warehouse: psycopg.Connection,
    is_second_staged: threading.Event,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    real = PostgresDestination.merge

    def merge(self: PostgresDestination, *given: Any) -> Any:
        assert is_second_staged.wait(PATIENCE_SECONDS)
        return real(self, *given)

    monkeypatch.setattr(PostgresDestination, "merge", merge)
    # the chain is dealt into parts, and the first of them has two chunks
    assert four_chunks.run(form) == Counts(inserted=400)
    assert rows(warehouse) == rows(source)
    assert scalar(warehouse, STAGED) == 0


@pytest.mark.parametrize("form", FORMS)
def test_a_merge_that_fails_leaves_what_is_staged_behind_it_for_the_next_try(
    form: Form,
    four_chunks: World,
    source: psycopg.Connection,
    warehouse: psycopg.Connection,
    is_second_staged: threading.Event,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(self: PostgresDestination, *given: Any) -> Any:
        assert is_second_staged.wait(PATIENCE_SECONDS)
        raise InterruptedError

    with monkeypatch.context() as patched:
        patched.setattr(PostgresDestination, "merge", fail)
        with pytest.raises(InterruptedError):
            four_chunks.run(form, "a run")
    assert not [thread for thread in threading.enumerate() if thread.name == "etl-sync ahead"]
    assert scalar(warehouse, "SELECT to_regclass('t') IS NULL")
    assert scalar(warehouse, "SELECT count(*) FROM etl_sync.loaded_chunk") == 0
    assert four_chunks.run(form, "a run") == Counts(inserted=400)
    assert rows(warehouse) == rows(source)
