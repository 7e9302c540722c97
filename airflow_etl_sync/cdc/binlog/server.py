"""A server of MySQL or MariaDB as it shows itself: its log, and how far that goes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from airflow_etl_sync.cdc.binlog import sql
from airflow_etl_sync.cdc.binlog.positions import FIRST_PLACE, position_of
from airflow_etl_sync.core.changes import Lsn
from airflow_etl_sync.errors import ConfigurationError

if TYPE_CHECKING:
    from sqlalchemy import Connection

_FIRST_MYSQL_WITHOUT_MASTER = (8, 4)
"""From there on the words are others, https://dev.mysql.com/doc/relnotes/mysql/8.4/en/news-8-4-0.html."""


@dataclass(frozen=True, slots=True)
class Server:
    """What a server has been set to.

    :param identity: what tells it from every other server
    :param is_logging: whether it writes a log at all
    :param folds_case: whether names of tables in other capitals are the same
    :param variables: those that not every server has
    """

    identity: str
    is_logging: bool
    is_mariadb: bool
    version: tuple[int, ...]
    server_id: int
    row_format: str
    row_image: str
    folds_case: bool
    variables: dict[str, str]

    def is_on(self, *names: str) -> bool:
        """Whether one of some variables is on."""
        return any(self.variables.get(name, "").upper() in ("ON", "1") for name in names)


@dataclass(frozen=True, slots=True)
class LogFile:
    """A file of the log."""

    name: str
    size: int

    @property
    def begins(self) -> Lsn:
        return position_of(self.name, FIRST_PLACE)

    def behind(self, position: Lsn) -> int:
        """How many bytes of it lie behind a position."""
        end = position_of(self.name, self.size)
        return end - max(position, self.begins) if end > position else 0


def read_server(connection: Connection) -> Server:
    """The server that one is connected to."""
    is_logging, server_id, row_format, row_image, folds_case, version = connection.execute(sql.READ_SERVER).one()
    variables = {name.lower(): value for name, value in connection.execute(sql.READ_VARIABLES)}
    numbers = version.partition("-")[0].split(".")
    return Server(
        identity=variables.get("server_uuid") or variables.get("server_uid") or f"server {server_id}",
        is_logging=bool(is_logging),
        is_mariadb="mariadb" in version.lower(),
        version=tuple(int(number) for number in numbers if number.isdigit()),
        server_id=int(server_id),
        row_format=row_format,
        row_image=row_image,
        folds_case=bool(folds_case),
        variables=variables,
    )


def read_newest(connection: Connection, server: Server) -> tuple[str, Lsn]:
    """The file that is written, and up to where it is.

    :raises ConfigurationError: where there is no log
    """
    has_old_words = server.is_mariadb or server.version < _FIRST_MYSQL_WITHOUT_MASTER
    row: Any = connection.execute(sql.READ_NEWEST[has_old_words]).first()
    if row is None:
        raise ConfigurationError("The server writes no binary log: start it with log_bin.")
    return row[0], position_of(row[0], int(row[1]))


def read_files(connection: Connection) -> list[LogFile]:
    """The files that the server keeps, the oldest first."""
    return [LogFile(row[0], int(row[1])) for row in connection.execute(sql.READ_FILES)]


def read_charsets(connection: Connection, server: Server) -> dict[int, str]:
    """Character sets by the numbers of their collations."""
    charsets = {int(number): charset for number, charset in connection.execute(sql.READ_CHARSETS)}
    if server.is_mariadb and server.version >= (10, 10):
        charsets |= {int(number): charset for number, charset in connection.execute(sql.READ_NEWER_CHARSETS)}
    return charsets
