"""What a StatsD server hears of runs: Airflow runs the DAGs, and a socket on loopback listens."""

from __future__ import annotations

import socket
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from airflow_etl_sync.observability.metrics import tag_of
from tests.dags.conftest import ORDERS, Airflow, running_airflow

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import psycopg

    from airflow_etl_sync.demo.shop import Shop

Heard = dict[str, float]
ROWS = ("processed", "inserted", "updated", "skipped", "errors")


@pytest.fixture(scope="module")
def ear() -> Iterator[socket.socket]:
    """A UDP socket that metrics are sent to."""
    with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_000_000)
        listening.bind(("127.0.0.1", 0))
        listening.setblocking(False)
        yield listening


@pytest.fixture(scope="module")
def told_process(airflow_environment: dict[str, str], ear: socket.socket) -> Iterator[Airflow]:
    """A process of Airflow that sends its metrics there."""
    settings = {
        "STATSD_ON": "True",
        "STATSD_HOST": "127.0.0.1",
        "STATSD_PORT": str(ear.getsockname()[1]),
        "STATSD_INFLUXDB_ENABLED": "True",
    }
    named = {f"AIRFLOW__METRICS__{name}": value for name, value in settings.items()}
    with running_airflow(airflow_environment | named) as airflow:
        yield airflow


@pytest.fixture
def airflow(told_process: Airflow, source_db: str, warehouse_db: str) -> Airflow:
    told_process.connections.clear()
    told_process.connect("shop_db", source_db)
    told_process.connect("warehouse", warehouse_db)
    return told_process


@pytest.fixture
def heard(ear: socket.socket) -> Callable[[str], Heard]:
    """What was sent of a sync since it was last asked: counters added up, of others the last value, all with a kind."""

    def listen(sync_key: str) -> Heard:
        metrics: Heard = {}
        for line in _lines(ear):
            name, _, rest = line.removeprefix("airflow.").partition(f",sync_key={sync_key}:")
            if rest and name.startswith("etl_sync."):
                value, _, kind = rest.partition("|")
                key = f"{name.removeprefix('etl_sync.')}|{kind}"
                metrics[key] = float(value) + (metrics.get(key, 0) if kind == "c" else 0)
        return metrics

    listen("")
    return listen


def _lines(ear: socket.socket) -> Iterator[str]:
    while True:
        try:
            yield from ear.recv(65_536).decode().splitlines()
        except BlockingIOError:
            return


def rows(metrics: Heard) -> dict[str, float]:
    return {name: metrics[f"rows.{name}|c"] for name in ROWS}


def test_a_chain_tells_its_counts_once_its_duration_and_its_lag(
    airflow: Airflow, shop: Shop, heard: Callable[[str], Heard]
) -> None:
    assert airflow.run("orders_hourly").state == "success"
    first = heard("orders")
    assert rows(first) == {"processed": ORDERS, "inserted": ORDERS, "updated": 0, "skipped": 0, "errors": 0}
    assert first["duration|ms"] >= first["load.duration|ms"] > 0
    assert first["failed_records|g"] == 0
    assert 0 < first["lag_seconds|g"] < 60
    shop.change_orders(first=10, orders=7)
    airflow.run("orders_hourly")
    second = rows(heard("orders"))
    assert (second["inserted"], second["updated"]) == (0, 7)
    assert second["processed"] == sum(second[name] for name in ROWS[1:])


def test_one_task_tells_the_same(airflow: Airflow, shop: Shop, heard: Callable[[str], Heard]) -> None:
    airflow.run("users_every_15_minutes")
    told = heard("users")
    assert told["rows.inserted|c"] == ORDERS // 5
    assert {"duration|ms", "lag_seconds|g", "failed_records|g"} <= set(told)


def test_records_of_a_function_tell_the_same(airflow: Airflow, shop: Shop, heard: Callable[[str], Heard]) -> None:
    airflow.run("orders_hourly")
    assert airflow.run("order_scores").state == "success"
    assert heard("order_scores")["rows.inserted|c"] > 0


def test_a_row_that_cannot_be_loaded_is_told_until_it_is(
    airflow: Airflow, source: psycopg.Connection, warehouse: psycopg.Connection, heard: Callable[[str], Heard]
) -> None:
    source.execute("CREATE TABLE public.things (id bigint PRIMARY KEY, size int, updated_at timestamptz DEFAULT now())")
    source.execute("INSERT INTO public.things VALUES (1, 10), (2, -1), (3, 30)")
    warehouse.execute(
        "CREATE TABLE public.copy (id bigint PRIMARY KEY, size int CHECK (size > 0), updated_at timestamptz)"
    )
    key = "things, “all” of them"  # no tag of StatsD can be that
    terms = {"sync_key": key, "table": "public.things", "max_errors": 5}
    assert airflow.run("templated_one_task", **terms).state == "success"
    first = heard(tag_of(key))
    assert (first["rows.inserted|c"], first["rows.errors|c"], first["failed_records|g"]) == (2, 1, 1)
    source.execute("UPDATE public.things SET size = 20, updated_at = now() WHERE id = 2")
    airflow.run("templated_one_task", **terms)
    assert heard(tag_of(key))["failed_records|g"] == 0


def test_reconcile_tells_what_it_deleted(
    airflow: Airflow, shop: Shop, source: psycopg.Connection, heard: Callable[[str], Heard]
) -> None:
    airflow.run("orders_hourly")
    source.execute("DELETE FROM public.orders WHERE id IN (7, 8)")
    heard("orders")
    airflow.run("reconcile_nightly")
    told = heard("orders")
    assert told["rows.deleted|c"] == 2
    assert told["duration|ms"] > 0
    assert "rows.processed|c" not in told


def test_a_capture_tells_its_changes(
    airflow: Airflow, shop: Shop, source: psycopg.Connection, source_db: str, slots: Callable[[str], str],
    heard: Callable[[str], Heard],
) -> None:  # fmt: skip
    extra = {"slot": slots(source_db), "tables": "public.users, public.orders"}
    airflow.connect("shop_cdc", source_db, conn_type="postgres_cdc", extra=extra)
    assert airflow.run("orders_by_cdc").state == "success"
    source.execute("UPDATE public.users SET name = 'B' WHERE id <= 3")
    source.execute("DELETE FROM public.items WHERE order_id = 5")
    source.execute("DELETE FROM public.orders WHERE id = 5")
    heard("orders_by_cdc")
    airflow.run("orders_by_cdc")
    told = heard("orders_by_cdc")
    assert (told["rows.updated|c"], told["rows.deleted|c"]) == (3, 1)
    assert told["lag_seconds|g"] > 0
