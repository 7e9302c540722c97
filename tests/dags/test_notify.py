"""A watcher's trigger as Airflow keeps it, the template that it runs, and a task that waits."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from airflow_etl_sync.demo.comparison import compare
from tests.dags.conftest import ORDERS, TEMPLATES, Airflow

if TYPE_CHECKING:
    from airflow_etl_sync.demo.shop import Shop

KEPT = """
import json, sys
from airflow.dag_processing.dagbag import DagBag
from airflow.models.trigger import Trigger
from airflow.serialization.decoders import smart_decode_trigger_kwargs
from airflow.serialization.encoders import encode_trigger
from airflow.serialization.serialized_objects import DagSerialization
from airflow.triggers.base import BaseEventTrigger
from airflow_etl_sync import PostgresNotifyTrigger

dag = DagBag(dag_folder=sys.argv[1]).dags["orders_on_notify"]
serialized = DagSerialization.to_dict(dag)
loaded = "psycopg" in sys.modules
[watcher] = dag.schedule[0].watchers
first = encode_trigger(watcher.trigger)
stored = Trigger._decrypt_kwargs(Trigger.encrypt_kwargs(first["kwargs"]))
again = PostgresNotifyTrigger(**{k: smart_decode_trigger_kwargs(v) for k, v in stored.items()})
hashes = [BaseEventTrigger.hash(each["classpath"], each["kwargs"]) for each in (first, encode_trigger(again))]
print("RESULT" + json.dumps({
    "trigger": first, "is_same": hashes[0] == hashes[1], "has_loaded_psycopg": loaded,
    "is_serialized": "orders_changed" in json.dumps(serialized),
}))
"""


@pytest.fixture(scope="module")
def kept(airflow_environment: dict[str, str]) -> dict[str, Any]:
    """What Airflow keeps of the template's watcher."""
    command = [sys.executable, "-c", KEPT, str(TEMPLATES)]
    done = subprocess.run(command, env=airflow_environment, check=True, stdout=subprocess.PIPE, text=True, timeout=120)
    result: dict[str, Any] = json.loads(done.stdout.partition("RESULT")[2])
    return result


def test_a_watcher_is_kept_without_secrets(kept: dict[str, Any]) -> None:
    trigger = kept["trigger"]
    assert trigger["classpath"] == "airflow_etl_sync.triggers.notify.PostgresNotifyTrigger"
    assert trigger["kwargs"] == {
        "conn_id": "shop_db", "channel": "orders_changed", "table": "public.orders", "cursor_field": "updated_at",
        "poll_seconds": 300, "coalesce_seconds": 1, "fires_at_start": True,
    }  # fmt: skip


def test_a_watcher_that_is_kept_is_the_same_watcher(kept: dict[str, Any]) -> None:
    """Else Airflow would replace it each time it reads the DAG, and drop its connection."""
    assert kept["is_same"] and kept["is_serialized"]


def test_keeping_a_watcher_loads_no_driver(kept: dict[str, Any]) -> None:
    assert not kept["has_loaded_psycopg"]


def test_orders_on_notify(airflow: Airflow, shop: Shop, source_db: str, warehouse_db: str) -> None:
    [report] = airflow.run("orders_on_notify").results("sync_orders")
    assert report["counts"]["inserted"] == ORDERS
    shop.change_orders(first=10, orders=4)
    [report] = airflow.run("orders_on_notify").results("sync_orders")
    assert report["counts"]["updated"] == 4
    query = "SELECT * FROM public.orders"
    assert compare(
        source_db, warehouse_db, source_query=query, destination_table=("public", "orders"), key="id", leave_out=""
    ).is_equal


def notify_again_and_again(source: psycopg.Connection, is_over: threading.Event) -> None:
    while not is_over.wait(0.2):
        source.execute("SELECT pg_notify('it''s ready', 'card of Mary')")


def test_a_task_waits_for_a_notification(airflow: Airflow, source: psycopg.Connection) -> None:
    is_over = threading.Event()
    notifying = threading.Thread(target=notify_again_and_again, args=(source, is_over))
    notifying.start()
    try:
        run = airflow.run("waiting")
    finally:
        is_over.set()
        notifying.join()
    [event] = run.results("wait")
    assert event.pop("notifications") >= 1
    assert event == {"conn_id": "shop_db", "channel": "it's ready", "reason": "notified"}
    assert "Mary" not in run.log


def test_a_task_waits_no_longer_than_until_the_next_poll(airflow: Airflow) -> None:
    [event] = airflow.run("waiting", poll_seconds="0.5").results("wait")
    assert event["reason"] == "polled"


@pytest.mark.parametrize(
    ("conf", "said"),
    [({"poll_seconds": "soon"}, "poll_seconds must be"), ({"channel": "x" * 64}, "is longer than 63 bytes")],
)
def test_a_task_with_a_wrong_argument_fails(airflow: Airflow, conf: dict[str, str], said: str) -> None:
    run = airflow.run("waiting", **conf)
    assert run.state == "failed"
    assert said in run.log
