"""A server that has as many transactions behind it as a test asks for."""

from __future__ import annotations

import os
import signal
import subprocess

import psycopg

from airflow_etl_sync.demo.postgres import _as_server
from tests.scenarios.mortal import MortalPostgres

_LONGEST_STEP = 2_000_000_000
_SEGMENT_BYTES = 32 * 8192
_SEGMENT_XIDS = _SEGMENT_BYTES * 4  # two bits each


class AgingPostgres(MortalPostgres):
    """An embedded server that can be brought near the point where 32 bits of transaction ids begin anew."""

    def age_to(self, next_xid: int) -> None:
        """Go on at a transaction id, in steps that are short enough, each after a vacuum of everything."""
        with psycopg.connect(self.databases.admin) as connection:
            row = connection.execute("SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint").fetchone()
        assert row is not None
        at = row[0]
        while at < next_xid:
            at = min(at + _LONGEST_STEP, next_xid)
            self._freeze()
            self._reset(at)

    def _freeze(self) -> None:
        with psycopg.connect(self.databases.admin, autocommit=True) as admin:
            admin.execute("ALTER DATABASE template0 ALLOW_CONNECTIONS true")
            names = [name for (name,) in admin.execute("SELECT datname FROM pg_database")]
        for name in names:
            with psycopg.connect(self.databases.uri(name), autocommit=True) as connection:
                connection.execute("VACUUM (FREEZE)")

    def _reset(self, xid: int) -> None:
        assert self._launched is not None and self._process is not None
        installation, data, _ = self._launched
        self._process.send_signal(signal.SIGINT)
        self._process.wait(20)
        epoch, short = divmod(xid, 2**32)
        segment = data / "pg_xact" / f"{short // _SEGMENT_XIDS:04X}"
        with segment.open("ab") as states:
            states.write(bytes(_SEGMENT_BYTES - states.tell()))
        owner = data.stat()
        os.chown(segment, owner.st_uid, owner.st_gid)
        subprocess.run(
            [
                str(installation / "bin" / "pg_resetwal"),
                f"--next-transaction-id={short}",
                f"--epoch={epoch}",
                str(data),
            ],
            check=True,
            capture_output=True,
            **_as_server(installation),
        )
        self.restart()
