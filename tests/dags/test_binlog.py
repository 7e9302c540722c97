"""Changes of MariaDB captured by Airflow itself, by its binary log; the connection's form and what it says."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

from tests.binlog import logging_mariadb, new_database
from tests.dags.conftest import Airflow
from tests.dags.test_cdc_connection import PRESS_TEST, PRESS_TEST_ON_THE_SERVER, ask

if TYPE_CHECKING:
    import psycopg

    from tests.mariadb import MariaDb

FORM = """
import json
from airflow.providers_manager import ProvidersManager
manager = ProvidersManager()
hook = manager.hooks["mysql_cdc"]
fields = [key for key in manager.connection_form_widgets if key.startswith("extra__mysql_cdc")]
print("RESULT" + json.dumps({
    "name": hook.hook_name, "class": hook.hook_class_name, "testable": hook.connection_testable, "fields": fields,
}))
"""
SHOP = (
    "CREATE TABLE users (id int PRIMARY KEY AUTO_INCREMENT, email varchar(100) NOT NULL UNIQUE, born date)",
    """CREATE TABLE orders (
        id bigint PRIMARY KEY AUTO_INCREMENT, user_id int NOT NULL, status enum('open', 'paid'), total decimal(12, 2),
        placed_at timestamp(6) DEFAULT CURRENT_TIMESTAMP(6), FOREIGN KEY (user_id) REFERENCES users (id)
    )""",
    "INSERT INTO users (email, born) SELECT concat('user', seq, '@example.org'), '1990-02-28' FROM seq_1_to_50",
    "INSERT INTO orders (user_id, status, total) SELECT 1 + seq % 50, 'open', seq / 7 FROM seq_1_to_300",
)
USERS = "SELECT id, email, born FROM {} ORDER BY id"
ORDERS = "SELECT id, user_id, status, total FROM {} ORDER BY id"


@pytest.fixture(scope="module")
def logging_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MariaDb]:
    with logging_mariadb(tmp_path_factory.mktemp("mariadb")) as mariadb:
        yield mariadb


@pytest.fixture
def shop_mariadb(logging_server: MariaDb) -> Iterator[MariaDb]:
    with new_database(logging_server) as database:
        database.execute(*SHOP)
        yield database


def connection(database: MariaDb, **changes: Any) -> str:
    given = {
        "conn_type": "mysql_cdc", "host": database.host, "port": database.port, "login": database.login,
        "password": database.password, "schema": database.database, "extra": {"tables": "users, orders"},
    }  # fmt: skip
    return json.dumps(given | changes)


def test_orders_by_binlog(
    airflow: Airflow, shop_mariadb: MariaDb, warehouse: psycopg.Connection, airflow_environment: dict[str, str]
) -> None:
    def is_equal() -> bool:
        return all(
            warehouse.execute(query.format(f"public.{table}_live")).fetchall()
            == shop_mariadb.execute(query.format(table))
            for query, table in ((USERS, "users"), (ORDERS, "orders"))
        )

    airflow.connections["AIRFLOW_CONN_SHOP_BINLOG"] = connection(shop_mariadb)
    first = airflow.run("orders_by_binlog")
    assert first.state == "success", first.errors
    assert is_equal()

    shop_mariadb.execute(
        "UPDATE orders SET status = 'paid' WHERE id <= 20", "DELETE FROM orders WHERE id > 295",
        "UPDATE orders SET id = 1000 WHERE id = 30", "INSERT INTO users (email) VALUES ('new@example.org')",
    )  # fmt: skip
    second = airflow.run("orders_by_binlog")
    (report,) = second.results("capture")
    assert second.state == "success", second.errors
    assert is_equal()
    assert (report["inserted"], report["updated"], report["deleted"], report["errors"]) == (2, 20, 6, 0)
    assert (report["lag_bytes"], report["retained_bytes"], report["warnings"]) == (0, None, [])

    (report,) = airflow.run("orders_by_binlog").results("capture")
    assert report["changes"] == 0
    status = _etl_sync(
        "status", "--conn-id", "warehouse", "--json", environment=airflow_environment | airflow.connections
    )
    (told,) = [each for each in json.loads(status)["syncs"] if each["sync_key"] == "orders_by_binlog"]
    assert told["capture"]["slot"].startswith("shop-bin of ") and told["capture"]["position"]


def test_set_up_and_tear_down_make_and_drop_nothing(airflow: Airflow, shop_mariadb: MariaDb) -> None:
    airflow.connections["AIRFLOW_CONN_CHANGES"] = connection(shop_mariadb)
    run = airflow.run("templated_slot", source_conn_id="changes")
    [made], [torn] = run.results("set_up"), run.results("tear_down")
    assert run.state == "success", run.log
    assert made["slot"].startswith("shop-bin of ") and made["tables"] == ["users", "orders"] and made["position"] > 0
    assert (torn["has_dropped_slot"], torn["has_dropped_publication"]) == (False, False)


def test_airflow_shows_the_form(airflow_environment: dict[str, str]) -> None:
    assert ask(FORM, airflow_environment) == {
        "name": "MySQL or MariaDB change data capture",
        "class": "airflow_etl_sync.hooks.mysql_cdc.MysqlCdcHook",
        "testable": True,
        "fields": ["extra__mysql_cdc__tables"],
    }


@pytest.mark.scenario("C07")
@pytest.mark.parametrize("code", [PRESS_TEST, PRESS_TEST_ON_THE_SERVER], ids=["in a worker", "in the API server"])
def test_the_test_button_answers_in_words(
    code: str, airflow_environment: dict[str, str], shop_mariadb: MariaDb
) -> None:
    shop_mariadb.execute("CREATE TABLE old (id int PRIMARY KEY) ENGINE = Aria")
    connections = {
        "ready": connection(shop_mariadb),
        "amiss": connection(shop_mariadb, extra={"tables": "old, nowhere"}),
        "unreachable": connection(shop_mariadb, port=1, password="se cret"),
        "strange": connection(shop_mariadb, extra={"tables": "users", "sslmode": "require"}),
    }
    environment = airflow_environment | {f"AIRFLOW_CONN_{name.upper()}": each for name, each in connections.items()}
    told = dict(zip(connections, ask(code, environment, *connections), strict=True))
    assert told["ready"][0] is True, told
    assert told["ready"][1].startswith("Ready: the log shop-bin of ")
    assert told["ready"][1].endswith("tells the changes of 2 tables.")
    assert told["amiss"][0] is False
    assert "The engine of the table 'old' has no transactions" in told["amiss"][1]
    assert "There is no table 'nowhere' that the login may see: correct its name." in told["amiss"][1]
    assert told["unreachable"][0] is False and "se cret" not in told["unreachable"][1]
    assert told["strange"][0] is False and "'sslmode', which is not taken here" in told["strange"][1]


def test_the_command_examines_a_binary_log(
    airflow: Airflow, airflow_environment: dict[str, str], shop_mariadb: MariaDb
) -> None:
    environment = airflow_environment | {"AIRFLOW_CONN_SHOP_BINLOG": connection(shop_mariadb)}
    told = json.loads(_etl_sync("preflight", "--cdc-conn-id", "shop_binlog", "--json", environment=environment))
    assert told == {"is_ready": True, "findings": []}


def _etl_sync(*arguments: str, environment: dict[str, str]) -> str:
    command = [sys.executable, "-m", "airflow_etl_sync.cli", *arguments]
    done = subprocess.run(
        command, env=os.environ | environment, stdout=subprocess.PIPE, text=True, check=False, timeout=120
    )
    return done.stdout
