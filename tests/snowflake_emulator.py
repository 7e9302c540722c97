"""A server on this machine that answers Snowflake's connector and runs its statements in DuckDB (fakesnow).

It is not Snowflake: it shows that the statements are read, bound, and do what they say, not how Snowflake locks, nor
what its own types and file formats do.
"""

from __future__ import annotations

import atexit
import secrets
import shutil
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import pytest

from airflow_etl_sync.systems.snowflake.access import SnowflakeAccess


@lru_cache(maxsize=1)
def options() -> Mapping[str, Any]:
    """How the one server of this process is reached; it ends with the process."""
    pytest.importorskip("fakesnow", reason="the emulator of Snowflake needs Python 3.11")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import fakesnow

    _remove_files_at_exit()
    mend_emulator()
    serving = fakesnow.server()
    found = dict(serving.__enter__())
    _serving.append(serving)
    return {**found, "schema": "PUBLIC"}


_serving: list[Any] = []
"""Keeps the server's context from being closed."""


def _remove_files_at_exit() -> None:
    """The emulator leaves what was put on its stages."""
    from fakesnow.transforms.stage import LOCAL_BUCKET_PATH

    atexit.register(shutil.rmtree, LOCAL_BUCKET_PATH, ignore_errors=True)


def mend_emulator() -> None:
    """Two of its faults: COPY does not find temporary tables by the names of their columns, and MERGE, for which it
    makes a table, notes that table's missing comment in another database, which ends the transaction."""
    from importlib import import_module

    copy_into: Any = import_module("fakesnow.copy_into")
    info_schema: Any = import_module("fakesnow.info_schema")
    describe, comment = copy_into._describe_table, info_schema.insert_table_comment_sql

    def describe_temporary(table: Any, connection: Any, database: Any, schema: Any) -> Any:
        found = connection.execute(f'DESCRIBE "{table.name}"').fetchall() if table.name.endswith("_STAGED") else []
        return [tuple(row[:2]) for row in found] or describe(table, connection, database, schema)

    copy_into._describe_table = describe_temporary
    info_schema.insert_table_comment_sql = lambda *terms: comment(*terms) if terms[-1] else "SELECT 1"


@dataclass(frozen=True, slots=True)
class Snowflake:
    """A database of a test's own."""

    access: SnowflakeAccess

    def execute(self, *statements: str) -> list[tuple[Any, ...]]:
        """Run statements one after another in a session of their own; the rows of the last."""
        with self.access.open(None) as session:
            rows: list[Any] = []
            for statement in statements:
                rows = session.execute(statement).fetchall()
            return rows


@contextmanager
def new_snowflake() -> Iterator[Snowflake]:
    """A database with a random name, emptied in the end."""
    name = f"ETL_SYNC_{secrets.token_hex(6)}".upper()
    found = Snowflake(SnowflakeAccess({**options(), "database": name}))
    yield found
    found.execute("DROP SCHEMA PUBLIC")
