"""From a connection in Airflow's UI to a way into PostgreSQL."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from airflow_etl_sync.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airflow.providers.postgres.hooks.postgres import PostgresHook

    from airflow_etl_sync.systems.postgres.access import PostgresAccess


CDC_TYPE = "postgres_cdc"
CDC_FIELDS = frozenset({"slot", "publication", "tables"})
"""What the form of that type asks for beside the connection itself; it lies among the extras."""


def postgres_access(conn_id: str) -> PostgresAccess:
    """Give the way into the PostgreSQL database that an Airflow connection names.

    Host, login, password, port and database are the connection's fields; its extras are libpq options
    (``{"sslmode": "verify-full"}``), but for those that Airflow's own hook keeps for itself, such as
    ``iam``, for which that hook asks for the token.

    :param conn_id: the id of a connection of type ``postgres`` or ``postgres_cdc``
    :raises ConfigurationError: where there is no such connection, it is of another type, or an extra is
        no libpq option
    """
    with _explaining_absence(conn_id):
        connection = _hook(conn_id).connection
    return _access(conn_id, connection)


async def postgres_access_async(conn_id: str) -> PostgresAccess:
    """The same where an event loop must not be held up, as in a trigger.

    :raises ConfigurationError: as :func:`postgres_access` does
    """
    from airflow.providers.common.compat.sdk import BaseHook

    with _explaining_absence(conn_id):
        connection = await BaseHook.aget_connection(conn_id)
    return await asyncio.to_thread(_access, conn_id, connection)  # a token is asked for over the network


def require_connection(conn_id: str) -> None:
    """Refuse an id that no connection has, of whatever type: some hooks go on without one, as nobody.

    :raises ConfigurationError: where there is no such connection
    """
    from airflow.providers.common.compat.sdk import BaseHook

    with _explaining_absence(conn_id, "the type of that system"):
        BaseHook.get_connection(conn_id)


def is_postgres(conn_id: str) -> bool:
    """Whether a connection leads to a PostgreSQL database.

    :raises ConfigurationError: where there is no such connection
    """
    from airflow.providers.common.compat.sdk import BaseHook

    with _explaining_absence(conn_id, "the type of that system"):
        return BaseHook.get_connection(conn_id).conn_type in ("postgres", CDC_TYPE)


def _access(conn_id: str, connection: Any) -> PostgresAccess:
    from psycopg.conninfo import make_conninfo

    from airflow_etl_sync.systems.postgres.access import PostgresAccess

    return PostgresAccess(make_conninfo(**_libpq_options(conn_id, connection)))


def _libpq_options(conn_id: str, connection: Any) -> dict[str, str]:
    hook = _hook(conn_id)
    if connection.conn_type not in ("postgres", CDC_TYPE):
        raise ConfigurationError(
            f"The connection {conn_id!r} is of type {connection.conn_type!r}: choose one of type 'postgres'."
        )
    extra = _extra(conn_id, connection)
    login, password, port = _credentials(hook, connection, extra)
    fields = {"host": connection.host, "port": port, "dbname": connection.schema, "user": login}
    given = {name: str(value) for name, value in (fields | {"password": password}).items() if value}
    fields_of_ours = CDC_FIELDS if connection.conn_type == CDC_TYPE else frozenset()
    return given | _options(conn_id, extra, hook.ignored_extra_options | fields_of_ours)


def _hook(conn_id: str) -> PostgresHook:
    from airflow.providers.postgres.hooks.postgres import PostgresHook

    return PostgresHook(postgres_conn_id=conn_id)


@contextmanager
def _explaining_absence(conn_id: str, type_: str = "type 'postgres'") -> Iterator[None]:
    from airflow.providers.common.compat.sdk import AirflowNotFoundException

    try:
        yield
    except AirflowNotFoundException as error:
        raise ConfigurationError(
            f"The connection {conn_id!r} does not exist: add it in Airflow (Admin, Connections) "
            f"with {type_}, or correct the id."
        ) from error


def _credentials(hook: PostgresHook, connection: Any, extra: dict[str, Any]) -> tuple[Any, Any, Any]:
    if extra.get("iam", False):
        return hook.get_iam_token(connection)
    return connection.login, connection.password, connection.port


def _extra(conn_id: str, connection: Any) -> dict[str, Any]:
    extra = connection.extra_dejson
    if connection.extra and not extra and connection.extra.strip() not in ("{}", "null"):
        raise ConfigurationError(f"The extra of the connection {conn_id!r} is not a JSON object: correct it.")
    return dict(extra)


def _options(conn_id: str, extra: dict[str, Any], ignored: set[str]) -> dict[str, str]:
    options = {name: value for name, value in extra.items() if name not in ignored and value is not None}
    unknown = sorted(options.keys() - _known_options())
    if unknown:
        raise ConfigurationError(
            f"The extra of the connection {conn_id!r} holds {', '.join(map(repr, unknown))}, which PostgreSQL's "
            "client library does not know: remove it or correct its spelling."
        )
    return {name: _option_text(conn_id, name, value) for name, value in options.items()}


def _known_options() -> set[str]:
    """Ask what this machine's libpq understands; its version decides."""
    from psycopg.pq import Conninfo

    return {option.keyword.decode() for option in Conninfo.get_defaults()}


def _option_text(conn_id: str, name: str, value: object) -> str:
    if isinstance(value, bool):
        return str(int(value))
    if isinstance(value, (str, int, float)):
        return str(value)
    raise ConfigurationError(
        f"The extra {name!r} of the connection {conn_id!r} must be a text or a number, as libpq takes it."
    )
