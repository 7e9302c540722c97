"""The state tables: made by their migrations, which agree with what the code reads and writes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from alembic.autogenerate import compare_metadata
from alembic.operations import Operations
from alembic.runtime.migration import MigrationContext
from sqlalchemy import text

from airflow_etl_sync.errors import StateError
from airflow_etl_sync.state import tables
from airflow_etl_sync.state.migrations.versions import rev_0001_first
from airflow_etl_sync.systems.postgres.access import PostgresAccess

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine


@pytest.fixture
def engine(warehouse_db: str) -> Engine:
    return PostgresAccess(warehouse_db).engine()


def of_the_state(item: Any, name: str | None, kind: str, _reflected: bool, _other: Any) -> bool:
    return kind != "table" or (item.schema == tables.SCHEMA and name != "alembic_version")


def make_first(connection: Connection) -> None:
    """The state tables as the first release made them."""
    connection.execute(text(f"CREATE SCHEMA {tables.SCHEMA}"))
    context = MigrationContext.configure(connection, opts={"version_table_schema": tables.SCHEMA})
    with Operations.context(context):
        rev_0001_first.upgrade()
    connection.execute(text(f"CREATE TABLE {tables.SCHEMA}.alembic_version (version_num varchar(32) PRIMARY KEY)"))
    connection.execute(text(f"INSERT INTO {tables.SCHEMA}.alembic_version VALUES ('0001')"))


def test_migrations_make_the_tables_that_the_code_knows(engine: Engine) -> None:
    tables.ensure(engine)
    with engine.connect() as connection:
        options = {"include_schemas": True, "include_object": of_the_state, "compare_type": True}
        context = MigrationContext.configure(connection, opts=options)
        assert compare_metadata(context, tables.metadata) == []


def test_older_tables_are_brought_up_and_keep_their_rows(engine: Engine, warehouse: psycopg.Connection) -> None:
    with engine.begin() as connection:
        make_first(connection)
    warehouse.execute("INSERT INTO etl_sync.watermark VALUES ('t', '7', 'integer', now(), 3, '{}')")

    tables.ensure(engine)

    assert warehouse.execute("SELECT version_num FROM etl_sync.alembic_version").fetchall() == [(tables.REVISION,)]
    assert warehouse.execute("SELECT cursor_value, version FROM etl_sync.watermark").fetchall() == [("7", 3)]
    assert warehouse.execute("SELECT count(*) FROM etl_sync.failed_record").fetchone() == (0,)


def test_tables_of_a_newer_release_are_left_alone(engine: Engine, warehouse: psycopg.Connection) -> None:
    tables.ensure(engine)
    warehouse.execute("UPDATE etl_sync.alembic_version SET version_num = '9999'")

    with pytest.raises(StateError, match="newer airflow-etl-sync"):
        tables.ensure(engine)

    assert warehouse.execute("SELECT version_num FROM etl_sync.alembic_version").fetchall() == [("9999",)]
