"""What the operators of change data capture say of the log that they read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from airflow_etl_sync.operators import _arguments as arguments

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airflow_etl_sync.hooks.cdc import PostgresCdcHook
    from airflow_etl_sync.hooks.mysql_cdc import MysqlCdcHook


class LogTerms(Protocol):
    """An operator that reads a log of changes."""

    source_conn_id: str
    slot: str | None
    publication: str | Sequence[str] | None


def hook_of(operator: LogTerms) -> PostgresCdcHook | MysqlCdcHook:
    """The hook with an operator's own terms, after templating.

    :raises ConfigurationError: where there is no such connection, or a term does not go with it
    """
    from airflow_etl_sync.hooks.logs import cdc_hook_of

    return cdc_hook_of(
        arguments.as_text("source_conn_id", operator.source_conn_id),
        slot=operator.slot,
        publication=operator.publication,
        tables=getattr(operator, "tables", None),
    )
