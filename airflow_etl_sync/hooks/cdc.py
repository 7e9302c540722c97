"""A connection to a source whose changes are captured."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseHook

from airflow_etl_sync.core.channel import MAX_KEYS
from airflow_etl_sync.core.model import TableName
from airflow_etl_sync.errors import ConfigurationError, EtlSyncError
from airflow_etl_sync.hooks.connections import CDC_TYPE, postgres_access
from airflow_etl_sync.operators import _arguments as arguments

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airflow_etl_sync.cdc.postgres.copy_source import PostgresTables
    from airflow_etl_sync.cdc.postgres.preflight import Finding
    from airflow_etl_sync.cdc.postgres.reselect import SourceRows
    from airflow_etl_sync.cdc.postgres.slot import ReplicationSlot
    from airflow_etl_sync.systems.postgres.access import PostgresAccess


class PostgresCdcHook(BaseHook):
    """The replication slot of a PostgreSQL database, and the tables whose changes it gives.

    The connection's own form asks for slot, publication and tables; what is given here goes before it. Its Test
    button says whether changes can be captured, and if not, why and how that is mended.

    :param conn_id: connection of type ``postgres_cdc``, or of type ``postgres`` where a slot is given here
    :param slot: the slot's name: 1 to 63 of a-z, 0-9 and underscore, unique on the server
    :param publication: the publication's name, or a list of names; by default the slot's name
    :param tables: the tables, a list or a comma-separated text
    """

    conn_name_attr = "conn_id"
    default_conn_name = "postgres_cdc_default"
    conn_type = CDC_TYPE
    hook_name = "PostgreSQL change data capture"

    def __init__(
        self,
        conn_id: str = default_conn_name,
        *,
        slot: str | None = None,
        publication: str | Sequence[str] | None = None,
        tables: str | Sequence[str] | None = None,
    ) -> None:
        super().__init__()
        self.conn_id = conn_id
        self._given = {"slot": slot, "publication": publication, "tables": tables}

    def get_conn(self) -> Any:
        """A psycopg connection in autocommit mode."""
        return self.access().connect()

    def access(self) -> PostgresAccess:
        """The way into the database.

        :raises ConfigurationError: where the connection cannot be used
        """
        return postgres_access(self.conn_id)

    def slot(self) -> ReplicationSlot:
        """The slot; nothing is asked of the server yet.

        :raises ConfigurationError: where none is named, or the name cannot be one
        """
        from airflow_etl_sync.cdc.postgres.slot import ReplicationSlot

        access = self.access()
        slot = arguments.as_optional_text("slot", self._term("slot"))
        if slot is None:
            raise ConfigurationError(
                f"The connection {self.conn_id!r} names no replication slot: fill in that field of it, or set slot."
            )
        publication = self._term("publication")
        if arguments.is_absent(publication):
            return ReplicationSlot(access, slot, slot)
        if isinstance(publication, str) and not publication.strip().startswith("["):
            return ReplicationSlot(access, slot, publication.strip())
        return ReplicationSlot(access, slot, arguments.as_names("publication", publication))

    def change_log(self) -> ReplicationSlot:
        """The slot, as that from which changes come."""
        return self.slot()

    def rows(self) -> SourceRows:
        """What gives rows that the log leaves out."""
        from airflow_etl_sync.cdc.postgres.reselect import SourceRows

        return SourceRows(self.access())

    def whole_tables(self) -> PostgresTables:
        """What gives tables whole, for their first copy."""
        from airflow_etl_sync.cdc.postgres.copy_source import PostgresTables

        return PostgresTables(self.access())

    def tables(self) -> tuple[TableName, ...]:
        """The tables; none where none are named.

        :raises ConfigurationError: where one of them is no table's name, or given twice
        """
        return arguments.as_tables("tables", self._term("tables"))

    def apply_notify_triggers(
        self, table: str, channel: str, *, key: Sequence[str] | None = None, max_keys: int = MAX_KEYS
    ) -> None:
        """Let the table tell a channel of each statement that changes it, as :meth:`notify_trigger_sql` says.

        The login must own the table. All is made, or nothing; it waits at most 10 seconds for the table's writers.

        :param table: ``schema.table``
        :param channel: the channel's name, as :class:`PostgresNotifyTrigger` has it
        :param key: the columns that name a row, by default the table's primary key, if it has one
        :param max_keys: at most so many keys are told of a statement; 0 leaves them out
        :raises ConfigurationError: where it may not, or the table is none
        :raises SourceError: where the table is in use for too long; trying again may help
        """
        from airflow_etl_sync.cdc.postgres.notify import apply_notify_triggers

        with closing(self.get_conn()) as connection:
            apply_notify_triggers(connection, TableName.parse(table), channel, key=key, max_keys=max_keys)

    def remove_notify_triggers(self, table: str) -> None:
        """Remove what :meth:`apply_notify_triggers` has made, as far as it is there.

        :param table: ``schema.table``
        :raises ConfigurationError: where it may not
        :raises SourceError: where the table is in use for too long; trying again may help
        """
        from airflow_etl_sync.cdc.postgres.notify import remove_notify_triggers

        with closing(self.get_conn()) as connection:
            remove_notify_triggers(connection, TableName.parse(table))

    @staticmethod
    def notify_trigger_sql(table: str, channel: str, *, key: Sequence[str] = (), max_keys: int = MAX_KEYS) -> str:
        """Give the SQL of :meth:`apply_notify_triggers`, for the owner of the table to read and to run.

        It makes one function and four triggers, which run once for each statement, whatever the number of rows, and
        NOTIFY with a JSON payload: ``{"schema": "public", "table": "orders", "operation": "UPDATE", "keys": [{"id":
        7}]}``. The keys are left out where there are more than ``max_keys``, or the payload would be too long. It needs
        PostgreSQL 14 or newer.

        :param table: ``schema.table``
        :param channel: the channel's name
        :param key: the columns that name a row; none leaves the keys out
        :param max_keys: at most so many keys are told of a statement; 0 leaves them out
        :raises ConfigurationError: for an unusable table, channel or ``max_keys``
        """
        from airflow_etl_sync.cdc.postgres.notify import notify_trigger_sql

        return notify_trigger_sql(TableName.parse(table), channel, key=key, max_keys=max_keys)

    def test_connection(self) -> tuple[bool, str]:
        """Whether changes can be captured, in words; the Test button shows them.

        What the first set-up mends is no failure.
        """
        try:
            slot, tables = self.slot(), self.tables()
            findings = slot.preflight(tables)
            if any(finding.is_error for finding in findings):
                return _told(findings)
            retained = slot.health().retained_bytes or 0
        except EtlSyncError as error:
            return False, str(error)
        ready = (
            f"Ready: the slot {slot.slot!r} gives the changes of {len(tables) or 'all published'} tables. "
            f"The server keeps {retained / 1_000_000:,.1f} MB of its log for it."
        )
        return True, " ".join([ready, *map(str, findings)])

    def _term(self, name: str) -> Any:
        given = self._given[name]
        if not arguments.is_absent(given):
            return given
        connection = self.get_connection(self.conn_id)
        return connection.extra_dejson.get(name) if connection.conn_type == CDC_TYPE else None


def _told(findings: Sequence[Finding]) -> tuple[bool, str]:
    sentences = " ".join(map(str, findings))
    if all(finding.is_mended_by_setting_up for finding in findings if finding.is_error):
        return True, f"Changes can be captured here, and not everything is set up yet. {sentences}"
    return False, sentences
