"""The page's replay of failed records whose table is away from the state, on a running Airflow."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.marts import MARTS, PRICES, REFUSED, SOURCE, Mart, new_mart
from tests.page.deployment import Deployment


@dataclass(frozen=True, slots=True)
class Replayed:
    """A sync of this test's own, with two failed records."""

    deployment: Deployment
    mart: Mart

    @property
    def sync_key(self) -> str:
        return f"prices_{self.mart.system}"

    def visit(self, user: str) -> httpx.Client:
        client = self.deployment.visitor(user)
        client.params = httpx.QueryParams({"conn_id": "warehouse", "sync_key": self.sync_key})
        return client

    def replay(self, user: str) -> httpx.Response:
        """Press the button."""
        with self.visit(user) as client:
            asked = client.get("replay")
            token = re.search(r'name="token" value="([^"]+)"', asked.text)
            if token is None:
                return asked
            return client.post("replay", data={"reason": "mended", "token": token[1]})

    def records(self) -> list[tuple[Any, ...]]:
        query = "SELECT failures, closed_by FROM etl_sync.failed_record WHERE sync_key = %s ORDER BY id"
        return self.deployment.ask(query, self.sync_key)

    def replays(self) -> int:
        query = "SELECT count(*) FROM etl_sync.sync_run WHERE kind = 'replay' AND sync_key = %s"
        [(found,)] = self.deployment.ask(query, self.sync_key)
        return int(found)

    def note(self, **way: str) -> None:
        """Let the last run have come another way."""
        for column, value in way.items():
            self.deployment.ask(
                f"UPDATE etl_sync.loaded_place SET {column} = %s WHERE sync_key = %s", value, self.sync_key
            )


def connect(deployment: Deployment, mart: Mart, conn_id: str) -> None:
    fields = {"connection_id": conn_id, **mart.connection, "extra": json.dumps({})}
    deployment.api.send("POST", "/api/v2/connections", json=fields).raise_for_status()


@pytest.fixture
def failing(request: pytest.FixtureRequest, deployment: Deployment, tmp_path: Path) -> Iterator[Replayed]:
    with new_mart(getattr(request, "param", "sqlite"), tmp_path) as mart:
        for statement in SOURCE:
            deployment.change_shop(statement)
        connect(deployment, mart, f"mart_{mart.system}")
        found = Replayed(deployment, mart)
        deployment.run(found.sync_key)
        assert found.records() == [(1, None)] * REFUSED
        yield found
        deployment.ask("DELETE FROM etl_sync.failed_record WHERE sync_key = %s", found.sync_key)
        deployment.api.send("DELETE", f"/api/v2/connections/mart_{mart.system}").raise_for_status()


@pytest.mark.parametrize("failing", MARTS, indirect=True)
def test_replay_loads_what_has_been_mended_elsewhere(failing: Replayed) -> None:
    with failing.visit("editor") as editor:
        asked = html.unescape(editor.get("replay").text)
        assert f"by the connection <b>mart_{failing.mart.system}</b>" in asked and "prices in place" in asked
        for page in ("failed", "replay", "sync"):
            assert ">bad<" not in editor.get(page).text
    assert failing.replay("editor").status_code == 303
    assert failing.records() == [(2, None)] * REFUSED
    failing.mart.mend()
    assert failing.replay("editor").status_code == 303
    assert failing.records() == [(2, "replay")] * REFUSED
    assert failing.mart.words() == [(1,), (2,)]
    assert failing.mart.execute("SELECT count(*) FROM prices") == [(PRICES,)]
    assert failing.replay("editor").status_code == 200, "none is open"
    log = failing.deployment.api.client.get("/api/v2/eventLogs", params={"event": "etl_sync.replay", "limit": 100})
    noted = [json.loads(entry["extra"]) for entry in log.json()["event_logs"] if entry["owner"] == "editor"]
    mine = [entry for entry in noted if entry["sync_key"] == failing.sync_key]
    assert mine[-1] == {
        "conn_id": "warehouse", "sync_key": failing.sync_key, "reason": "mended",
        "destination_conn_id": f"mart_{failing.mart.system}",
    }  # fmt: skip


def test_who_may_neither_edit_the_dag_nor_the_connection_replays_nothing(failing: Replayed) -> None:
    failing.mart.mend()
    before = failing.replays()
    assert failing.replay("viewer").status_code == 403
    failing.note(dag_id="somebody_elses")
    refused = failing.replay("editor")
    assert refused.status_code == 403 and "loaded by the connection mart_sqlite" in refused.text
    with failing.visit("editor") as editor:
        token = re.search(
            r'name="token" value="([^"]+)"', editor.get("rewind", params=editor.params.merge({"back": "1"})).text
        )
        assert token is not None
        assert editor.post("replay", data={"reason": "past the question", "token": token[1]}).status_code == 403
    assert (failing.records(), failing.replays(), failing.mart.words()) == ([(1, None)] * REFUSED, before, [])
    assert failing.replay("operator").status_code == 303
    assert failing.records() == [(1, "replay")] * REFUSED


def test_a_connection_that_cannot_be_gone_by_is_told_and_changes_nothing(failing: Replayed, tmp_path: Path) -> None:
    failing.mart.mend()
    before = (failing.records(), failing.replays(), failing.mart.words())
    failing.note(conn_id="no_such_mart")
    gone = failing.replay("editor")
    assert gone.status_code == 409
    assert "The connection 'no_such_mart' does not exist" in html.unescape(gone.text)
    (tmp_path / "other").mkdir()
    with new_mart("sqlite", tmp_path / "other") as other:
        connect(failing.deployment, other, "mart_other")
        failing.note(conn_id="mart_other")
        moved = failing.replay("editor")
        assert moved.status_code == 409
        assert "leads to another place now, so nothing is replayed" in html.unescape(moved.text)
        assert other.execute("SELECT count(*) FROM prices") == [(0,)]
    failing.deployment.api.send("DELETE", "/api/v2/connections/mart_other").raise_for_status()
    failing.deployment.ask("DELETE FROM etl_sync.loaded_place WHERE sync_key = %s", failing.sync_key)
    assert "no run has noted yet" in html.unescape(failing.replay("editor").text)
    assert (failing.records(), failing.replays(), failing.mart.words()) == before
