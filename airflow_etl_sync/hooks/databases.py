"""From a connection in Airflow's UI to a way into a database other than PostgreSQL."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow_etl_sync.errors import ConfigurationError

if TYPE_CHECKING:
    from airflow_etl_sync.systems.database.access import DatabaseAccess

MYSQL_CDC_TYPE = "mysql_cdc"
MYSQL_TYPES = ("mysql", MYSQL_CDC_TYPE)
_CDC_FIELDS = frozenset({"tables"})
"""What the form of the type for capture asks for beside the connection itself; it lies among the extras."""

_MYSQL_OPTIONS = frozenset(
    {"ssl", "unix_socket", "read_timeout", "write_timeout", "connect_timeout", "server_public_key"}
)
_OTHER_DRIVERS_OPTIONS = frozenset(
    {"charset", "cursor", "client", "allow_local_infile", "local_infile", "init_command"}
)
"""What Airflow's own hook takes for drivers of its own, and has no meaning here."""


def mysql(conn_id: str, connection: Any) -> DatabaseAccess:
    """Give the way into MySQL, of the connection's own fields: Airflow's hook for it needs a driver in C."""
    from airflow_etl_sync.systems.database.access import mysql_access

    extra = connection.extra_dejson
    passed_over = _OTHER_DRIVERS_OPTIONS | (_CDC_FIELDS if connection.conn_type == MYSQL_CDC_TYPE else frozenset())
    options = {name: value for name, value in extra.items() if name not in passed_over and value is not None}
    unknown = sorted(options.keys() - _MYSQL_OPTIONS)
    if unknown:
        raise ConfigurationError(
            f"The extra of the connection {conn_id!r} holds {', '.join(map(repr, unknown))}, which is not taken here: "
            f"use {', '.join(sorted(_MYSQL_OPTIONS))}."
        )
    if isinstance(options.get("ssl"), str):
        options["ssl"] = _parsed(conn_id, options["ssl"])
    return mysql_access(
        host=connection.host or "localhost", port=int(connection.port or 3306), login=connection.login,
        password=connection.password, database=connection.schema, options=options,
    )  # fmt: skip


def _parsed(conn_id: str, ssl: str) -> Any:
    try:
        return json.loads(ssl)
    except ValueError:
        raise ConfigurationError(f"The extra 'ssl' of the connection {conn_id!r} is not JSON: correct it.") from None


def sqlite_path(connection: Any) -> Path:
    """Give the path of a file of SQLite, which is the connection's host, as it is for Airflow's own hook."""
    return Path(connection.host or connection.schema or "")


def by_hook(conn_id: str, connection: Any, role: str) -> DatabaseAccess:
    """Give the way into a database by Airflow's own hook for it, which must speak SQLAlchemy.

    :param role: what the database is to be, for the sentence that refuses it
    :raises ConfigurationError: where there is no such hook
    """
    from airflow.providers.common.compat.sdk import AirflowException
    from airflow.providers.common.sql.hooks.sql import DbApiHook

    from airflow_etl_sync.systems.database.access import ENGINE_OPTIONS, DatabaseAccess

    unfit = ConfigurationError(
        f"The connection {conn_id!r} is of type {connection.conn_type!r}, which cannot be a {role}: choose one of type "
        "'postgres', 'mysql' or 'sqlite', or of a database whose provider is installed and speaks SQLAlchemy."
    )
    try:
        hook = connection.get_hook()
    except (AirflowException, ImportError):
        raise unfit from None
    if not isinstance(hook, DbApiHook):
        raise unfit
    return DatabaseAccess(lambda: hook.get_sqlalchemy_engine(dict(ENGINE_OPTIONS)), conn_id)
