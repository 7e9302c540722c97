"""Triggers at the source that tell a channel of every statement that changes a table.

A notification wakes whoever listens and brings no data: what it says of operation and keys is for people and other
programs, and is left out where it is too much. **Every login of that database may listen to every channel**, so the
keys are left out, by ``max_keys=0``, where they are secret.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from psycopg.sql import Composed, Identifier

from airflow_etl_sync.cdc.postgres import notify_sql
from airflow_etl_sync.core.channel import MAX_KEYS, checked_channel
from airflow_etl_sync.core.model import LONGEST_NAME_BYTES, TableName
from airflow_etl_sync.errors import ConfigurationError, SourceError, explaining
from airflow_etl_sync.systems.postgres.sql import names, streams

if TYPE_CHECKING:
    import psycopg


def notify_trigger_sql(table: TableName, channel: str, *, key: Sequence[str] = (), max_keys: int = MAX_KEYS) -> str:
    """Give the SQL that makes the source tell of changes; the owner of the table runs it once.

    It makes one function and four triggers (insert, update, delete, truncate), each of which runs once per statement,
    whatever the number of rows; a statement that changes no row tells nothing. Running it again replaces them. The
    payload is JSON: ``{"schema": "public", "table": "orders", "operation": "UPDATE", "keys": [{"id": 7}]}``, without
    the keys where there are more than ``max_keys``, or where it would be too long for NOTIFY (8,000 bytes).

    It needs PostgreSQL 14 or newer.

    :param table: an ordinary or partitioned table; statements that name a partition itself do not tell
    :param channel: the channel's name
    :param key: the columns that name a row; none leaves the keys out
    :param max_keys: at most so many keys are told of a statement; 0 leaves them out
    :raises ConfigurationError: for an unusable channel, a name that is too long, or a negative ``max_keys``
    """
    if max_keys < 0:
        raise ConfigurationError(f"max_keys must be a whole number, not negative, not {max_keys}.")
    function = _function(table)
    checked = checked_channel(channel)
    return _script([
        notify_sql.create_notify_function(function, checked, key, max_keys),
        *(notify_sql.create_notify_trigger(table, operation, function) for operation in notify_sql.OPERATIONS),
    ])  # fmt: skip


def notify_removal_sql(table: TableName) -> str:
    """Give the SQL that removes what :func:`notify_trigger_sql` makes, as far as it is there."""
    return _script([
        *(notify_sql.drop_notify_trigger(table, operation) for operation in notify_sql.OPERATIONS),
        notify_sql.drop_notify_function(_function(table)),
    ])  # fmt: skip


def apply_notify_triggers(
    connection: psycopg.Connection[Any],
    table: TableName,
    channel: str,
    *,
    key: Sequence[str] | None = None,
    max_keys: int = MAX_KEYS,
) -> None:
    """Run :func:`notify_trigger_sql`, all of it or nothing; it waits at most 10 seconds for the table's writers.

    :param connection: of the table's owner
    :param key: by default the table's primary key, if it has one
    :raises ConfigurationError: where it may not, or the table is none
    :raises SourceError: where the table is in use for too long; trying again may help
    """
    with explaining(SourceError, f"make triggers that notify of changes of {str(table)!r}"):
        columns = _primary_key(connection, table) if key is None else key
        _run(connection, notify_trigger_sql(table, channel, key=columns, max_keys=max_keys))


def remove_notify_triggers(connection: psycopg.Connection[Any], table: TableName) -> None:
    """Run :func:`notify_removal_sql`, all of it or nothing.

    :raises ConfigurationError: where it may not
    :raises SourceError: where the table is in use for too long; trying again may help
    """
    with explaining(SourceError, f"remove the triggers that notify of changes of {str(table)!r}"):
        _run(connection, notify_removal_sql(table))


def _primary_key(connection: psycopg.Connection[Any], table: TableName) -> list[str]:
    found = connection.execute(streams.KEY_COLUMNS, {"relation": names.relation_name(table)})
    return [row[0] for row in found]


def _run(connection: psycopg.Connection[Any], script: str) -> None:
    with connection.transaction():
        connection.execute(notify_sql.BE_BRIEF)
        connection.execute(script.encode())


def _script(statements: Sequence[Composed]) -> str:
    return "".join(f"{statement.as_string(None)};\n" for statement in statements)


def _function(table: TableName) -> Identifier:
    """The function's name, beside its table: one for each table, told apart also where the name had to be cut."""
    names.identifier(table)
    name = f"etl_sync_notify_{table.name}"
    if len(name.encode()) > LONGEST_NAME_BYTES:
        name = f"etl_sync_notify_{sha256(table.name.encode()).hexdigest()[:32]}"
    return Identifier(table.schema, name) if table.schema else Identifier(name)
