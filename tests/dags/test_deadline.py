"""A run that is not done in time: Airflow's scheduler sees it, its triggerer sends the template's mail."""

from __future__ import annotations

import shutil
import socketserver
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest
from airflow import sdk

from airflow_etl_sync.demo.postgres import Databases
from tests.dags.conftest import TEMPLATES
from tests.page.deployment import Deployment, deployed

pytestmark = pytest.mark.skipif(not hasattr(sdk, "DeadlineAlert"), reason="before Airflow 3.2 there is none to import")

DAG = "users_in_time"
MAIL_SECONDS = 60.0


class Mail(socketserver.StreamRequestHandler):
    """As much of SMTP as it takes to receive a mail."""

    def handle(self) -> None:
        self.wfile.write(b"220 ready\r\n")
        while line := self.rfile.readline():
            word = line[:4].upper().strip()
            if word == b"DATA":
                self.wfile.write(b"354 go on\r\n")
                lines = iter(self.rfile.readline, b".\r\n")
                self.server.received.append(b"".join(lines))  # type: ignore[attr-defined]
            self.wfile.write(b"221 bye\r\n" if word == b"QUIT" else b"250 done\r\n")


@pytest.fixture
def mails() -> Iterator[tuple[int, list[bytes]]]:
    received: list[bytes] = []
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Mail) as server:
        server.received = received  # type: ignore[attr-defined]
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1], received
        server.shutdown()


@pytest.fixture
def deployment(server: Databases, tmp_path: Path, mails: tuple[int, list[bytes]]) -> Iterator[Deployment]:
    """Airflow with this template alone, and somebody who takes its mail."""
    dags = tmp_path / "dags"
    dags.mkdir()
    shutil.copy(TEMPLATES / f"{DAG}.py", dags)
    with deployed(server, tmp_path / "airflow", dags, orders=50) as running:
        extra = '{"disable_ssl": true, "disable_tls": true, "from_email": "airflow@example.com"}'
        smtp = {"connection_id": "smtp_default", "conn_type": "smtp", "host": "127.0.0.1", "port": mails[0]}
        running.api.send("POST", "/api/v2/connections", json={**smtp, "extra": extra}).raise_for_status()
        running.api.unpause(DAG)
        yield running


@contextmanager
def nobody_reads_users(deployment: Deployment) -> Iterator[None]:
    with psycopg.connect(deployment.shop_db) as connection:
        connection.execute("LOCK TABLE public.users")
        yield


def start_run(deployment: Deployment, due: datetime) -> str:
    body = {"dag_run_id": f"due_{uuid4()}", "logical_date": due.isoformat()}
    answer = deployment.api.send("POST", f"/api/v2/dags/{DAG}/dagRuns", json=body)
    return str(answer.raise_for_status().json()["dag_run_id"])


def state_of(deployment: Deployment, run_id: str) -> str:
    answer = deployment.api.send("GET", f"/api/v2/dags/{DAG}/dagRuns/{run_id}")
    return str(answer.raise_for_status().json()["state"])


def next_mail(received: list[bytes]) -> EmailMessage:
    deadline = time.monotonic() + MAIL_SECONDS
    while not received:
        assert time.monotonic() < deadline, f"no mail within {MAIL_SECONDS:.0f} s"
        time.sleep(0.2)
    mail = message_from_bytes(received.pop(), policy=policy.default)
    assert isinstance(mail, EmailMessage)
    return mail


def test_a_run_that_is_late_is_told_of_once_and_ends_well(
    deployment: Deployment, mails: tuple[int, list[bytes]]
) -> None:
    _, received = mails
    now = datetime.now(timezone.utc)
    in_time = start_run(deployment, now)
    deployment.api.wait_for_run(DAG, in_time, lambda _: None)
    users = deployment.ask("SELECT count(*) FROM public.users_in_time")
    assert users == [(10,)]

    deployment.change_shop("INSERT INTO public.users (email, name) VALUES ('a@example.org', 'A')")
    with nobody_reads_users(deployment):
        late = start_run(deployment, now - timedelta(hours=1))
        mail = next_mail(received)
        assert state_of(deployment, late) in ("queued", "running")
    assert (mail["To"], mail["Subject"]) == ("on-call@example.com", "users_in_time is late")
    body = mail.get_body()
    assert body is not None and late in body.get_content()

    deployment.api.wait_for_run(DAG, late, lambda _: None)
    assert deployment.ask("SELECT count(*) FROM public.users_in_time") == [(11,)]
    assert received == []
