"""The way into a database of Snowflake."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from airflow_etl_sync.systems.snowflake import sql
from airflow_etl_sync.systems.snowflake.session import Session

LOCK_SECONDS = 900
"""So long a lock is waited for: longer than the ten minutes in which Snowflake ends what a dead process has begun."""

_SESSION: Mapping[str, Any] = {
    "ABORT_DETACHED_QUERY": True,
    "ERROR_ON_NONDETERMINISTIC_MERGE": True,
    "LOCK_TIMEOUT": LOCK_SECONDS,
    "QUERY_TAG": "airflow-etl-sync",
    "QUOTED_IDENTIFIERS_IGNORE_CASE": False,
    "TIMEZONE": "UTC",
    "TIME_INPUT_FORMAT": "AUTO",
}
"""What an account may have set otherwise, and a load relies on."""

_CONNECTION: Mapping[str, Any] = {"login_timeout": 60, "network_timeout": 600}


@dataclass(frozen=True, slots=True)
class SnowflakeAccess:
    """What a session is opened with.

    :param options: what the connector's ``connect`` takes; ``account`` and ``database`` among them
    """

    options: Mapping[str, Any] = field(repr=False)

    @property
    def place(self) -> str:
        """Where tables lie, without login."""
        told = [str(self.options[name]) for name in ("account", "database", "schema") if self.options.get(name)]
        return f"snowflake://{'/'.join(told)}"

    @contextmanager
    def open(self, schema: str | None) -> Iterator[Session]:
        """A session in a schema, by default the connection's; its temporary tables and open transaction end with it.

        :param schema: Snowflake's name
        """
        from snowflake.connector import connect

        given = {**_CONNECTION, **self.options}
        parameters = {**given.pop("session_parameters", {}), **_SESSION}
        connection = connect(**given, paramstyle="qmark", autocommit=True, session_parameters=parameters)
        try:
            session = Session(connection.cursor())
            if schema is not None:
                session.execute(sql.use_schema(schema))
            yield session
        finally:
            connection.close()
