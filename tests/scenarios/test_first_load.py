"""A first load inserts without asking for conflicts, and comes to the same where there are some."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import psycopg
import pytest

from airflow_etl_sync.core.model import Counts, LoadRules, WindowRules
from airflow_etl_sync.systems.postgres import sql
from tests.scenarios.world import FORMS, Form, World, rows, scalar

pytestmark = pytest.mark.scenario("S09")

DDL = "CREATE TABLE t (id bigint PRIMARY KEY, c timestamptz, v text)"
ROWS = 1_000


@pytest.fixture
def filled(world: World, source: psycopg.Connection) -> World:
    source.execute(DDL)
    source.execute("INSERT INTO t SELECT i, now() - interval '1 hour', 'v' FROM generate_series(1, %s) AS i", [ROWS])
    return world.but(chunk_rows=300)


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """By which statement each chunk was loaded, or tried to be."""
    names: list[str] = []

    def noting(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def noted(*arguments: Any, **named: Any) -> Any:
            names.append(name)
            return real(*arguments, **named)

        return noted

    for name in ("insert", "merge"):
        monkeypatch.setattr(sql.merging, name, noting(name, getattr(sql.merging, name)))
    return names


@pytest.mark.parametrize("form", FORMS)
def test_into_an_absent_or_empty_table_all_chunks_are_inserted(
    form: Form, filled: World, source: psycopg.Connection, warehouse: psycopg.Connection, sent: list[str]
) -> None:
    assert filled.run(form) == Counts(inserted=ROWS)
    assert sent == ["insert"] * 4
    assert rows(warehouse) == rows(source)
    sent.clear()
    source.execute("UPDATE t SET v = 'w', c = now() WHERE id <= 3")
    assert filled.run(form) == Counts(updated=3)
    assert set(sent) == {"merge"}


@pytest.mark.parametrize("form", FORMS)
def test_rows_that_are_there_are_merged(
    form: Form, filled: World, source: psycopg.Connection, warehouse: psycopg.Connection, sent: list[str]
) -> None:
    warehouse.execute(DDL)
    warehouse.execute("INSERT INTO t VALUES (5, '2000-01-01', 'old'), (599, '2000-01-01', 'old')")
    assert filled.run(form) == Counts(inserted=ROWS - 2, updated=2)
    # the first of the two is seen beforehand, the second is met
    assert sorted(sent) == ["insert"] * 3 + ["merge"] * 2
    assert rows(warehouse) == rows(source)


def test_a_full_refresh_does_not_try(filled: World, sent: list[str]) -> None:
    filled.run()
    sent.clear()
    assert filled.but(rules=WindowRules(full_refresh=True)).run() == Counts(skipped=ROWS)
    assert set(sent) == {"merge"}


@pytest.mark.parametrize("form", FORMS)
def test_a_resumed_first_load_merges(
    form: Form, filled: World, source: psycopg.Connection, warehouse: psycopg.Connection, sent: list[str]
) -> None:
    """A row may have moved between the two snapshots, and then comes twice."""
    filled.run_killed("sync" if form == "one_task" else "extract", "after state.ledger:record_extracted 3", "again")
    source.execute("UPDATE t SET id = 5000, v = 'moved', c = now() WHERE id = 1")
    filled.run(form, run="again")
    assert "insert" not in sent
    assert scalar(warehouse, "SELECT v FROM t WHERE id = 5000") == "moved"


@pytest.mark.parametrize("form", FORMS)
def test_bad_rows_are_set_aside_all_the_same(
    form: Form, filled: World, source: psycopg.Connection, warehouse: psycopg.Connection
) -> None:
    warehouse.execute(DDL.replace("v text", "v text CHECK (v <> 'bad')"))
    source.execute("UPDATE t SET v = 'bad' WHERE id IN (7, 700)")
    world = filled.but(load_rules=LoadRules(max_errors=2))
    assert world.run(form) == Counts(inserted=ROWS - 2, errors=2)


@pytest.mark.parametrize("form", FORMS)
def test_rows_that_a_trigger_drops_are_counted_as_skipped(
    form: Form, filled: World, warehouse: psycopg.Connection
) -> None:
    warehouse.execute(DDL)
    warehouse.execute("""
        CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN IF NEW.id = 3 THEN RETURN NULL; END IF; RETURN NEW; END $$;
        CREATE TRIGGER refuse BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION refuse()
    """)
    assert filled.run(form) == Counts(inserted=ROWS - 1, skipped=1)
