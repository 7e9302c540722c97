"""What is found amiss before the first run, on real databases, and what is not."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from airflow_etl_sync.core.model import TableName
from airflow_etl_sync.systems.postgres.access import PostgresAccess
from airflow_etl_sync.systems.postgres.preflight import WantedSync, examine_destination, examine_source

GOOD = """
CREATE TABLE public.orders (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, note text, updated_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX ON public.orders (updated_at);
INSERT INTO public.orders (note) SELECT 'x' FROM generate_series(1, 10);
"""
CACHED = GOOD + "ALTER TABLE orders ALTER id SET CACHE 20"
ORDERS = TableName("orders", "public")

Found = Callable[..., dict[str, bool]]


@pytest.fixture
def found(source_db: str, warehouse_db: str) -> Found:
    """The codes that are found, and whether each stands in the way."""

    def examine(
        cursor_field: str = "updated_at", source: str = source_db, target: str = warehouse_db, **more: Any
    ) -> dict[str, bool]:
        wanted = WantedSync(**{"table": ORDERS, "destination_table": ORDERS, "cursor_field": cursor_field, **more})
        examined = examine_source(PostgresAccess(source), wanted)
        findings = [*examined.findings, *examine_destination(PostgresAccess(target), wanted, examined)]
        assert all(each.sentence and each.mending for each in findings)
        return {each.code: each.is_error for each in findings}

    return examine


@pytest.fixture
def guest(source_db: str, source: psycopg.Connection) -> Iterator[tuple[str, str]]:
    """A login without rights, and its name."""
    name = f"guest_{source.info.dbname}"
    source.execute(f"CREATE ROLE {name} LOGIN PASSWORD 'guest'")
    yield make_conninfo(source_db, user=name, password="guest"), name
    source.execute(f"DROP OWNED BY {name}; DROP ROLE {name}")


def test_nothing_is_amiss_with_a_good_table(found: Found, source: psycopg.Connection) -> None:
    source.execute(GOOD)
    assert found() == {"table_to_be_created": False}
    assert found("id") == found("xmin") == {"table_to_be_created": False}


@pytest.mark.parametrize(
    ("setup", "cursor", "more", "wanted"),
    [
        ("", "updated_at", {}, {"table_missing": True}),
        (GOOD, "update_at", {}, {"column_missing": True}),
        (GOOD, "note", {}, {"cursor_not_indexed": False, "cursor_nullable": False}),
        (GOOD, "updated_at", {"primary_key": ("nothing",)}, {"column_missing": True}),
        (GOOD, "updated_at", {"primary_key": ("note",)}, {"key_not_unique": True}),
        (GOOD + "UPDATE orders SET note = NULL", "updated_at", {"primary_key": ("note",)}, {"key_null": True}),
        (
            GOOD + "UPDATE orders SET note = id::text", "updated_at", {"primary_key": ("note",)},
            {"key_not_vouched_for": False},
        ),
        (CACHED, "id", {}, {"numbers_not_in_order": True}),
        (CACHED, "id", {"lag": 100}, {"numbers_not_in_order": False}),
        (GOOD + "ALTER TABLE orders ADD tags text[]", "updated_at", {}, {"travels_as_text": False}),
        (GOOD + "ALTER TABLE orders ADD at interval", "at", {}, {"cursor_type": True, "travels_as_text": False}),
        (GOOD + "ALTER TABLE orders ALTER updated_at DROP NOT NULL", "updated_at", {}, {"cursor_nullable": False}),
        (GOOD + "CREATE DOMAIN mood AS text; ALTER TABLE orders ADD m mood", "updated_at", {}, {"type_missing": False}),
        (GOOD, "xmin", {"lag": 5}, {"lag": True}),
        (
            "CREATE VIEW public.orders AS SELECT 1 AS id, now() AS updated_at", "updated_at", {},
            {"key_missing": True, "cursor_not_indexed": False, "cursor_nullable": False},
        ),
    ],
    ids=lambda given: str(given)[-40:],
)  # fmt: skip
def test_what_is_amiss_at_the_source(
    setup: str, cursor: str, more: dict[str, Any], wanted: dict[str, bool], found: Found, source: psycopg.Connection
) -> None:
    source.execute(setup)
    assert found(cursor, **more) == wanted | {"table_to_be_created": False}


def test_a_large_table_needs_an_index_on_its_cursor(found: Found, source: psycopg.Connection) -> None:
    source.execute(GOOD + "DROP INDEX orders_updated_at_idx")
    assert found()["cursor_not_indexed"] is False
    source.execute("INSERT INTO orders (note) SELECT repeat(md5(i::text), 40) FROM generate_series(1, 9000) AS i")
    assert found()["cursor_not_indexed"] is True


def test_a_login_without_rights(found: Found, source: psycopg.Connection, guest: tuple[str, str]) -> None:
    conninfo, name = guest
    source.execute(GOOD)
    findings = found(source=conninfo)
    assert findings["table_unreadable"] and findings["others_not_visible"]
    source.execute(f"GRANT SELECT ON orders TO {name}")
    assert found(source=conninfo)["others_not_visible"]
    assert found(source=conninfo, lag=timedelta(minutes=5))["others_not_visible"] is False
    source.execute(f"GRANT pg_read_all_stats TO {name}")
    assert "others_not_visible" not in found(source=conninfo)
    denied = found(target=conninfo)
    assert denied["state_not_creatable"] and denied["target_rights"]
    source.execute(f"REVOKE CREATE ON SCHEMA public FROM PUBLIC, {name}")
    assert found(target=conninfo, destination_table=TableName("copy", "public"))["table_not_creatable"]


@pytest.mark.parametrize(
    ("setup", "wanted"),
    [
        ("CREATE TABLE orders (id bigint PRIMARY KEY, note text, updated_at timestamptz)", {}),
        ("CREATE TABLE orders (id integer PRIMARY KEY)", {"target_type": False, "target_column_missing": False}),
        ("CREATE TABLE orders (id bigint, note text, updated_at timestamptz)", {"target_key": True}),
        (
            "CREATE TABLE orders (id bigint PRIMARY KEY, must text NOT NULL)",
            {"target_column_required": True, "target_column_missing": False},
        ),
        ("CREATE VIEW orders AS SELECT 1 AS id", {"target_kind": True}),
    ],
    ids=lambda given: str(given)[-40:],
)
def test_what_is_amiss_at_the_destination(
    setup: str, wanted: dict[str, bool], found: Found, source: psycopg.Connection, warehouse: psycopg.Connection
) -> None:
    source.execute(GOOD)
    warehouse.execute(setup)
    assert found() == wanted
    assert found(destination_table=TableName("orders", "nowhere")) == {"schema_missing": True}
