"""A connection to a server of MySQL or MariaDB whose changes are captured."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseHook

from airflow_etl_sync.core.model import TableName
from airflow_etl_sync.errors import ConfigurationError, EtlSyncError
from airflow_etl_sync.hooks.connections import require_connection
from airflow_etl_sync.hooks.databases import MYSQL_CDC_TYPE, MYSQL_TYPES, mysql
from airflow_etl_sync.operators import _arguments as arguments

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airflow_etl_sync.cdc.binlog.again import NoRowsAgain
    from airflow_etl_sync.cdc.binlog.log import BinaryLog
    from airflow_etl_sync.systems.database.access import DatabaseAccess


class MysqlCdcHook(BaseHook):
    """The binary log of a server of MySQL or MariaDB, and the tables whose changes are taken from it.

    The connection's own form asks for the tables; what is given here goes before it. Its Test button says whether
    changes can be captured, and if not, why and how that is mended. Nothing is made on the server, and nothing is kept
    there for a reader: the server keeps its log for as long as it was told to.

    :param conn_id: connection of type ``mysql_cdc``, or of type ``mysql`` where tables are given
    :param tables: the tables, a list or a comma-separated text
    """

    conn_name_attr = "conn_id"
    default_conn_name = "mysql_cdc_default"
    conn_type = MYSQL_CDC_TYPE
    hook_name = "MySQL or MariaDB change data capture"

    def __init__(self, conn_id: str = default_conn_name, *, tables: str | Sequence[str] | None = None) -> None:
        super().__init__()
        self.conn_id = conn_id
        self._tables = tables

    def get_conn(self) -> Any:
        """A PyMySQL connection."""
        return self.access().detached()

    def access(self) -> DatabaseAccess:
        """The way into the database.

        :raises ConfigurationError: where the connection cannot be used
        """
        require_connection(self.conn_id)
        connection = self.get_connection(self.conn_id)
        if connection.conn_type not in MYSQL_TYPES:
            raise ConfigurationError(
                f"The connection {self.conn_id!r} is of type {connection.conn_type!r}: choose one of type 'mysql_cdc'."
            )
        return mysql(self.conn_id, connection)

    def change_log(self) -> BinaryLog:
        """The log; nothing is asked of the server yet."""
        from airflow_etl_sync.cdc.binlog.log import BinaryLog

        return BinaryLog(self.access())

    def rows(self) -> NoRowsAgain:
        """What gives rows that the log leaves out, of which there are none."""
        from airflow_etl_sync.cdc.binlog.again import NoRowsAgain

        return NoRowsAgain()

    def whole_tables(self) -> BinaryLog:
        """What gives tables whole, for their first copy."""
        return self.change_log()

    def tables(self) -> tuple[TableName, ...]:
        """The tables; none where none are named.

        :raises ConfigurationError: where one of them is no table's name, or given twice
        """
        given: Any = self._tables
        connection = self.get_connection(self.conn_id)
        if arguments.is_absent(given) and connection.conn_type == MYSQL_CDC_TYPE:
            given = connection.extra_dejson.get("tables")
        return arguments.as_tables("tables", given)

    def test_connection(self) -> tuple[bool, str]:
        """Whether changes can be captured, in words; the Test button shows them."""
        try:
            tables = self.tables()
            log = self.change_log()
            findings = log.preflight(tables)
            if any(finding.is_error for finding in findings):
                return False, " ".join(map(str, findings))
            name, position = log.name, log.text(log.flushed())
        except EtlSyncError as error:
            return False, str(error)
        ready = f"Ready: the log {name}, now at {position}, tells the changes of {len(tables) or 'all'} tables."
        return True, " ".join([ready, *map(str, findings)])
