"""How another database is reached."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow_etl_sync.errors import ConfigurationError
from airflow_etl_sync.systems.database.faults import why_not_ready
from airflow_etl_sync.systems.patience import Patience

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

CONNECT_SECONDS = 30.0
"""For so long a server that is not ready, such as one that restarts, is asked for a connection again."""

FIRST_WAIT_SECONDS, LONGEST_WAIT_SECONDS = 0.5, 8.0
WRITER_SECONDS = 600.0
"""For so long a writer of SQLite waits for the one before it, which may load a whole chunk."""

ENGINE_OPTIONS: Mapping[str, Any] = {"hide_parameters": True}
"""No value of a row in an error's text."""


@dataclass(frozen=True, slots=True)
class DatabaseAccess:
    """One database and the login to it.

    :param make_engine: gives a SQLAlchemy engine; never shown, since it holds the password
    :param name: what tells the database from others where its URL does not
    """

    make_engine: Callable[[], Engine] = field(repr=False)
    name: str = ""

    @contextmanager
    def connect(self) -> Iterator[Connection]:
        """A connection, which ends with the block; a server that is not ready is waited for."""
        engine = self.make_engine()
        patience = Patience(
            engine.dialect.name, why_not_ready, CONNECT_SECONDS, FIRST_WAIT_SECONDS, LONGEST_WAIT_SECONDS
        )
        try:
            with patience.connect(engine.connect) as connection:
                yield connection
        finally:
            engine.dispose()

    def detached(self) -> Any:
        """The driver's own connection, for what SQLAlchemy has no words for; the caller closes it."""
        proxied = self.make_engine().raw_connection()
        connection = proxied.driver_connection
        proxied.detach()
        return connection

    @contextmanager
    def begin(self, isolation: str | None, set_up: Callable[[Connection], None]) -> Iterator[Connection]:
        """A transaction, committed at the end of the block.

        :param isolation: its level; None for the database's own
        :param set_up: called before it begins
        """
        with self.connect() as connection:
            if isolation is not None:
                connection.execution_options(isolation_level=isolation)
            set_up(connection)
            connection.commit()
            with connection.begin():
                yield connection

    @property
    def dialect_name(self) -> str:
        """What SQLAlchemy calls the database."""
        return str(self.make_engine().dialect.name)

    @property
    def place(self) -> str:
        """Where the database is, without login: by it its tables are told from those of the same name elsewhere."""
        url = self.make_engine().url
        server = f"{url.host or ''}{f':{url.port}' if url.port else ''}"
        return f"{self.dialect_name}://{server}/{url.database or self.name}"

    @contextmanager
    def look(self) -> Iterator[Connection]:
        """A connection in autocommit mode: each statement sees the newest state."""
        with self.connect() as connection:
            yield connection.execution_options(isolation_level="AUTOCOMMIT")


def mysql_access(
    *,
    host: str,
    port: int,
    login: str | None,
    password: str | None,
    database: str | None,
    options: Mapping[str, Any] | None = None,
) -> DatabaseAccess:
    """The way into MySQL or MariaDB, through PyMySQL.

    :param options: more arguments of ``pymysql.connect``
    :raises ConfigurationError: where PyMySQL is not installed
    """
    try:
        import pymysql  # noqa: F401
    except ImportError:
        raise ConfigurationError(
            "MySQL is read through PyMySQL, which is not installed: pip install 'airflow-etl-sync[mysql]'."
        ) from None

    def make_engine() -> Engine:
        from sqlalchemy import URL, create_engine
        from sqlalchemy.pool import NullPool

        url = URL.create("mysql+pymysql", login, password, host, port, database or None)
        arguments = {"charset": "utf8mb4", "connect_timeout": 10, **(options or {})}
        return create_engine(url, poolclass=NullPool, connect_args=arguments, **ENGINE_OPTIONS)

    return DatabaseAccess(make_engine)


def sqlite_access(path: Path) -> DatabaseAccess:
    """The way into a file of SQLite, which is only read, and must be there.

    :param path: the file, on this machine
    """

    def make_engine() -> Engine:
        import sqlite3

        from sqlalchemy import create_engine
        from sqlalchemy.pool import NullPool

        def connect() -> sqlite3.Connection:
            return sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=30)

        return create_engine("sqlite://", creator=connect, poolclass=NullPool, **ENGINE_OPTIONS)

    return DatabaseAccess(make_engine, str(path.absolute()))


def sqlite_writer(path: Path) -> DatabaseAccess:
    """The way into a file of SQLite that is written, and made where it is not there.

    A transaction keeps all other writers waiting from its beginning, so that none has to give up half-way.

    :param path: the file, on this machine
    """

    def make_engine() -> Engine:
        import sqlite3

        from sqlalchemy import create_engine, event
        from sqlalchemy.pool import NullPool

        def connect() -> sqlite3.Connection:
            uri = f"{path.absolute().as_uri()}?mode=rwc"
            return sqlite3.connect(uri, uri=True, timeout=WRITER_SECONDS, isolation_level=None)

        engine = create_engine("sqlite://", creator=connect, poolclass=NullPool, **ENGINE_OPTIONS)
        event.listen(engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN IMMEDIATE"))
        return engine

    return DatabaseAccess(make_engine, str(path.absolute()))
