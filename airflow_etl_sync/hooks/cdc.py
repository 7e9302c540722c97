"""A connection to a source whose changes are captured."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseHook

from airflow_etl_sync.errors import ConfigurationError, EtlSyncError
from airflow_etl_sync.hooks.connections import CDC_TYPE, postgres_access
from airflow_etl_sync.operators import _arguments as arguments

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airflow_etl_sync.cdc.preflight import Finding
    from airflow_etl_sync.cdc.slot import ReplicationSlot
    from airflow_etl_sync.core.model import TableName
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
        from airflow_etl_sync.cdc.slot import ReplicationSlot

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

    def tables(self) -> tuple[TableName, ...]:
        """The tables; none where none are named.

        :raises ConfigurationError: where one of them is no table's name, or given twice
        """
        return arguments.as_tables("tables", self._term("tables"))

    def test_connection(self) -> tuple[bool, str]:
        """Whether changes can be captured, in words; the Test button shows them.

        What the first set-up mends is no failure.
        """
        try:
            slot, tables = self.slot(), self.tables()
            findings = slot.preflight(tables)
            if any(finding.is_error for finding in findings):
                return _told(findings)
            retained = slot.health().retained_bytes
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
