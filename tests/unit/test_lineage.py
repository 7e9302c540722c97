"""What OpenLineage calls the tables of each system."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path
from unittest.mock import Mock

import fsspec
import pytest
from sqlalchemy import make_url

from airflow_etl_sync.core.dataset_names import in_duckdb, in_folder, in_snowflake
from airflow_etl_sync.core.model import Counts, Dataset, Origin, TableName
from airflow_etl_sync.demo.postgres import free_port
from airflow_etl_sync.observability.lineage import Flow, lineage_of, origin_of
from airflow_etl_sync.systems.database.access import DatabaseAccess, mysql_access, sqlite_access
from airflow_etl_sync.systems.files.place import FilePlace
from airflow_etl_sync.systems.http.access import HttpAccess
from airflow_etl_sync.systems.postgres.access import PostgresAccess
from airflow_etl_sync.systems.postgres.destination import PostgresDestination

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
        origin=origin_of(gone, TableName("orders"), None), state=gone, extraction_id="x",
        target=PostgresDestination(gone, TableName("copy")), counts=Counts(inserted=3, updated=4, skipped=5, errors=6),
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


def test_a_table_of_sqlite_is_called_by_its_file(tmp_path: Path) -> None:
    named = Dataset(f"sqlite://{tmp_path}/f.db", "main.orders")
    assert origin_of(sqlite_access(tmp_path / "f.db"), TableName("orders"), None) == Origin((named,), is_table=True)
    query = "SELECT a.id FROM orders AS a JOIN users AS b ON a.id = b.id"
    assert len(origin_of(sqlite_access(tmp_path / "f.db"), None, query).datasets) == 2


def test_lineage_has_no_name_for_tables_that_were_never_named_on_a_running_system() -> None:
    oracle = DatabaseAccess(lambda: Mock(url=make_url("oracle://u:hidden@shop/x"), dialect=Mock()), "shop")
    assert origin_of(oracle, TableName("orders"), None) == Origin()


def test_an_account_of_snowflake_is_called_as_openlineage_calls_it() -> None:
    fix_account_name = import_module("openlineage.common.provider.snowflake").fix_account_name

    for account in ("org-shop", "org-shop.x", "xy1", "xy1.us-east-1", "xy1.us-east-2.aws", "xy1.fhplus.us-gov-1.aws"):
        named = in_snowflake(account, "SHOP", "PUBLIC", "T")
        assert named == Dataset(f"snowflake://{fix_account_name(account)}", "SHOP.PUBLIC.T")


def test_folders_of_a_lake() -> None:
    assert in_folder("/lake/", ["shop", "orders"]) == Dataset("file", "/lake/shop/orders")
    assert in_folder("s3://lake/tables/", ["shop", "orders"]) == Dataset("s3://lake", "tables/shop/orders")
    assert in_folder("s3://lake", ["orders"]) == Dataset("s3://lake", "orders")
    assert in_folder("s3://lake") == Dataset("s3://lake", "/")


def test_a_file_of_duckdb_is_a_database() -> None:
    assert in_duckdb("/data/mart.duckdb", TableName("t", "s")) == Dataset("duckdb:///data/mart.duckdb", "mart.s.t")


def test_openlineage_has_no_name_for_an_api() -> None:
    assert origin_of(HttpAccess(base_url="https://shop.example"), None, None) == Origin()
