"""A channel of notifications, and what is asked of a table where none comes."""

from __future__ import annotations

from dataclasses import dataclass

from airflow_etl_sync.core.model import LONGEST_NAME_BYTES, TableName
from airflow_etl_sync.errors import ConfigurationError

MAX_KEYS = 100
"""So many keys a notification names; of a statement that changed more it names the operation only."""


@dataclass(frozen=True, slots=True)
class Probe:
    """The table that is asked for its newest cursor value.

    :param table: the table's name
    :param cursor_field: the column that grows when a record changes
    """

    table: TableName
    cursor_field: str


def checked_channel(channel: object) -> str:
    """Give the channel's name back, which may be anything that PostgreSQL takes as a name.

    :raises ConfigurationError: where it holds NUL or is longer than 63 bytes: LISTEN would cut it and hear nothing
    """
    if not isinstance(channel, str) or not channel or "\0" in channel:
        raise ConfigurationError("channel must be a name that is not empty, such as orders_changed.")
    if len(channel.encode()) > LONGEST_NAME_BYTES:
        raise ConfigurationError(
            f"The name of the channel {channel!r} is longer than {LONGEST_NAME_BYTES} bytes: shorten it."
        )
    return channel


def probe_of(table: str | None, cursor_field: str | None) -> Probe | None:
    """Give what is asked of a table; None where none is named.

    :raises ConfigurationError: where only one of both is given, or one is unusable
    """
    if not table and not cursor_field:
        return None
    if not table or not cursor_field:
        raise ConfigurationError("Give both of table and cursor_field, or none of them.")
    if cursor_field == "xmin" or "\0" in cursor_field:
        raise ConfigurationError(f"cursor_field {cursor_field!r} has no largest value: name an indexed column.")
    return Probe(TableName.parse(table), cursor_field)
