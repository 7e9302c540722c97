"""What a reader makes of a block of a text file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from airflow_etl_sync.errors import SchemaError

if TYPE_CHECKING:
    import pyarrow as pa


class BadLine(NamedTuple):
    """A line that holds no row.

    :param number: counted from 1
    :param reason: what is wrong with it, without values
    """

    number: int
    reason: str
    text: str


def refuse_missing(wanted: Sequence[str], names: Sequence[str]) -> None:
    """Stop where a file lacks a column that is to be read, or has two of its name.

    :raises SchemaError: naming the first, to stand behind the file's name
    """
    for name in wanted:
        if names.count(name) != 1:
            is_twice = name in names
            raise SchemaError(
                f"has the column {name!r} twice" if is_twice else f"has no column {name!r}; it has {', '.join(names)}"
            )


@dataclass(frozen=True, slots=True)
class Piece:
    """Rows of a file.

    :param columns: their values by column
    :param numbers: the line in which each begins
    """

    columns: Mapping[str, pa.Array]
    numbers: Sequence[int]
    bad: Sequence[BadLine] = field(default=())

    @property
    def rows(self) -> int:
        return len(self.numbers)
