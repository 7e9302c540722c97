"""What a reconcile compares, by which rules it acts, and what came of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from airflow_etl_sync.core.model import Stream, TableName, refuse_not_one, refuse_unknown
from airflow_etl_sync.errors import ConfigurationError, DataError

DeleteMode = Literal["hard", "soft"]

SOFT_DELETED = "_sync_deleted"
"""The boolean column of a destination that marks rows which are gone from the source; the name is reserved."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyStream:
    """Whose keys are read. It has no cursor: every row of it counts as there, whatever its cursor value.

    :param sync_key: the unique name of the sync
    :param table: the table that the sync reads; exactly one of ``table`` and ``sql`` is given
    :param sql: the query that it reads
    :param primary_key: the columns that name a record; empty takes the table's own key
    :param where: the SQL condition of the author's that its rows must meet
    """

    sync_key: str
    table: TableName | None = None
    sql: str | None = None
    primary_key: tuple[str, ...] = ()
    where: str | None = None

    def __post_init__(self) -> None:
        refuse_not_one(table=self.table, sql=self.sql)
        self.keyed(self.primary_key or ("key",))  # a stream checks what it is made of

    def keyed(self, key: tuple[str, ...]) -> Stream:
        """The stream of the key's columns alone; the first of them stands in for the cursor."""
        return Stream(
            sync_key=self.sync_key,
            cursor_field=key[0],
            table=self.table,
            sql=self.sql,
            primary_key=key,
            columns=key,
            where=self.where,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ReconcileRules:
    """What becomes of rows whose key is gone from the source.

    :param delete: ``hard`` deletes them, ``soft`` sets their ``_sync_deleted``
    :param max_delete_percent: of the compared rows, at most so many may be gone; more change nothing
    :param where: an SQL condition of the author's; only rows of the destination that meet it are compared
    :param add_column: whether ``soft`` adds an absent ``_sync_deleted``
    :param synced_at_column: a ``timestamptz`` column that is set on rows which are flagged or brought back
    """

    delete: DeleteMode = "hard"
    max_delete_percent: float = 10
    where: str | None = None
    add_column: bool = True
    synced_at_column: str | None = None

    def __post_init__(self) -> None:
        refuse_unknown("delete", self.delete, get_args(DeleteMode))
        if not 0 <= self.max_delete_percent <= 100:
            raise ConfigurationError("max_delete_percent must lie between 0 and 100.")
        for name, text in (("destination_where", self.where), ("synced_at_column", self.synced_at_column)):
            if text is not None and "\0" in text:
                raise ConfigurationError(f"{name} holds a character that no database can store: remove it.")

    def refuse_too_many(self, target: str, compared: int, absent: int) -> None:
        """Stop where so many rows are gone that the source is more likely to be wrong than the destination.

        An empty source makes it 100 percent, which only a ``max_delete_percent`` of 100 lets pass.

        :raises DataError: before anything has changed
        """
        if absent * 100 > self.max_delete_percent * compared:
            raise DataError(
                f"{absent} of {compared} rows of {target!r} are not at the source, more than max_delete_percent "
                f"({self.max_delete_percent:g} %) allows, and nothing was changed: see whether the source is whole "
                "and where and destination_where fit each other, or raise max_delete_percent."
            )


@dataclass(frozen=True, slots=True)
class KeyBlock:
    """Keys to ask the source for again, as PostgreSQL's text under pinned settings.

    :param columns: for each column of the key its values, all of one length
    """

    columns: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True)
class Settled:
    """What was done.

    :param deleted: rows deleted or flagged
    :param revived: rows whose flag was taken off
    """

    deleted: int = 0
    revived: int = 0

    def __add__(self, other: Settled) -> Settled:
        return Settled(self.deleted + other.deleted, self.revived + other.revived)
