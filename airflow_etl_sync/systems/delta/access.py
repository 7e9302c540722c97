"""The way to the tables of a lake."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from airflow_etl_sync.core.model import TableName
from airflow_etl_sync.errors import ConfigurationError

Options = Callable[[], Mapping[str, str]]


@dataclass(frozen=True, slots=True)
class DeltaAccess:
    """A directory, or a prefix of a bucket, under which tables lie: ``schema.table`` in ``schema/table``.

    :param root: a path, or ``s3://bucket/prefix``; it holds no secret
    :param options: gives what the storage is opened with, credentials included, each time they are needed
    :param partitions: by table, the columns by which a new one is partitioned
    """

    root: str
    options: Options = field(default=dict, repr=False)
    partitions: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def uri(self, table: TableName) -> str:
        """Where a table is.

        :raises ConfigurationError: where its name cannot be that of a directory
        """
        return "/".join([self.root.rstrip("/"), *refuse_as_directory(table)])


def refuse_as_directory(table: TableName) -> list[str]:
    """The parts of a table's name, which are those of its directory.

    :raises ConfigurationError: where one cannot be a directory's name
    """
    parts = [part for part in (table.schema, table.name) if part is not None]
    for part in parts:
        if part.startswith((".", "_")) or not part.isprintable() or any(sign in part for sign in "/\\:%?#*"):
            raise ConfigurationError(
                f"The table {str(table)!r} is a directory of the lake: choose a name that does not begin with a "
                "dot or an underscore, and has no slash, colon, per cent sign or wildcard."
            )
    return parts
