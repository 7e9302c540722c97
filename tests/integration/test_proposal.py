"""What is chosen for tables of all kinds, and why."""

from __future__ import annotations

import psycopg
import pytest

from airflow_etl_sync.core.model import TableName
from airflow_etl_sync.errors import ConfigurationError, SchemaError
from airflow_etl_sync.systems.postgres.facts import ViewOfOthers, read_facts, read_view_of_others
from airflow_etl_sync.systems.postgres.proposal import LAG, Choice, propose

CLEAR = ViewOfOthers(is_standby=False, sees_all=True)
ID = "id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY"
TIME = "timestamptz NOT NULL DEFAULT now()"
INDEX = "; CREATE INDEX ON t (updated_at)"


def chosen(source: psycopg.Connection, others: ViewOfOthers = CLEAR, **asked: object) -> dict[str, Choice]:
    facts = read_facts(source, TableName("t", "public"))
    assert facts is not None
    return {each.argument: each for each in propose(facts, others, **asked)}  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("setup", "key", "cursor", "lag"),
    [
        (f"CREATE TABLE t ({ID}, updated_at {TIME})" + INDEX, None, "updated_at", None),
        (f"CREATE TABLE t ({ID}, updated_at timestamptz)" + INDEX, None, "updated_at", LAG),
        (f"CREATE TABLE t ({ID}, created_at {TIME}); CREATE INDEX ON t (created_at)", None, "id", None),
        (f"CREATE TABLE t ({ID}, updated_at {TIME})", None, "id", None),
        ("CREATE TABLE t (id bigint PRIMARY KEY)", None, "xmin", None),
        ("CREATE TABLE t (id bigint GENERATED ALWAYS AS IDENTITY (CACHE 9) PRIMARY KEY)", None, "xmin", None),
        ("CREATE TABLE t (a int, b int, PRIMARY KEY (a, b))", None, "xmin", None),
        (
            f"CREATE TABLE t (a int NOT NULL, b int NOT NULL UNIQUE, updated_at {TIME}, UNIQUE (a, b))" + INDEX,
            ("b",), "updated_at", None,
        ),
        (f"CREATE TABLE t ({ID}, at_modified {TIME}, updated_at {TIME}); CREATE INDEX ON t (at_modified)" + INDEX,
         None, "updated_at", None),
    ],
)  # fmt: skip
def test_by_the_catalogue(
    setup: str, key: tuple[str, ...] | None, cursor: str, lag: str | None, source: psycopg.Connection
) -> None:
    source.execute(setup)
    found = chosen(source)
    assert (found["primary_key"].value, found["cursor_field"].value, found["lag"].value) == (key, cursor, lag)
    assert all(each.why for each in found.values())


def test_an_id_is_no_cursor_for_rows_that_change(source: psycopg.Connection) -> None:
    source.execute(f"CREATE TABLE t ({ID}, note text); INSERT INTO t (note) VALUES ('x')")
    assert chosen(source)["cursor_field"].value == "id"
    source.execute("UPDATE t SET note = 'y'")
    source.execute("SELECT pg_stat_force_next_flush()")
    source.execute("SELECT 1")
    found = chosen(source)
    assert found["cursor_field"].value == "xmin" and "rows do change" in found["cursor_field"].why


@pytest.mark.parametrize("others", [ViewOfOthers(is_standby=True, sees_all=True), ViewOfOthers(False, False)])
def test_where_others_are_not_seen_a_lag_protects(others: ViewOfOthers, source: psycopg.Connection) -> None:
    source.execute(f"CREATE TABLE t ({ID}, updated_at {TIME})" + INDEX)
    assert chosen(source, others)["lag"].value == LAG
    source.execute("ALTER TABLE t DROP updated_at")
    assert chosen(source, others)["cursor_field"].value == "xmin"


def test_what_the_author_asks_for_is_taken(source: psycopg.Connection) -> None:
    source.execute(f"CREATE TABLE t ({ID}, code int, updated_at {TIME})" + INDEX)
    found = chosen(source, primary_key=("code",), cursor_field="id")
    assert (found["primary_key"].value, found["cursor_field"].value) == (("code",), "id")
    with pytest.raises(ConfigurationError, match="no column 'nothing'"):
        chosen(source, cursor_field="nothing")


def test_a_table_with_nothing_to_go_by_is_refused(source: psycopg.Connection) -> None:
    source.execute("CREATE TABLE t (note text)")
    with pytest.raises(SchemaError, match="--primary-key"):
        chosen(source)
    with pytest.raises(SchemaError, match="--cursor-field"):
        chosen(source, primary_key=("note",))
    assert read_view_of_others(source) == CLEAR
