"""From a connection in Airflow's UI to a database of Snowflake."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from airflow_etl_sync.errors import ConfigurationError
from airflow_etl_sync.hooks.extras import known_extras

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from airflow_etl_sync.core.model import TableName
    from airflow_etl_sync.systems.snowflake.access import SnowflakeAccess
    from airflow_etl_sync.systems.snowflake.destination import SnowflakeDestination

_TAKEN = frozenset(
    {
        "account", "authenticator", "database", "host", "login_timeout", "network_timeout", "port",
        "private_key_content", "private_key_file", "protocol", "proxy_host", "proxy_password", "proxy_port",
        "proxy_user", "region", "role", "session_parameters", "token", "token_file_path", "warehouse",
        "workload_identity_provider",
    }
)  # fmt: skip
_PREFIX = "extra__snowflake__"
_ALL = "account and database among its extras, beside warehouse and role"


def snowflake_access(conn_id: str, connection: Any) -> SnowflakeAccess:
    """Give the way into the database that a connection of type ``snowflake`` names, its fields those of Airflow's hook.

    :raises ConfigurationError: where it cannot be used, or the library is not installed
    """
    try:
        import snowflake.connector  # noqa: F401
    except ImportError:
        raise ConfigurationError("Snowflake needs a library: install airflow-etl-sync[snowflake].") from None
    from airflow_etl_sync.systems.snowflake.access import SnowflakeAccess

    options = known_extras(conn_id, connection, _PREFIX, _TAKEN)
    for name in ("account", "database"):
        if name not in options:
            raise ConfigurationError(f"The connection {conn_id!r} names no {name}: give {_ALL}.")
    fields = {"user": connection.login, "schema": connection.schema}
    return SnowflakeAccess({**_with_login(conn_id, connection, options), **{n: v for n, v in fields.items() if v}})


def snowflake_destination(conn_id: str, connection: Any, table: TableName, state: Engine) -> SnowflakeDestination:
    """Give the destination of a table in the database of a connection.

    :raises ConfigurationError: where the connection cannot be used, or nothing names the table's schema
    """
    from airflow_etl_sync.systems.snowflake.destination import SnowflakeDestination

    access = snowflake_access(conn_id, connection)
    if table.schema is None and not connection.schema:
        raise ConfigurationError(
            f"The connection {conn_id!r} names no schema, nor does the table {str(table)!r}: write schema.table."
        )
    return SnowflakeDestination(access, table, state)


def _with_login(conn_id: str, connection: Any, options: Mapping[str, Any]) -> dict[str, Any]:
    """The options with what lets in: a password, a token in its place, or a key of which it is the phrase."""
    password, known = connection.password, dict(options)
    content = known.pop("private_key_content", None)
    if content:
        return {**known, "private_key": _key(conn_id, content, password)}
    if not password:
        return known
    if "private_key_file" in known:
        return {**known, "private_key_file_pwd": password}
    is_token = known.get("authenticator") == "programmatic_access_token"
    return {**known, "token" if is_token else "password": password}


def _key(conn_id: str, content: str, phrase: str | None) -> bytes:
    from cryptography.hazmat.primitives import serialization

    try:
        key = serialization.load_pem_private_key(content.encode(), phrase.encode() if phrase else None)
    except (TypeError, ValueError):
        raise ConfigurationError(
            f"The private_key_content of the connection {conn_id!r} cannot be read: give it in PEM, and its phrase as "
            "the password."
        ) from None
    return key.private_bytes(
        serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
