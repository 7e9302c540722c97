"""A warehouse's table as it stands there, in the words of the stream."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from airflow_etl_sync.errors import SchemaError
from airflow_etl_sync.systems.columnar import limits

if TYPE_CHECKING:
    import pyarrow as pa

_SIZED = re.compile(r"[A-Z]+\((\d+)\)")
_COUNTED = ("VARCHAR", "BINARY", "STRING", "BYTES")


@dataclass(frozen=True, slots=True)
class TableColumn:
    """A column as the warehouse describes it.

    :param name: the warehouse's
    :param declared: such as ``NUMBER(38,0)``
    :param has_default: whether it gets a value where none is given
    """

    name: str
    declared: str
    takes_null: bool
    has_default: bool

    @property
    def base(self) -> str:
        return self.declared.partition("(")[0]

    @property
    def longest(self) -> int | None:
        """How many letters or bytes it holds, where it counts them."""
        sized = _SIZED.fullmatch(self.declared)
        return int(sized[1]) if sized and self.base in _COUNTED else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Warehouse:
    """How a warehouse names columns, and which types it has.

    :param title: what it is called in messages
    :param named: the name that it has for one of the stream's
    :param known_as: the same of a name that a table has already
    :param unnamed: the name that a stream would have for one of a table
    :param arrow_type_of: the Arrow type in which values go into a column of a declared type; None for columns that
        would not hold values as they are
    :param declared_type: the type that a column gets for values of an Arrow type
    :param instead: which types to take in the place of one that is refused
    """

    title: str
    named: Callable[[str], str]
    known_as: Callable[[str], str]
    unnamed: Callable[[str], str]
    arrow_type_of: Callable[[str], pa.DataType | None]
    declared_type: Callable[[pa.DataType], str]
    instead: str

    def told_apart(self, names: Iterable[str]) -> dict[str, str]:
        """By the warehouse's name the stream's, of each column.

        :raises SchemaError: where two of them are one there
        """
        found: dict[str, str] = {}
        for name in names:
            other = found.setdefault(self.named(name), name)
            if other != name:
                raise SchemaError(
                    f"The columns {other!r} and {name!r} are one in {self.title}: rename or leave out one of them."
                )
        return found


@dataclass(frozen=True, slots=True)
class WarehouseTable:
    """A table's columns, by the names that the stream has for them.

    :param columns: empty where there is no table yet
    """

    warehouse: Warehouse
    columns: dict[str, TableColumn]

    @classmethod
    def of(
        cls, warehouse: Warehouse, target: str, columns: Sequence[TableColumn], stream: Iterable[str]
    ) -> WarehouseTable:
        """Give the table for a stream with these columns.

        :raises SchemaError: where a column of the stream's is of a type that would not hold its values as they are
        """
        streams, found = warehouse.told_apart(stream), dict[str, TableColumn]()
        for column in columns:
            name = streams.get(warehouse.known_as(column.name))
            if name is not None and warehouse.arrow_type_of(column.declared) is None:
                raise SchemaError(
                    f"Column {name} of {target!r} is a {column.declared}, which does not hold every value as it is: "
                    f"make it another type ({warehouse.instead}), or leave it out."
                )
            found[name or warehouse.unnamed(column.name)] = column
        return cls(warehouse, found)

    @property
    def types(self) -> dict[str, pa.DataType]:
        """The types in which values are brought; of columns that cannot be written, text."""
        import pyarrow as pa

        return {
            name: self.warehouse.arrow_type_of(column.declared) or pa.string() for name, column in self.columns.items()
        }

    @property
    def required(self) -> list[str]:
        """The columns that take no NULL."""
        return [name for name, column in self.columns.items() if not column.takes_null]

    @property
    def demanded(self) -> list[str]:
        """Those of them that must be given."""
        return [name for name in self.required if not self.columns[name].has_default]

    def declared(self, name: str, otherwise: str) -> str:
        """The type of a column, as the warehouse writes it."""
        return self.columns[name].declared if name in self.columns else otherwise

    def misfits(self, name: str, values: pa.Array) -> Iterable[tuple[str, pa.Array]]:
        """Why some values of a column cannot be loaded, and which."""
        declared = self.declared(name, self.warehouse.declared_type(values.type))
        return limits.misfits(TableColumn(name, declared, takes_null=True, has_default=False), values)
