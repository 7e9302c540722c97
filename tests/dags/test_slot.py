"""A template that a slot's unread changes wake, and a task that waits for them."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import threading
from importlib import import_module
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from airflow_etl_sync import ReplicationSlotTrigger
from airflow_etl_sync.demo.comparison import compare
from tests.conftest import drop_slot
from tests.dags.conftest import TEMPLATES, Airflow
from tests.scenarios.listening import define, listening

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from airflow_etl_sync.demo.shop import Shop

WATCHER = """
import json, sys
from airflow.dag_processing.dagbag import DagBag
from airflow.serialization.encoders import encode_trigger

dag = DagBag(dag_folder=sys.argv[1]).dags["orders_by_cdc_on_change"]
[watcher] = dag.schedule[0].watchers
print("RESULT" + json.dumps(encode_trigger(watcher.trigger)))
"""


@pytest.fixture(scope="module")
def kept(airflow_environment: dict[str, str]) -> dict[str, Any]:
    """What Airflow keeps of the template's watcher."""
    command = [sys.executable, "-c", WATCHER, str(TEMPLATES)]
    done = subprocess.run(command, env=airflow_environment, check=True, stdout=subprocess.PIPE, text=True, timeout=120)
    result: dict[str, Any] = json.loads(done.stdout.partition("RESULT")[2])
    return result


@pytest.fixture
def trigger(kept: dict[str, Any], source_db: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[ReplicationSlotTrigger]:
    """The template's trigger, made again from what Airflow keeps; its slot goes before the database does."""
    define(monkeypatch, "shop_db", source_db)
    module, _, name = kept["classpath"].rpartition(".")
    made = getattr(import_module(module), name)(**kept["kwargs"] | {"poll_seconds": 0.2})
    assert isinstance(made, ReplicationSlotTrigger)
    yield made
    drop_slot(source_db, made.slot)


async def reasons(trigger: ReplicationSlotTrigger) -> list[str]:
    """Why the trigger fires, from its start to its first event."""
    async with listening(trigger) as listener:
        await listener.has(1)
    return listener.reasons


def test_orders_by_cdc_on_change(
    trigger: ReplicationSlotTrigger,
    airflow: Airflow,
    shop: Shop,
    source: psycopg.Connection,
    source_db: str,
    warehouse_db: str,
) -> None:
    def run() -> dict[str, Any]:
        done = airflow.run("orders_by_cdc_on_change")
        assert done.state == "success", done.log
        [report] = done.results("capture")
        copy = ("public", "orders_now")
        query = "SELECT * FROM public.orders"
        assert compare(
            source_db, warehouse_db, source_query=query, destination_table=copy, key="id", leave_out=""
        ).is_equal
        return dict(report)

    assert asyncio.run(reasons(trigger)) == ["unusable"], "so that the first run makes the slot"
    assert run()["changes"] == 0
    shop.change_orders(first=10, orders=4)
    source.execute("DELETE FROM public.orders WHERE id <= 3")
    assert asyncio.run(reasons(trigger)) == ["polled"]
    report = run()
    assert (report["updated"], report["deleted"]) == (4, 3)


def insert_again_and_again(source: psycopg.Connection, is_over: threading.Event) -> None:
    while not is_over.wait(0.2):
        source.execute("INSERT INTO t VALUES (1)")


def test_a_task_waits_for_what_a_slot_has_not_read(
    airflow: Airflow, source: psycopg.Connection, source_db: str, slots: Callable[[str], str]
) -> None:
    slot = slots(source_db)
    source.execute("CREATE TABLE t (id int)")
    source.execute("SELECT pg_create_logical_replication_slot(%s, 'pgoutput')", [slot])
    is_over = threading.Event()
    inserting = threading.Thread(target=insert_again_and_again, args=(source, is_over))
    inserting.start()
    try:
        run = airflow.run("waiting_for_a_slot", slot=slot)
    finally:
        is_over.set()
        inserting.join()
    assert run.state == "success", run.log
    assert run.results("wait") == [{"conn_id": "shop_db", "slot": slot, "reason": "polled", "notifications": 0}]


def test_a_task_that_waits_for_a_missing_slot_lets_the_next_one_say_so(airflow: Airflow) -> None:
    [event] = airflow.run("waiting_for_a_slot", slot="nowhere").results("wait")
    assert event["reason"] == "unusable"


@pytest.mark.parametrize(
    ("conf", "said"), [({"poll_seconds": "soon"}, "poll_seconds must be"), ({"slot": " "}, "slot must be")]
)
def test_a_task_with_a_wrong_argument_fails(airflow: Airflow, conf: dict[str, str], said: str) -> None:
    run = airflow.run("waiting_for_a_slot", **conf)
    assert run.state == "failed"
    assert said in run.log
