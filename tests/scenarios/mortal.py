"""A server that may be crashed and started again, and a standby of it."""

from __future__ import annotations

import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from airflow_etl_sync.demo.guardian import Guardian
from airflow_etl_sync.demo.postgres import (
    HOST,
    SUPERUSER,
    EmbeddedPostgres,
    _answers,
    _as_server,
    _give_to_server,
    _stop_process,
    free_port,
)
from tests.placing import quickest_place

SETTINGS = {
    "autovacuum": "off",
    "max_standby_streaming_delay": "500ms",  # for so long a standby waits for its readers
    "hot_standby_feedback": "off",
}


class MortalPostgres(EmbeddedPostgres):
    """An embedded server whose crash is asked for."""

    def __init__(self) -> None:
        super().__init__(settings=SETTINGS, parent=quickest_place())
        self._launched: tuple[Path, Path, Path] | None = None

    def crash(self) -> None:
        """End the server at once, as a crash does: what is unlogged is empty when it comes back."""
        assert self._process is not None
        self._process.send_signal(signal.SIGQUIT)
        self._process.wait(20)

    def restart(self) -> None:
        """Start it again, on the same port."""
        assert self._launched is not None and self._guardian is not None
        self._guardian.dismiss()
        self._process = self._launch(*self._launched)
        self._guardian = Guardian(self._process.pid, stop_signal="INT", directory=str(self._directory))
        assert self._is_ready(self._process)

    @contextmanager
    def standby(self) -> Iterator[str]:
        """The conninfo of a standby's database ``postgres``; the standby ends with the block."""
        assert self._launched is not None
        installation, _, _ = self._launched
        directory = Path(tempfile.mkdtemp(prefix="etl-sync-standby-", dir=quickest_place()))
        data, port = directory / "data", free_port()
        data.mkdir(mode=0o700)
        _give_to_server(directory, data)
        try:
            self._copy_to(data, installation)
            process = self._launch_at(port, installation, data, directory / "postgres.log")
            guardian = Guardian(process.pid, stop_signal="INT", directory=str(directory))
            try:
                assert self._is_standby_ready(process, port), (directory / "postgres.log").read_text()
                yield self._at(port)
            finally:
                _stop_process(process)
                guardian.dismiss()
        finally:
            shutil.rmtree(directory, ignore_errors=True)

    def _launch(self, installation: Path, data: Path, log: Path) -> subprocess.Popen[bytes]:
        self._launched = (installation, data, log)
        return super()._launch(installation, data, log)

    def _copy_to(self, data: Path, installation: Path) -> None:
        arguments: dict[str, Any] = _as_server(installation)
        arguments["env"] |= {"PGPASSWORD": self._password}
        subprocess.run(
            [
                str(installation / "bin" / "pg_basebackup"),
                f"--pgdata={data}",
                f"--host={HOST}",
                f"--port={self._port}",
                f"--username={SUPERUSER}",
                "--write-recovery-conf",
                "--checkpoint=fast",
                "--no-sync",
            ],
            check=True,
            capture_output=True,
            **arguments,
        )

    def _launch_at(self, port: int, installation: Path, data: Path, log: Path) -> subprocess.Popen[bytes]:
        own, self._port = self._port, port
        try:
            return super()._launch(installation, data, log)
        finally:
            self._port = own

    def _is_standby_ready(self, process: subprocess.Popen[bytes], port: int) -> bool:
        deadline = time.monotonic() + 30
        while process.poll() is None and time.monotonic() < deadline:
            if _answers(self._at(port)):
                return True
            time.sleep(0.05)
        return False

    def _at(self, port: int) -> str:
        parts = urlsplit(self.databases.admin)
        return parts._replace(netloc=f"{SUPERUSER}:{self._password}@{HOST}:{port}").geturl()
