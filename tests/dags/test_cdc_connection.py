"""The connection type ``postgres_cdc``: its form, what its Test button says, and the tasks before and after."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import psycopg
import pytest

from tests.dags.conftest import Airflow, as_connection

FORM = """
import json
from airflow.providers_manager import ProvidersManager
manager = ProvidersManager()
hook = manager.hooks["postgres_cdc"]
fields = {key: (each.field["schema"], each.field["description"], each.field_name)
          for key, each in manager.connection_form_widgets.items() if key.startswith("extra__postgres_cdc")}
print("RESULT" + json.dumps({
    "name": hook.hook_name, "class": hook.hook_class_name, "testable": hook.connection_testable,
    "id": hook.connection_id_attribute_name, "fields": fields, "behaviour": manager.field_behaviours["postgres_cdc"],
}))
"""

PRESS_TEST = """
import json, sys
from airflow.sdk import BaseHook
from airflow_etl_sync.systems.postgres import access
access.CONNECT_SECONDS, access.FIRST_WAIT_SECONDS = 0.2, 0.05
print("RESULT" + json.dumps([BaseHook.get_connection(name).test_connection() for name in sys.argv[1:]]))
"""

PRESS_TEST_ON_THE_SERVER = """
import json, os, sys
from airflow.models.connection import Connection
told = []
for name in sys.argv[1:]:
    connection = Connection.from_json(os.environ[f"AIRFLOW_CONN_{name.upper()}"], conn_id=name)
    told.append(connection.test_connection())
print("RESULT" + json.dumps(told))
"""


def ask(code: str, environment: dict[str, str], *arguments: str) -> Any:
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env=environment, check=True, stdout=subprocess.PIPE, text=True, timeout=120,
    )  # fmt: skip
    return json.loads(done.stdout.partition("RESULT")[2])


def cdc(conninfo: str, **extra: Any) -> str:
    return as_connection(conninfo, conn_type="postgres_cdc", extra=extra)


def test_airflow_shows_the_form(airflow_environment: dict[str, str]) -> None:
    form = ask(FORM, airflow_environment)
    assert form["class"] == "airflow_etl_sync.hooks.cdc.PostgresCdcHook"
    assert (form["name"], form["id"], form["testable"]) == ("PostgreSQL change data capture", "conn_id", True)
    titles = {key.removeprefix("extra__postgres_cdc__"): field[0]["title"] for key, field in form["fields"].items()}
    assert titles == {"slot": "Replication slot", "publication": "Publication", "tables": "Tables"}
    assert all(field[1] for field in form["fields"].values())
    assert form["behaviour"]["relabeling"] == {"schema": "Database"}


@pytest.mark.scenario("C07")
@pytest.mark.parametrize("code", [PRESS_TEST, PRESS_TEST_ON_THE_SERVER], ids=["in a worker", "in the API server"])
def test_the_test_button_answers_in_words(
    code: str, airflow_environment: dict[str, str], source: psycopg.Connection, source_db: str,
    slots: Callable[[str], str],
) -> None:  # fmt: skip
    source.execute("CREATE TABLE t (id integer PRIMARY KEY)")
    source.execute("CREATE TABLE u (id integer)")
    slot, ready = slots(source_db), slots(source_db)
    source.execute('CREATE PUBLICATION "of t" FOR TABLE t')
    source.execute("SELECT pg_create_logical_replication_slot(%s, 'pgoutput')", [ready])
    connections = {
        "ready": cdc(source_db, slot=ready, publication="of t", tables="t"),
        "not_yet": cdc(source_db, slot=slot, publication="", tables="t"),
        "amiss": cdc(source_db, slot=slot, publication="of t", tables="u, nowhere"),
        "nameless": cdc(source_db, sslmode="prefer", slot=None),
        "impossible": cdc(source_db, slot="Not One"),
        "unreachable": cdc("postgresql://me:se%20cret@127.0.0.1:1/d", slot=slot),
    }
    environment = airflow_environment | {f"AIRFLOW_CONN_{name.upper()}": each for name, each in connections.items()}
    told = dict(zip(connections, ask(code, environment, *connections), strict=True))
    assert told["ready"][0] is True
    assert told["ready"][1].startswith(f"Ready: the slot '{ready}' gives the changes of 1 tables. The server keeps ")
    assert told["not_yet"] == [True, (
        "Changes can be captured here, and not everything is set up yet. "
        f"There is no replication slot '{slot}': run CdcSetUpOperator; if there was one, changes since then are lost, "
        f"so copy the tables afresh. There is no publication '{slot}': run CdcSetUpOperator."
    )]  # fmt: skip
    assert told["amiss"][0] is False
    for sentence in ('run ALTER TABLE "u" REPLICA IDENTITY FULL.', "There is no table 'nowhere': correct its name"):
        assert sentence in told["amiss"][1]
    assert told["nameless"] == [False, (
        "The connection 'nameless' names no replication slot: fill in that field of it, or set slot."
    )]  # fmt: skip
    assert told["impossible"][1].startswith("'Not One' cannot be the name of a replication slot: use 1 to 63 of a-z")
    assert told["unreachable"][0] is False and "se cret" not in told["unreachable"][1]


def test_set_up_and_tear_down_in_a_dag(
    airflow: Airflow, source: psycopg.Connection, source_db: str, slots: Callable[[str], str]
) -> None:
    source.execute("CREATE TABLE t (id integer PRIMARY KEY)")
    slot = slots(source_db)
    airflow.connections["AIRFLOW_CONN_CHANGES"] = cdc(source_db, slot=slot, tables="t")
    run = airflow.run("templated_slot", source_conn_id="changes")
    [made], [torn] = run.results("set_up"), run.results("tear_down")
    assert run.state == "success", run.log
    assert made["slot"] == slot and made["publications"] == [slot] and made["tables"] == ["t"] and made["position"] > 0
    assert torn == {
        "slot": slot, "publications": [slot], "has_dropped_slot": True, "has_dropped_publication": True,
    }  # fmt: skip
    assert (
        airflow.run("templated_slot", source_conn_id="shop_db", slot=slot, publication="['p']", tables=["t"]).state
        == "success"
    )
    refused = airflow.run("templated_slot", source_conn_id="shop_db", tables="t")
    assert refused.state == "failed" and refused.tries == 1
    assert any("names no replication slot" in error for error in refused.errors)
