"""A session of Snowflake, in which statements run one after another."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from airflow_etl_sync.systems.columnar.table import TableColumn
from airflow_etl_sync.systems.snowflake import sql
from airflow_etl_sync.systems.snowflake.faults import is_absent

if TYPE_CHECKING:
    from snowflake.connector.cursor import SnowflakeCursor


class Session:
    """What statements run in.

    :param cursor: the only one of its connection
    """

    def __init__(self, cursor: SnowflakeCursor) -> None:
        self._cursor = cursor

    def execute(self, statement: str, parameters: Sequence[Any] = (), /) -> SnowflakeCursor:
        """Run a statement with values bound by the server."""
        self._cursor.execute(statement, parameters or None)
        return self._cursor

    def run(self, statement: str, *values: Any) -> int:
        """Run a statement that writes; how many rows it wrote."""
        return self.execute(statement, values).rowcount or 0

    def told(self, statement: str) -> dict[str, int]:
        """Run a statement that tells numbers by name."""
        found = self.execute(statement)
        row: Any = found.fetchone()
        return {column.name: int(value) for column, value in zip(found.description, row, strict=True)}

    def columns(self, table: str) -> list[TableColumn]:
        """The columns of a table of the session's schema; none where it is absent.

        :param table: Snowflake's name
        """
        try:
            found: list[Any] = self.execute(sql.describe_table(table)).fetchall()
        except Exception as error:
            if is_absent(error):
                return []
            raise
        return [TableColumn(name, type_, takes_null == "Y", default is not None)
                for name, type_, _, takes_null, default, *_ in found]  # fmt: skip

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """What runs inside is committed, or undone. No statement that makes or changes a table may: it would commit."""
        self.execute(sql.BEGIN)
        try:
            yield
        except BaseException:
            self.execute(sql.ROLLBACK)
            raise
        self.execute(sql.COMMIT)
