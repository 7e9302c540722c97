"""Syncs from a JSON API, run by Airflow: the connection's type says that the source is one."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

import pytest

from tests.dags.conftest import Airflow
from tests.http_api import Api, Asked, Reply, new_api, paged

if TYPE_CHECKING:
    import psycopg

ORDERS = 230
LOGIN = {"login": "reader", "password": "se cret"}
BASIC = "Basic cmVhZGVyOnNlIGNyZXQ="


class Shop:
    """The orders behind the API."""

    def __init__(self) -> None:
        began = datetime.now(timezone.utc) - timedelta(hours=2)
        self.orders = [self._order(number, began + timedelta(seconds=number)) for number in range(1, ORDERS + 1)]

    def _order(self, number: int, at: datetime) -> dict[str, Any]:
        return {
            "id": number, "total": f"{number}.10", "customer": {"id": number % 7, "tags": ["größe 😀"]},
            "updated_at": at.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        }  # fmt: skip

    def change(self, *numbers: int) -> None:
        for number in numbers:
            self.orders = [order for order in self.orders if order["id"] != number]
            self.orders.append(self._order(number, datetime.now(timezone.utc)) | {"total": "0.99"})

    def respond(self, asked: Asked) -> Reply:
        if asked.headers.get("Authorization") != BASIC:
            return Reply({"error": "who?"}, 401)
        if asked.path != "/v1/orders":
            return Reply({"error": "where?"}, 404)
        since = asked.query.get("updated_since", "")
        return paged([order for order in self.orders if order["updated_at"] > since], asked, size=50)


@pytest.fixture
def shop() -> Shop:
    return Shop()


@pytest.fixture
def api(airflow: Airflow, shop: Shop) -> Iterator[Api]:
    with new_api(shop.respond) as api:
        airflow.connect("shop_api", "", conn_type="http", host="127.0.0.1", port=api.port, schema="", **LOGIN)
        yield api


def totals(warehouse: psycopg.Connection, table: str) -> list[Any]:
    return warehouse.execute(f"SELECT id, total::text FROM {table} ORDER BY id").fetchall()


def expected(shop: Shop) -> list[Any]:
    return sorted((order["id"], order["total"]) for order in shop.orders)


def test_orders_from_api(airflow: Airflow, shop: Shop, api: Api, warehouse: psycopg.Connection) -> None:
    first = airflow.run("orders_from_api")
    assert first.state == "success", first.errors
    assert first.counts("orders.load") == {"inserted": ORDERS, "updated": 0, "skipped": 0, "errors": 0}
    assert totals(warehouse, "public.api_orders") == expected(shop)

    shop.change(5, 500)
    asked_before = len(api.asked)
    second = airflow.run("orders_from_api")
    assert second.state == "success", second.errors
    counts = second.counts("orders.load")
    assert (counts["inserted"], counts["updated"]) == (1, 1)
    assert totals(warehouse, "public.api_orders") == expected(shop)
    windowed = [asked.query for asked in api.asked[asked_before:] if "updated_since" in asked.query]
    assert windowed and all(query["status"] == "any" for query in windowed)
    assert "late commits: fixed distance of 0:10:00" in second.log
    high = warehouse.execute("SELECT cursor_value FROM etl_sync.watermark").fetchone()
    assert high is not None and datetime.fromisoformat(high[0]) < datetime.now(timezone.utc) - timedelta(minutes=9)
    assert LOGIN["password"] not in first.log + second.log and BASIC not in first.log + second.log


@pytest.mark.parametrize("dag_id", ["one_task_from_api", "declared_from_api"])
def test_every_form_takes_an_endpoint(
    airflow: Airflow, shop: Shop, api: Api, warehouse: psycopg.Connection, dag_id: str
) -> None:
    run = airflow.run(dag_id)
    assert run.state == "success", run.errors
    assert totals(warehouse, "public.from_api") == expected(shop)
    nested = "customer__tags" if dag_id == "declared_from_api" else "customer -> 'tags'"
    assert warehouse.execute(f"SELECT DISTINCT {nested} FROM public.from_api").fetchall() == [(["größe 😀"],)]


@pytest.mark.parametrize("write", [json.dumps, str])
def test_an_endpoint_may_be_a_template(
    airflow: Airflow, shop: Shop, api: Api, warehouse: psycopg.Connection, write: Any
) -> None:
    endpoint = write({"path": "/v1/orders", "records": "data", "pages": "json_link"})
    run = airflow.run("templated_from_api", endpoint=endpoint)
    assert run.state == "success", run.errors
    assert totals(warehouse, "public.from_api") == expected(shop)


def test_a_dry_run_tells_the_request(airflow: Airflow, shop: Shop, api: Api, warehouse: psycopg.Connection) -> None:
    [plan] = airflow.run("one_task_from_api", dry_run=True).results("sync")
    assert plan["statements"] == [f"GET {api.url}/v1/orders"] and plan["estimated_rows"] == 50
    assert warehouse.execute("SELECT to_regclass('public.from_api')").fetchone() == (None,)


@pytest.mark.parametrize(
    ("changes", "conf", "said"),
    [
        ({"password": "se cret too"}, {}, "it does not know the login (status 401): correct the connection."),
        ({}, {"path": "/v1/nothing"}, "it has no such path (status 404): correct the endpoint."),
        ({"extra": {"timeout": "long"}}, {}, "The connection 'shop_api' cannot be used for an API: timeout must be"),
        ({"conn_type": "postgres"}, {}, "The connection 'shop_api' is of type 'postgres', which has no endpoint"),
    ],
)
def test_what_cannot_be_fails_at_once_and_tells_no_secret(
    airflow: Airflow, api: Api, changes: dict[str, Any], conf: dict[str, Any], said: str
) -> None:
    given = {"conn_type": "http", "host": "127.0.0.1", "port": api.port, "schema": "", **LOGIN, **changes}
    airflow.connect("shop_api", "", **given)
    run = airflow.run("one_task_from_api", **conf)
    assert run.state == "failed" and run.tries == 1
    assert said in run.log and "se cret" not in run.log


def test_a_connection_of_an_api_needs_an_endpoint(airflow: Airflow, api: Api) -> None:
    run = airflow.run("templated_from_api", table="orders")
    assert run.state == "failed" and "'shop_api' is of type 'http', which has no tables: give an endpoint" in run.log
