"""The table as it stands in Snowflake, in the words of the stream."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from airflow_etl_sync.errors import SchemaError
from airflow_etl_sync.systems.snowflake import limits
from airflow_etl_sync.systems.snowflake.names import told_apart, unfolded
from airflow_etl_sync.systems.snowflake.types import TableColumn, arrow_type_of, declared_type

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True, slots=True)
class SnowflakeTable:
    """A table's columns, by the names that the stream has for them.

    :param columns: empty where there is no table yet
    """

    columns: dict[str, TableColumn]

    @classmethod
    def of(cls, target: str, columns: Sequence[TableColumn], stream: Iterable[str]) -> SnowflakeTable:
        """Give the table for a stream with these columns.

        :raises SchemaError: where a column of the stream's is of a type that would not hold its values as they are
        """
        streams = told_apart(stream)
        for column in columns:
            if column.name in streams and arrow_type_of(column.declared) is None:
                raise SchemaError(
                    f"Column {streams[column.name]} of {target!r} is a {column.declared}, which does not hold every "
                    "value as it is: make it another type (times of 6 or 9 digits, VARCHAR for JSON), or leave it out."
                )
        return cls({streams.get(column.name, unfolded(column.name)): column for column in columns})

    @property
    def types(self) -> dict[str, pa.DataType]:
        """The types in which values are brought; of columns that cannot be written, text."""
        import pyarrow as pa

        return {name: arrow_type_of(column.declared) or pa.string() for name, column in self.columns.items()}

    @property
    def required(self) -> list[str]:
        """The columns that take no NULL."""
        return [name for name, column in self.columns.items() if not column.takes_null]

    @property
    def demanded(self) -> list[str]:
        """Those of them that must be given."""
        return [name for name in self.required if not self.columns[name].has_default]

    def declared(self, name: str, otherwise: str) -> str:
        """The type of a column, as Snowflake writes it."""
        return self.columns[name].declared if name in self.columns else otherwise

    def misfits(self, name: str, values: pa.Array) -> Iterable[tuple[str, pa.Array]]:
        """Why some values of a column cannot be loaded, and which."""
        new = TableColumn(name, declared_type(values.type), takes_null=True, has_default=False)
        return limits.misfits(self.columns.get(name, new), values)
