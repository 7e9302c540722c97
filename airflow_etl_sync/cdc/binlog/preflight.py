"""What keeps a server of MySQL or MariaDB from giving its changes, and how it is mended."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from airflow_etl_sync.cdc.binlog import sql
from airflow_etl_sync.cdc.binlog.server import Server, read_files, read_newest, read_server
from airflow_etl_sync.core import finding as core_finding
from airflow_etl_sync.core.changes import Lsn
from airflow_etl_sync.core.model import TableName
from airflow_etl_sync.errors import ConfigurationError, EtlSyncError, SchemaError
from airflow_etl_sync.systems.database.faults import fault_in

if TYPE_CHECKING:
    from sqlalchemy import Connection

Code = Literal[
    "log_off",
    "log_format",
    "log_row_image",
    "log_row_metadata",
    "log_compressed",
    "log_partial_json",
    "log_lacks_replicated",
    "log_kept_shortly",
    "log_filtered",
    "role_lacks_replication",
    "table_missing",
    "table_kind",
    "table_engine",
    "table_cascades",
]
_SHORT_SECONDS = 86_400


@dataclass(frozen=True, slots=True)
class Finding(core_finding.Finding):
    """One thing that keeps changes from being captured, or is worth knowing."""

    code: Code

    def as_error(self) -> EtlSyncError:
        """The error for who goes on regardless."""
        return (SchemaError if self.code.startswith("table_") else ConfigurationError)(str(self))


def examine(connection: Connection, tables: Sequence[TableName], read: Callable[[Lsn], None]) -> list[Finding]:
    """Look at a server and at tables, in the order in which what is amiss is to be mended.

    :param read: begins to read the log at a position: whether a login may, only that tells
    """
    server = read_server(connection)
    if not server.is_logging:
        return [Finding("log_off", "The server writes no binary log", "start it with log_bin and a server_id")]
    findings = [*_of_settings(server), *_of_keeping(server), *_of_role(connection, server, read)]
    return [*findings, *(finding for table in tables for finding in _of_table(connection, table))]


def _of_settings(server: Server) -> Iterator[Finding]:
    if server.row_format.upper() != "ROW":
        yield _setting("log_format", "binlog_format", server.row_format, "ROW", "statements in the place of rows")
    if server.row_image.upper() != "FULL":
        yield _setting("log_row_image", "binlog_row_image", server.row_image, "FULL", "parts of rows")
    metadata = server.variables.get("binlog_row_metadata")
    if metadata is None:
        yield Finding(
            "log_row_metadata",
            "The server's log cannot name the columns of its rows",
            "capture needs MySQL 8.0.14 or MariaDB 10.5, or newer",
        )
    elif metadata.upper() != "FULL":
        yield _setting("log_row_metadata", "binlog_row_metadata", metadata, "FULL", "rows without their columns' names")
    for name in ("log_bin_compress", "binlog_transaction_compression"):
        if server.is_on(name):
            yield _setting("log_compressed", name, "ON", "OFF", "what cannot be read here")
    if server.variables.get("binlog_row_value_options"):
        yield _setting("log_partial_json", "binlog_row_value_options", "PARTIAL_JSON", "", "parts of JSON")


def _of_keeping(server: Server) -> Iterator[Finding]:
    seconds = int(server.variables.get("binlog_expire_logs_seconds") or 0)
    if 0 < seconds < _SHORT_SECONDS:
        yield Finding(
            "log_kept_shortly",
            f"The server removes its log after {seconds} s, whether changes were captured or not",
            "keep it longer than capture may stand still (binlog_expire_logs_seconds)",
            is_error=False,
        )


def _setting(code: Code, name: str, value: str, wanted: str, what: str) -> Finding:
    return Finding(
        code,
        f"{name} is {value}, so the log may hold {what}",
        f"run SET GLOBAL {name} = '{wanted}', write it into the server's configuration, and let its clients connect "
        "anew",
    )


def _of_role(connection: Connection, server: Server, read: Callable[[Lsn], None]) -> Iterator[Finding]:
    """Whether the login may ask where the log stands, read it, and see what is in flight."""
    try:
        _, newest = read_newest(connection, server)
        read_files(connection)
        read(newest)
        if not server.is_mariadb:
            connection.execute(sql.READ_TRANSACTIONS)
    except Exception as error:
        fault = fault_in(error)
        if fault is None or fault.blame != "person":
            raise
        others = "BINLOG MONITOR" if server.is_mariadb else "REPLICATION CLIENT, PROCESS"
        yield Finding(
            "role_lacks_replication",
            "The login of the connection may not read the binary log",
            f"run GRANT REPLICATION SLAVE, {others} ON *.* TO it",
        )


def _of_table(connection: Connection, table: TableName) -> Iterator[Finding]:
    name = repr(str(table))
    row = connection.execute(sql.READ_TABLE, {"schema": table.schema, "name": table.name}).first()
    if row is None:
        yield Finding("table_missing", f"There is no table {name} that the login may see", "correct its name")
        return
    if row.table_type != "BASE TABLE":
        yield Finding("table_kind", f"{name} is no ordinary table", "name a table whose rows are written to the log")
        return
    if row.transactions != "YES":
        yield Finding(
            "table_engine",
            f"The engine of the table {name} has no transactions, so copy and changes cannot be fitted together",
            "run ALTER TABLE with ENGINE = InnoDB",
        )
    place = {"schema": row.table_schema, "name": row.table_name}
    if connection.execute(sql.READ_CASCADES, place).first() is not None:
        yield Finding(
            "table_cascades",
            f"Rows of {name} that a foreign key deletes or changes are not told by the log",
            "reconcile the table regularly, or let the application delete them itself",
            is_error=False,
        )
