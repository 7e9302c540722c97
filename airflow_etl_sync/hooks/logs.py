"""From a connection in Airflow's UI to the log of changes behind it, whichever system that is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow.providers.common.compat.sdk import BaseHook

from airflow_etl_sync.errors import ConfigurationError
from airflow_etl_sync.hooks.connections import require_connection
from airflow_etl_sync.hooks.databases import MYSQL_TYPES
from airflow_etl_sync.operators import _arguments as arguments

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airflow_etl_sync.hooks.cdc import PostgresCdcHook
    from airflow_etl_sync.hooks.mysql_cdc import MysqlCdcHook


def is_mysql(conn_id: str) -> bool:
    """Whether a connection leads to MySQL or MariaDB.

    :raises ConfigurationError: where there is no such connection
    """
    require_connection(conn_id)
    return BaseHook.get_connection(conn_id).conn_type in MYSQL_TYPES


def cdc_hook_of(
    conn_id: str,
    *,
    slot: str | None = None,
    publication: str | Sequence[str] | None = None,
    tables: str | Sequence[str] | None = None,
) -> PostgresCdcHook | MysqlCdcHook:
    """Give the hook of a connection whose changes are captured; its type decides which one that is.

    :param slot: and ``publication``: of PostgreSQL only
    :raises ConfigurationError: where there is no such connection, or one of these does not go with it
    """
    if not is_mysql(conn_id):
        from airflow_etl_sync.hooks.cdc import PostgresCdcHook

        return PostgresCdcHook(conn_id, slot=slot, publication=publication, tables=tables)
    for name, given in (("slot", slot), ("publication", publication)):
        if not arguments.is_absent(given):
            raise ConfigurationError(
                f"{name} goes with PostgreSQL, and the connection {conn_id!r} leads to MySQL or MariaDB, which has one "
                "log for all: leave it out."
            )
    from airflow_etl_sync.hooks.mysql_cdc import MysqlCdcHook

    return MysqlCdcHook(conn_id, tables=tables)
