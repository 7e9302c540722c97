"""A run that is not done in time: Airflow's scheduler sees it, its triggerer sends the template's mail."""

from __future__ import annotations

import json
import shutil
import socketserver
import subprocess
import sys
import threading
from collections.abc import Iterator
from email import message_from_bytes, policy
from pathlib import Path

import pytest
from airflow import sdk

from tests.dags.conftest import TEMPLATES

pytestmark = pytest.mark.skipif(not hasattr(sdk, "DeadlineAlert"), reason="before Airflow 3.2 there is none to import")


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


def test_a_run_that_is_late_is_told_of_once(
    airflow_environment: dict[str, str], mails: tuple[int, list[bytes]], tmp_path: Path
) -> None:
    port, received = mails
    extra = {"disable_ssl": True, "disable_tls": True, "from_email": "airflow@example.com"}
    smtp = {"conn_type": "smtp", "host": "127.0.0.1", "port": port, "extra": extra}
    command = [sys.executable, str(Path(__file__).with_name("late.py")), str(TEMPLATES / "users_in_time.py")]
    database = shutil.copy(Path(airflow_environment["AIRFLOW_HOME"]) / "airflow.db", tmp_path)
    environment = airflow_environment | {
        "AIRFLOW_CONN_SMTP_DEFAULT": json.dumps(smtp),
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{database}",  # other tests find no late run in theirs
    }
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.partition("RESULT")[2]) == ["running", "success"], done.stderr
    [mail] = [message_from_bytes(each, policy=policy.default) for each in received]
    assert (mail["To"], mail["Subject"]) == ("on-call@example.com", "users_in_time is late")
    body = mail.get_body()
    assert body is not None and "scheduled__" in body.get_content()
