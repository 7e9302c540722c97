"""What OpenLineage calls the tables of each system."""

from __future__ import annotations

import sys
from pathlib import Path

import fsspec
import pytest

from airflow_etl_sync.core.model import Counts, Dataset, Origin, TableName
from airflow_etl_sync.demo.postgres import free_port
from airflow_etl_sync.observability.lineage import Flow, lineage_of, origin_of
from airflow_etl_sync.systems.database.access import mysql_access, sqlite_access
from airflow_etl_sync.systems.files.place import FilePlace
from airflow_etl_sync.systems.http.access import HttpAccess
from airflow_etl_sync.systems.postgres.access import PostgresAccess

POSTGRES = PostgresAccess("host=Shop.example dbname=shop user=u password=hidden")
MYSQL = mysql_access(host="Shop.example", port=3307, login="u", password="hidden", database="shop")


def test_a_table_of_postgresql() -> None:
    named = Dataset("postgres://shop.example:5432", "shop.public.orders")
    assert origin_of(POSTGRES, TableName("orders"), None) == Origin((named,), is_table=True)


def test_a_table_of_mysql() -> None:
    named = Dataset("mysql://shop.example:3307", "shop.orders")
    assert origin_of(MYSQL, TableName("orders"), None) == Origin((named,), is_table=True)
    elsewhere = Dataset("mysql://shop.example:3307", "archive.orders")
    assert origin_of(MYSQL, TableName("orders", "archive"), None) == Origin((elsewhere,), is_table=True)


def test_the_tables_of_a_query() -> None:
    found = origin_of(MYSQL, None, "SELECT o.id FROM orders AS o JOIN `order lines` AS l ON l.order_id = o.id")
    assert {each.name for each in found.datasets} == {"shop.orders", "shop.order lines"}
    assert not found.is_table


def test_a_query_that_places_its_window_is_read_too() -> None:
    found = origin_of(POSTGRES, None, "SELECT * FROM orders AS o WHERE :window(o.updated_at) AND o.total > 0")
    assert [each.name for each in found.datasets] == ["shop.public.orders"]


def test_a_query_names_no_tables_without_openlineages_parser(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openlineage_sql", None)
    assert origin_of(POSTGRES, None, "SELECT * FROM orders") == Origin()


def test_a_database_that_has_gone_since_costs_the_columns_only() -> None:
    gone = PostgresAccess(f"host=127.0.0.1 port={free_port()} dbname=shop user=u password=hidden connect_timeout=2")
    flow = Flow(
        origin=origin_of(gone, TableName("orders"), None), state=gone, extraction_id="x", target=TableName("copy"),
        counts=Counts(inserted=3, updated=4, skipped=5, errors=6),
    )  # fmt: skip
    told = lineage_of(flow)
    [read], [written] = told.inputs, told.outputs
    assert (read.name, read.facets) == ("shop.public.orders", {})
    assert (written.name, written.facets) == ("shop.public.copy", {})
    assert written.outputFacets["outputStatistics"].rowCount == 7, "what was skipped was not written"


def test_files_are_called_by_their_folder() -> None:
    local = FilePlace(fsspec.filesystem("file"), "/data/in/*.csv", "/data/in/*.csv")
    assert origin_of(local, None, None) == Origin((Dataset("file", "/data/in/"),), is_table=True)
    memory = FilePlace(fsspec.filesystem("memory"), "lake/in/20*/x.csv", "memory://lake/in/20*/x.csv")
    assert origin_of(memory, None, None) == Origin((Dataset("memory://lake", "in"),), is_table=True)


def test_openlineage_has_no_name_for_tables_of_sqlite(tmp_path: Path) -> None:
    assert origin_of(sqlite_access(tmp_path / "f"), TableName("orders"), None) == Origin()


def test_openlineage_has_no_name_for_an_api() -> None:
    assert origin_of(HttpAccess(base_url="https://shop.example"), None, None) == Origin()
