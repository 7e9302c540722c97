"""Syncs from MariaDB and SQLite, run by Airflow: the source is found by the connection's type alone."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.dags.conftest import Airflow
from tests.mariadb import MariaDb, new_mariadb

if TYPE_CHECKING:
    import psycopg

ORDERS = 500
CREATE = """
CREATE TABLE orders (
    id bigint unsigned NOT NULL PRIMARY KEY AUTO_INCREMENT,
    status enum('open', 'paid', 'sent') NOT NULL,
    total decimal(12, 2) NOT NULL,
    note varchar(100),
    updated_at timestamp(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6) ON UPDATE CURRENT_TIMESTAMP(6),
    INDEX (updated_at)
)
"""
ALL = "SELECT id, CAST(status AS char), total, note, CAST(updated_at AS char) FROM orders ORDER BY id"


@pytest.fixture
def shop_mysql(airflow: Airflow) -> Iterator[MariaDb]:
    with new_mariadb() as database:
        database.execute(
            CREATE,
            f"INSERT INTO orders (status, total, note) SELECT 'open', seq / 100, 'größe 😀' FROM seq_1_to_{ORDERS}",
        )
        airflow.connect(
            "shop_mysql", "", conn_type="mysql", host=database.host, port=database.port, login=database.login,
            password=database.password, schema=database.database,
        )  # fmt: skip
        yield database


def loaded(warehouse: psycopg.Connection, table: str) -> list[tuple[Any, ...]]:
    warehouse.execute("SET TimeZone = 'UTC'")
    query = f"SELECT id, status, total, note, to_char(updated_at, 'YYYY-MM-DD HH24:MI:SS.US') FROM {table} ORDER BY id"
    return warehouse.execute(query).fetchall()


def test_orders_from_mysql(airflow: Airflow, shop_mysql: MariaDb, warehouse: psycopg.Connection) -> None:
    first = airflow.run("orders_from_mysql")
    assert first.state == "success", first.errors
    assert first.counts("orders.load") == {"inserted": ORDERS, "updated": 0, "skipped": 0, "errors": 0}
    shop_mysql.execute("SET SESSION time_zone = '+00:00'")
    assert loaded(warehouse, "public.mysql_orders") == _in_utc(shop_mysql)

    shop_mysql.execute(
        "UPDATE orders SET status = 'paid' WHERE id <= 20", "INSERT INTO orders (status, total) VALUES ('open', 9.99)"
    )
    second = airflow.run("orders_from_mysql")
    counts = second.counts("orders.load")
    assert (counts["inserted"], counts["updated"], counts["errors"]) == (1, 20, 0)
    assert loaded(warehouse, "public.mysql_orders") == _in_utc(shop_mysql)
    protections = warehouse.execute("SELECT DISTINCT protection FROM etl_sync.sync_run").fetchall()
    assert protections == [("fixed distance of 0:10:00",)]
    assert "late commits: fixed distance of 0:10:00" in second.log


@pytest.mark.parametrize(
    ("dag_id", "table"), [("one_task_from_mysql", "public.from_mysql"), ("declared_from_mysql", "public.declared")]
)
def test_every_form_takes_a_connection_of_type_mysql(
    airflow: Airflow, shop_mysql: MariaDb, warehouse: psycopg.Connection, dag_id: str, table: str
) -> None:
    run = airflow.run(dag_id)
    assert run.state == "success", run.errors
    assert loaded(warehouse, table) == _in_utc(shop_mysql)


def test_reconcile_flags_what_is_gone_from_mysql(
    airflow: Airflow, shop_mysql: MariaDb, warehouse: psycopg.Connection
) -> None:
    airflow.run("one_task_from_mysql")
    shop_mysql.execute("DELETE FROM orders WHERE id IN (7, 8)")
    run = airflow.run("reconcile_from_mysql")
    assert run.state == "success", run.errors
    (report,) = run.results("reconcile")
    assert report.pop("seconds") > 0
    assert report == {"compared": ORDERS, "absent": 2, "deleted": 2, "revived": 0}
    flagged = "SELECT id FROM public.from_mysql WHERE _sync_deleted ORDER BY id"
    assert warehouse.execute(flagged).fetchall() == [(7,), (8,)]


def test_a_dry_run_tells_what_mysql_expects(
    airflow: Airflow, shop_mysql: MariaDb, warehouse: psycopg.Connection
) -> None:
    [plan] = airflow.run("one_task_from_mysql", dry_run=True).results("sync")
    assert plan["estimated_rows"] > ORDERS // 2
    assert "FROM `orders` AS source" in plan["statements"][0]
    assert warehouse.execute("SELECT to_regclass('public.from_mysql'), to_regnamespace('etl_sync')").fetchone() == (
        None, None,
    )  # fmt: skip


def test_a_file_of_sqlite(airflow: Airflow, warehouse: psycopg.Connection, tmp_path: Path) -> None:
    path = tmp_path / "shop.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE orders (id INTEGER PRIMARY KEY, total REAL, updated_at DATETIME)")
        connection.execute("INSERT INTO orders VALUES (1, 0.1, datetime('now')), (2, 0.2, datetime('now'))")
        connection.commit()
    airflow.connect("shop_sqlite", "", conn_type="sqlite", host=str(path))
    run = airflow.run("one_task_from_sqlite")
    assert run.state == "success", run.errors
    assert warehouse.execute("SELECT id, total FROM public.from_sqlite ORDER BY id").fetchall() == [(1, 0.1), (2, 0.2)]
    assert airflow.run("reconcile_from_sqlite").results("reconcile")[0]["compared"] == 2


def test_a_connection_that_is_no_database_is_refused(airflow: Airflow, warehouse: psycopg.Connection) -> None:
    airflow.connect("shop_hook", "", conn_type="smtp", host="127.0.0.1", password="se cret")
    run = airflow.run("one_task_from_hook")
    assert run.state == "failed" and run.tries == 1
    assert "The connection 'shop_hook' is of type 'smtp', which cannot be a source" in run.log
    assert "se cret" not in run.log
    assert "of type 'smtp', which cannot be a source" in airflow.run("reconcile_from_hook").log
    airflow.connect("shop_hook", "", conn_type="http", host="127.0.0.1")
    assert "of type 'http', which has no tables whose keys" in airflow.run("reconcile_from_hook").log


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"extra": {"sslmode": "require"}}, "The extra of the connection 'shop_mysql' holds 'sslmode'"),
        ({"login": "nobody_here", "password": "se cret"}, "Access denied for user 'nobody_here'"),
    ],
)
def test_an_unusable_connection_fails_at_once_and_tells_no_secret(
    airflow: Airflow, shop_mysql: MariaDb, changes: dict[str, Any], said: str
) -> None:
    login = {"host": shop_mysql.host, "port": shop_mysql.port, "login": shop_mysql.login, "password": ""}
    airflow.connect("shop_mysql", "", conn_type="mysql", schema=shop_mysql.database, **(login | changes))
    run = airflow.run("one_task_from_mysql")
    assert run.state == "failed" and run.tries == 1
    assert said in run.log and "se cret" not in run.log


def _in_utc(shop: MariaDb) -> list[tuple[Any, ...]]:
    return shop.execute("SET SESSION time_zone = '+00:00'", ALL)
