"""The page's routes on a running Airflow: who sees what, who may do what, and what is shown of hostile text."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import httpx
import psycopg
import pytest
from fastapi.routing import APIRoute

from airflow_etl_sync.plugin.app import the_app
from tests.page.bundle.syncs import HOSTILE
from tests.page.deployment import POISON, SECRET, Deployment

ORDERS = {"conn_id": "warehouse", "sync_key": "orders"}
GUESTS = {"conn_id": "warehouse", "sync_key": HOSTILE}
ACTIONS: dict[str, dict[str, str]] = {
    "rewind": {"to": "2020-01-01", "reason": "to see"},
    "reset": {"reason": "to see"},
    "replay": {"reason": "to see"},
}

Visitor = Callable[[str | None], httpx.Client]


@pytest.fixture(scope="module")
def visitor(deployment: Deployment) -> Iterator[Visitor]:
    """Clients of Airflow's users, one each."""
    clients: dict[str | None, httpx.Client] = {}

    def client_of(user: str | None) -> httpx.Client:
        if user not in clients:
            clients[user] = deployment.visitor(user)
        return clients[user]

    yield client_of
    for client in clients.values():
        client.close()


def form_token(client: httpx.Client, page: str = "failed", sync: dict[str, str] = GUESTS) -> str:
    """The token in a form of the page, as this client is shown it."""
    found = re.search(r'name="token" value="([^"]+)"', client.get(page, params=sync).text)
    assert found is not None
    return found[1]


def send(client: httpx.Client, action: str, fields: Mapping[str, str], sync: dict[str, str] = GUESTS) -> httpx.Response:
    return client.post(action, params=sync, data=dict(fields))


def state(deployment: Deployment) -> list[tuple[Any, ...]]:
    """All that the actions could change."""
    return [
        *deployment.ask("SELECT sync_key, cursor_value, version FROM etl_sync.watermark ORDER BY 1"),
        *deployment.ask("SELECT id, failures, closed_by FROM etl_sync.failed_record ORDER BY 1"),
        *deployment.ask("SELECT count(*) FROM etl_sync.watermark_change"),
        *deployment.ask("SELECT count(*) FROM etl_sync.sync_run"),
    ]


def row_of(page: str, sync_key: str) -> str:
    """The row of the list that tells of a sync."""
    rows = [row for row in page.split("<tr") if f">{html.escape(sync_key)}</a>" in row]
    assert len(rows) == 1, sync_key
    return rows[0]


def routes() -> list[tuple[str, str]]:
    found = [route for route in the_app().routes if isinstance(route, APIRoute)]
    assert len(found) == len(the_app().routes), "no route is mounted past the app's dependencies"
    return [(method, route.path) for route in found for method in sorted(route.methods)]


def test_nobody_is_told_anything_without_signing_in(visitor: Visitor) -> None:
    assert len(routes()) >= 12
    for method, path in routes():
        address = path.replace("{name}", "page.css").replace("{rest:path}", "docs")
        answer = visitor(None).request(
            method, address, params=ORDERS, data={"reason": "x"} if method == "POST" else None
        )
        assert answer.status_code == 401, (method, path)
        assert "orders" not in answer.text


def test_a_forged_session_is_no_session(deployment: Deployment) -> None:
    with deployment.visitor() as client:
        client.cookies.set("_token", deployment.token("admin")[:-4] + "AAAA")
        assert client.get("/").status_code in (401, 403)


def test_a_viewer_sees_the_syncs_and_can_change_nothing(deployment: Deployment, visitor: Visitor) -> None:
    viewer, before = visitor("viewer"), state(deployment)
    page = viewer.get("/")
    assert page.status_code == 200 and "+" in row_of(page.text, "orders")
    detail = viewer.get("sync", params=GUESTS).text
    assert "Rewind" not in detail and "Reset" not in detail and "Replay" not in detail
    token = form_token(visitor("operator"))
    for action, fields in ACTIONS.items():
        assert viewer.get(action, params=GUESTS).status_code == 403
        assert send(viewer, action, {**fields, "token": token}).status_code == 403
    assert send(viewer, "failed", {"token": token}).status_code == 403
    assert state(deployment) == before


@pytest.mark.parametrize("action", [*ACTIONS, "failed"])
def test_forms_of_others_are_refused(deployment: Deployment, visitor: Visitor, action: str) -> None:
    operator, before = visitor("operator"), state(deployment)
    fields, own = ACTIONS.get(action, {}), form_token(operator)
    for token in ("", "nonsense", form_token(visitor("admin"))):
        assert send(operator, action, {**fields, "token": token}).status_code == 403, token
    for headers in (
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Origin": "https://elsewhere.example"},
        {"Origin": "null"},
    ):
        answer = operator.post(action, params=GUESTS, data={**fields, "token": own}, headers=headers)
        assert answer.status_code == 403, headers
    assert state(deployment) == before


def test_a_get_changes_nothing(deployment: Deployment, visitor: Visitor) -> None:
    before = state(deployment)
    for action, fields in ACTIONS.items():
        visitor("admin").get(action, params={**ORDERS, **fields, "back": "P1D"})
    assert state(deployment) == before


def test_values_are_hidden_until_somebody_allowed_asks(deployment: Deployment, visitor: Visitor) -> None:
    operator, editor, escaped = visitor("operator"), visitor("editor"), html.escape(POISON, quote=True)
    for client in (operator, editor, visitor("viewer")):
        for page in ("failed", "sync", "replay"):
            text = client.get(page, params=GUESTS).text
            assert "user1@example.org" not in text and "onerror" not in text
    assert send(editor, "failed", {"token": form_token(editor, "replay")}).status_code == 403
    shown = send(operator, "failed", {"token": form_token(operator)})
    assert shown.status_code == 200 and "user1@example.org" in shown.text
    assert POISON not in shown.text and escaped.replace("&#x27;", "&#39;").replace("&quot;", "&#34;") in shown.text
    entries = deployment.api.client.get("/api/v2/eventLogs", params={"event": "etl_sync.show_values"}).json()
    assert entries["event_logs"][-1]["owner"] == "operator"


def test_hostile_names_are_text(visitor: Visitor) -> None:
    for page in ("/", "sync", "failed", "rewind", "reset", "replay"):
        answer = visitor("admin").get(page, params=GUESTS)
        assert answer.status_code == 200, page
        assert "<script>document" not in answer.text and "&lt;script&gt;document" in answer.text
        assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
        assert "unsafe" not in answer.headers["Content-Security-Policy"]
        assert answer.headers["Cache-Control"] == "no-store"
    searched = visitor("admin").get("/", params={"q": "<script>alert(1)"})
    assert "<script>alert" not in searched.text and "No sync has" in searched.text


def test_one_database_that_does_not_answer_hides_no_other(visitor: Visitor) -> None:
    for user, knows_host in (("operator", True), ("viewer", False)):
        page = visitor(user).get("/").text
        assert "unreachable</b>" in page and "Not shown: elsewhere" in page
        assert SECRET not in page
        assert ("127.0.0.1" in page, "Connection refused" in page) == (knows_host, knows_host)
        assert row_of(page, "orders") and row_of(page, "stored")
    elsewhere = {"conn_id": "unreachable", "sync_key": "elsewhere"}
    for page in ("sync", "failed"):
        assert "127.0.0.1" not in visitor("viewer").get(page, params=elsewhere).text
    detail = visitor("operator").get("sync", params=elsewhere)
    assert detail.status_code == 200 and "Connection refused" in detail.text and SECRET not in detail.text
    for guess in ("never ran", "has not run", "the beginning", "None", "Rewind"):
        assert guess not in detail.text, "what cannot be read is not guessed at"


def test_connections_that_only_airflow_knows_are_found(visitor: Visitor) -> None:
    row = row_of(visitor("viewer").get("/").text, "stored")
    assert "kept_by_airflow" in row and 'title="inserted">+80' in row


def test_two_connections_to_one_database_tell_each_sync_once(visitor: Visitor) -> None:
    page = visitor("viewer").get("/").text
    assert "warehouse_again" in row_of(page, "again")
    assert "warehouse ·" in row_of(page, "orders")


@pytest.mark.parametrize(
    ("conn_id", "sync_key"),
    [
        ("undeclared", "orders"),
        ("no_such_connection", "orders"),
        ("warehouse", "no such sync"),
        ("kept_by_airflow", "orders"),
    ],
)
def test_only_known_syncs_of_known_databases_are_shown(visitor: Visitor, conn_id: str, sync_key: str) -> None:
    for page in ("sync", "failed", "rewind", "reset", "replay"):
        assert visitor("admin").get(page, params={"conn_id": conn_id, "sync_key": sync_key}).status_code == 404


def test_states_say_why(visitor: Visitor) -> None:
    page = visitor("viewer").get("/").text
    broken = row_of(page, "orders_broken")
    assert ">failed<" in broken and re.search(r"was due \d+ \w+ ago has failed, task sync, try 1 of 1\.", broken)
    assert ">paused<" in row_of(page, "never")
    assert ">late<" in row_of(page, "users") and "is its scheduler up?" in row_of(page, "users")
    assert page.index(">orders_broken</a>") < page.index(">users</a>") < page.index(">orders</a>")


def test_a_capture_shows_its_lag_and_what_the_source_keeps(deployment: Deployment, visitor: Visitor) -> None:
    row = row_of(visitor("viewer").get("/").text, "captured")
    assert re.search(r"lag \d+(\.\d)? \w+", row) and re.search(r"keeps \d+(\.\d)? \w+", row)
    detail = visitor("admin").get("sync", params={"conn_id": "warehouse", "sync_key": "captured"}).text
    assert f"{deployment.slot} of shop_cdc" in detail and "Rewind" not in detail and "Reset" not in detail
    assert "captured copies" not in visitor("viewer").get("/").text


def test_the_detail_tells_of_windows_and_changed_columns(deployment: Deployment, visitor: Visitor) -> None:
    detail = visitor("viewer").get("sync", params=ORDERS).text
    runs = deployment.ask("SELECT low, high FROM etl_sync.sync_run WHERE sync_key = 'orders' AND low IS NOT NULL")
    assert len(runs) >= 3
    for low, high in runs:
        assert low in detail and high in detail
    assert re.search(r"<td>source</td><td>note</td><td>appeared</td>", detail)
    assert re.search(r"<td>note</td><td>added</td>", detail)


def test_rewind_shows_what_it_would_do_and_does_that(deployment: Deployment, visitor: Visitor) -> None:
    editor = visitor("editor")
    ((before,),) = deployment.ask("SELECT cursor_value FROM etl_sync.watermark WHERE sync_key = 'orders'")
    asked = editor.get("rewind", params={**ORDERS, "back": "P7D"})
    assert before in asked.text
    (to,) = re.findall(r'name="to" value="([^"]+)"', asked.text)
    assert deployment.ask("SELECT %s::timestamptz - %s::timestamptz = '7 days'", before, to) == [(True,)]
    token = form_token(editor, "rewind", {**ORDERS, "back": "P7D"})
    done = send(editor, "rewind", {"to": to, "reason": "wrong prices in May", "token": token}, ORDERS)
    assert done.status_code == 303
    assert "the next run starts at the new watermark" in editor.get(done.headers["Location"]).text
    assert deployment.ask(
        "SELECT w.cursor_value, c.action, c.old_value, c.new_value, c.changed_by, c.reason FROM etl_sync.watermark AS w"
        " JOIN etl_sync.watermark_change AS c USING (sync_key) WHERE sync_key = 'orders' ORDER BY c.id DESC LIMIT 1"
    ) == [(to, "rewind", before, to, "editor", "wrong prices in May")]
    entries = deployment.api.client.get("/api/v2/eventLogs", params={"event": "etl_sync.rewind"}).json()["event_logs"]
    noted = [json.loads(entry["extra"]) for entry in entries if entry["owner"] == "editor"]
    assert noted[-1] == {**ORDERS, "reason": "wrong prices in May"}


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"back": "a week"}, "back must be"),
        ({"value": "2999-01-01"}, "is not below the watermark"),
        ({"value": "yesterweek"}, "is not one of the cursor"),
        ({"back": "P1D", "value": "2020-01-01"}, "either a value to go back to or"),
    ],
)
def test_a_rewind_that_cannot_be_is_refused_in_words(
    deployment: Deployment, visitor: Visitor, fields: dict[str, str], said: str
) -> None:
    before = state(deployment)
    answer = html.unescape(visitor("editor").get("rewind", params={**ORDERS, **fields}).text)
    assert said in answer and 'name="to"' not in answer
    assert state(deployment) == before


def test_without_a_reason_nothing_is_done(deployment: Deployment, visitor: Visitor) -> None:
    operator, before = visitor("operator"), state(deployment)
    token = form_token(operator)
    for action, fields in ACTIONS.items():
        for reason in ("", "   ", "line\x00"):
            answer = send(operator, action, {**fields, "reason": reason, "token": token})
            assert answer.status_code in (400, 409), (action, reason)
    assert state(deployment) == before


def test_reset_lets_the_next_run_begin_anew(deployment: Deployment, visitor: Visitor) -> None:
    operator = visitor("operator")
    deployment.load("again", "again", target="again")
    again = {"conn_id": "warehouse_again", "sync_key": "again"}
    token = form_token(operator, "reset", again)
    assert send(operator, "reset", {"reason": "new source", "token": token}, again).status_code == 303
    assert deployment.ask("SELECT cursor_value FROM etl_sync.watermark WHERE sync_key = 'again'") == [(None,)]
    assert "Reset: the next run" in operator.get("sync", params={**again, "done": "reset"}).text


def test_a_replay_that_meets_a_lock_gives_up_and_says_so(deployment: Deployment, visitor: Visitor) -> None:
    """What holds the table may be a load of an hour, and each replay that waits for it holds a thread of the server."""
    operator, held = visitor("operator"), {"conn_id": "warehouse", "sync_key": "held"}
    deployment.load_poisoned("held", "held", "held")
    fields = {"reason": "to see", "token": form_token(operator, sync=held)}
    with psycopg.connect(deployment.warehouse_db) as load:
        load.execute("LOCK TABLE public.held")
        answer = send(operator, "replay", fields, held)
    assert answer.status_code == 409 and "lock timeout" in answer.text
    failed = "SELECT failures, closed_by FROM etl_sync.failed_record WHERE sync_key = 'held'"
    assert deployment.ask(failed) == [(1, None)] * 3


def test_replay_loads_what_has_been_mended(deployment: Deployment, visitor: Visitor) -> None:
    operator, mended = visitor("operator"), {"conn_id": "warehouse", "sync_key": "mended"}
    deployment.load_poisoned("mended", "mended", "mended")
    fields = {"reason": "names may hold anything", "token": form_token(operator, sync=mended)}
    failed = "SELECT failures, closed_by FROM etl_sync.failed_record WHERE sync_key = 'mended'"
    assert send(operator, "replay", fields, mended).status_code == 303
    assert deployment.ask(failed) == [(2, None)] * 3

    deployment.ask("ALTER TABLE public.mended DROP CONSTRAINT mended_name_check")
    assert send(operator, "replay", fields, mended).status_code == 303
    assert [closed_by for _, closed_by in deployment.ask(failed)] == ["replay"] * 3
    assert deployment.ask("SELECT name FROM public.mended WHERE id <= 3") == [(POISON,)] * 3
    detail = operator.get("sync", params=mended).text
    assert "etl-sync page, operator" in detail
