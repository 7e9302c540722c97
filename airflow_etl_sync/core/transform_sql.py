"""A query over a piece of rows, run by DuckDB, as a transform. It reaches no file and no network."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

from airflow_etl_sync.errors import ConfigurationError

if TYPE_CHECKING:
    import pyarrow as pa

BATCH = "batch"
"""The piece's name in the query."""

_SETTINGS = {
    "enable_external_access": "false",
    "autoload_known_extensions": "false",
    "autoinstall_known_extensions": "false",
    "memory_limit": "512MB",
    "threads": "1",
}
_SAYS_NO_VALUE = ("BinderException", "CatalogException", "ParserException", "PermissionException")
"""DuckDB's errors about the query itself, raised before it looks at rows."""


class SqlTransform:
    """Runs ``SELECT … FROM batch`` over each piece.

    :param query: one SELECT; times in it are in UTC
    :param lookups: small tables that it may join, by name
    :raises ConfigurationError: where a lookup takes the piece's name, or DuckDB is not installed
    """

    def __init__(self, query: str, lookups: Mapping[str, pa.Table] | None = None) -> None:
        self._query = query
        self._lookups = dict(lookups or {})
        if any(name.lower() == BATCH for name in self._lookups):
            raise ConfigurationError("A lookup is named 'batch', as the rows themselves are: give it another name.")
        self._refuse_other_statements()

    def __call__(self, rows: pa.Table) -> pa.Table:
        """What the query makes of the rows.

        :raises ConfigurationError: where the query cannot be run, whichever rows it is given
        """
        duckdb = _duckdb()
        connection = self._connection
        connection.register(BATCH, rows)
        try:
            return connection.sql(self._query).to_arrow_table()
        except duckdb.Error as error:
            if type(error).__name__ not in _SAYS_NO_VALUE:
                raise
            raise ConfigurationError(f"transform_sql cannot be run: {_first_line(error)}") from None
        finally:
            connection.unregister(BATCH)

    @cached_property
    def _connection(self) -> Any:
        connection = _duckdb().connect(":memory:", config=_SETTINGS)
        for name, table in self._lookups.items():
            connection.register(name, table)
        connection.execute("SET TimeZone = 'UTC'")
        connection.execute("SET lock_configuration = true")
        return connection

    def _refuse_other_statements(self) -> None:
        duckdb = _duckdb()
        try:
            statements = duckdb.extract_statements(self._query)
        except duckdb.ParserException as error:
            raise ConfigurationError(f"transform_sql cannot be read: {_first_line(error)}") from None
        if [statement.type.name for statement in statements] != ["SELECT"]:
            raise ConfigurationError("transform_sql must be one SELECT, such as SELECT * FROM batch.")


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)


def _duckdb() -> Any:
    try:
        import duckdb
    except ImportError:
        raise ConfigurationError("transform_sql needs DuckDB: install the extra, airflow-etl-sync[duckdb].") from None
    return duckdb
