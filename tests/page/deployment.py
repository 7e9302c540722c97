"""A running Airflow with the page, a shop, and a warehouse that syncs have filled."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import psycopg
from psycopg.conninfo import conninfo_to_dict

from airflow_etl_sync.core.model import LoadRules, RunIdentity, Stream, TableName, WindowRules
from airflow_etl_sync.demo.airflow import Airflow
from airflow_etl_sync.demo.api import AirflowApi, RunFailedError
from airflow_etl_sync.demo.postgres import Databases, free_port
from airflow_etl_sync.demo.shop import Shop
from airflow_etl_sync.journey.sync import sync
from airflow_etl_sync.systems.postgres.access import PostgresAccess
from airflow_etl_sync.systems.postgres.destination import PostgresDestination
from airflow_etl_sync.systems.postgres.source import PostgresSource
from tests.page.bundle.syncs import HOSTILE

BUNDLE = Path(__file__).with_name("bundle")
GUESTS = {"viewer": "viewer", "editor": "user", "operator": "op"}
"""Airflow's simple roles: a viewer reads, a user edits DAGs too, and an operator reads connections as well."""

PAGE = "/etl_sync"
POISON = "<img src=x onerror=\"document.title='owned'\">"
SECRET = "secret-of-nobody"


@dataclass(frozen=True, slots=True)
class Deployment:
    """Where everything is.

    :param slot: the replication slot of the sync ``captured``
    """

    airflow: Airflow
    api: AirflowApi
    shop_db: str
    warehouse_db: str
    slot: str

    def token(self, user: str) -> str:
        """A user's session."""
        login = {"username": user, "password": self.airflow.password}
        answer = httpx.post(f"{self.airflow.address}/auth/token", json=login, timeout=60).raise_for_status()
        return str(answer.json()["access_token"])

    def visitor(self, user: str | None = None) -> httpx.Client:
        """What a browser sends for a user, or for nobody, without a browser."""
        client = httpx.Client(base_url=self.airflow.address + PAGE, timeout=60)
        if user is not None:
            client.cookies.set("_token", self.token(user))
        return client

    def ask(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        """Rows of the warehouse."""
        with psycopg.connect(self.warehouse_db, autocommit=True) as connection:
            found = connection.execute(query, values)
            return found.fetchall() if found.description else []

    def change_shop(self, statement: str, *values: Any) -> None:
        """Do something to the shop."""
        with psycopg.connect(self.shop_db, autocommit=True) as connection:
            connection.execute(statement, values)

    def load(self, sync_key: str, dag_id: str, table: str = "orders", target: str | None = None, **rules: Any) -> None:
        """Run a sync here and now, as a run of its DAG would."""
        stream = Stream(sync_key=sync_key, cursor_field="updated_at", table=TableName.parse(f"public.{table}"))
        sync(
            PostgresSource(PostgresAccess(self.shop_db), stream),
            PostgresDestination(PostgresAccess(self.warehouse_db), TableName.parse(f"public.{target or table}")),
            stream=stream,
            window_rules=WindowRules(),
            load_rules=LoadRules(**rules),
            identity=RunIdentity(dag_id, "sync", f"manual__{uuid4()}"),
            chunk_rows=100_000,
        )

    def load_poisoned(self, sync_key: str, dag_id: str, target: str) -> None:
        """Load users, of whom three have names that the new table refuses, and that a careless page would run."""
        self.ask(f"CREATE TABLE public.{target} (id bigint PRIMARY KEY, name text CHECK (left(name, 1) <> '<'))")
        self.load(sync_key, dag_id, "users", target, max_errors=10)

    def run(self, dag_id: str) -> str:
        """Let Airflow run a DAG to its end, good or bad; the run's id."""
        self.api.unpause(dag_id)
        run_id = self.api.trigger(dag_id)
        with suppress(RunFailedError):
            self.api.wait_for_run(dag_id, run_id, lambda _: None)
        return run_id


@contextmanager
def deployed(
    databases: Databases, home: Path, dags: Path = BUNDLE, *, orders: int = 400, has_schedules: bool = False
) -> Iterator[Deployment]:
    """Airflow with the page, on databases of its own, its syncs not run yet.

    :param orders: how many the shop has
    """
    names = {label: f"{label}_{secrets.token_hex(3)}" for label in ("airflow", "shop", "warehouse", "kept")}
    metadata, shop_db, warehouse_db, kept_db = (databases.create_database(name) for name in names.values())
    airflow = Airflow(
        home=home,
        dags=dags,
        metadata=metadata,
        connections={
            "shop_db": shop_db,
            "warehouse": warehouse_db,
            "warehouse_again": warehouse_db,
            "undeclared": warehouse_db,
            "unreachable": f"postgresql://nobody:{SECRET}@127.0.0.1:{free_port()}/nowhere",
        },
        has_schedules=has_schedules,
        guests=GUESTS,
    )
    slot = f"page_{secrets.token_hex(3)}"
    try:
        with airflow:
            Shop(shop_db).create(orders)
            api = airflow.wait_until_healthy(lambda _: None)
            _keep_connections(api, shop_db, kept_db, slot)
            yield Deployment(airflow, api, shop_db, warehouse_db, slot)
    finally:
        _drop_slot(shop_db, slot)
        for name in names.values():
            databases.drop_database(name)


def fill(deployment: Deployment, runs: int = 3) -> None:
    """Let syncs run: good ones, one with rows that fail, one that Airflow sees fail, and one that captures changes."""
    shop = Shop(deployment.shop_db)
    for number in range(runs):
        shop.change_orders(first=number * 7, orders=5 + number * 11 % 60)
        shop.add_orders(1 + number * 5 % 37)
        deployment.load("orders", "orders")
    deployment.change_shop("ALTER TABLE public.orders ADD COLUMN note text")
    deployment.change_shop("UPDATE public.orders SET note = 'fragile' WHERE id <= 3")
    deployment.load("orders", "orders")
    deployment.change_shop("UPDATE public.users SET name = %s WHERE id <= 3", POISON)
    deployment.load_poisoned(HOSTILE, "hostile", "guests")
    for dag_id in ("orders_broken", "captured", "stored"):
        deployment.run(dag_id)


def _keep_connections(api: AirflowApi, shop_db: str, kept_db: str, slot: str) -> None:
    """Two connections that only Airflow's own database knows, as those that people fill in."""
    capture = json.dumps({"slot": slot, "publication": slot, "tables": "public.users"})
    for conn_id, conn_type, conninfo, extra in (
        ("kept_by_airflow", "postgres", kept_db, "{}"),
        ("shop_cdc", "postgres_cdc", shop_db, capture),
    ):
        parts = conninfo_to_dict(conninfo)
        fields = {
            "connection_id": conn_id,
            "conn_type": conn_type,
            "host": parts.get("host"),
            "port": int(parts.get("port") or 5432),
            "login": parts.get("user"),
            "password": parts.get("password"),
            "schema": parts.get("dbname"),
            "extra": extra,
        }
        api.send("POST", "/api/v2/connections", json=fields).raise_for_status()


def _drop_slot(conninfo: str, slot: str) -> None:
    with psycopg.connect(conninfo, autocommit=True) as connection:
        connection.execute(
            "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = %s", [slot]
        )
