"""The seam between a source's log of changes and what becomes of them."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from airflow_etl_sync.cdc.keyed import Key
from airflow_etl_sync.cdc.tables import CdcTable, SourceTable
from airflow_etl_sync.core.changes import Lsn, Relation
from airflow_etl_sync.core.columns import ColumnTypes
from airflow_etl_sync.core.finding import Finding
from airflow_etl_sync.core.model import TableName
from airflow_etl_sync.errors import StateError
from airflow_etl_sync.state.cdc_pipelines import Pipeline

if TYPE_CHECKING:
    from airflow_etl_sync.core.model import Stream
    from airflow_etl_sync.systems.base import Source


@dataclass(frozen=True, slots=True)
class LogHealth:
    """How a log is, for one who reads it.

    :param retained_bytes: how much of it the server keeps for the reader on its disk; None where it keeps none for
        anybody
    :param lag_bytes: how much was written since the acknowledged position
    :param lag_seconds: 0 where nothing was; else None, since a log knows positions and no times
    :param wal_status: of a replication slot ``reserved``, ``extended``, ``unreserved`` (about to be lost) or ``lost``;
        of a binary log ``kept for a time``
    :param is_active: whether someone reads it now
    """

    retained_bytes: int | None
    lag_bytes: int
    lag_seconds: float | None
    wal_status: str
    is_active: bool


@dataclass(frozen=True, slots=True)
class TornDown:
    """What was there and is not any more.

    :param has_dropped_slot: whether there was a slot
    :param has_dropped_publication: whether there was a publication that this package made
    """

    has_dropped_slot: bool
    has_dropped_publication: bool


class Positions(Protocol):
    """Where a log begins and ends. A position is a number that grows along it."""

    def beginning(self, confirmed: Lsn, flushed: Lsn) -> Lsn:
        """Which of the two a stream begins at that has no position yet."""

    def confirmed(self) -> Lsn:
        """The position before which changes cannot be had any more."""

    def flushed(self) -> Lsn:
        """The position up to which the log is written."""

    def text(self, position: Lsn) -> str:
        """A position as the server's administrators know it."""


class Telling(Protocol):
    """Gives changes, and is told what became of them."""

    def peek(self, upto: Lsn, changes: int, *, pipeline: Pipeline) -> Generator[bytes]:
        """Yield messages of pgoutput, of whole transactions in the order of their commits.

        Given again, as far as it is not acknowledged, is every transaction that ends behind the pipeline's position,
        and maybe some before. Close the generator where it is left before its end.

        :param upto: the position at which reading ends
        :param changes: the number of messages after which reading ends, at the end of a transaction
        :raises StateError: where changes are lost, which asks for a resync
        """

    def advance(self, to: Lsn) -> None:
        """Acknowledge what lies before a position; a position that is acknowledged already changes nothing."""

    def remembered(self) -> Mapping[str, Any]:
        """JSON that is kept with the position of the changes given last, and comes back with the pipeline."""

    def lost(self, pipeline: Pipeline, confirmed: Lsn) -> StateError:
        """What is said where changes behind the pipeline's position cannot be had any more."""


class Tables(Protocol):
    """What is asked of the tables whose changes a log tells."""

    def preflight(self, tables: Sequence[TableName] = ()) -> Sequence[Finding]:
        """What is amiss, in the order in which it is to be mended; nothing is changed."""

    def look_up(self, tables: Sequence[CdcTable]) -> list[SourceTable]:
        """Find the tables, before their changes are read.

        :raises SchemaError: where one is missing, or has no key
        """

    def relation_types(self, relations: Sequence[Relation], /) -> dict[int, dict[str, ColumnTypes]]:
        """The types of relations' columns, by the relation's id and the column's name."""

    def health(self) -> LogHealth:
        """How the log is."""


class ChangeLog(Positions, Telling, Tables, Protocol):
    """A source's log of changes, read in bounded batches and acknowledged when they are applied.

    :param name: the log's name in the state tables, which no other has
    :param publications: what of it is read, by names; empty where a log is one
    :param noticed: sentences for a person on what has happened to the tables since they were looked up, as far as no
        change tells it
    """

    @property
    def name(self) -> str: ...

    @property
    def publications(self) -> Sequence[str]: ...

    @property
    def noticed(self) -> Sequence[str]: ...


class RowsAgain(Protocol):
    """The rows of a source as they are now, for values that its log leaves out.

    :param asked: the tables (``schema.name``) of which rows were read, each with a position behind all that was seen:
        until that is applied, rows here may be newer than what is applied
    """

    asked: dict[str, Lsn]

    def met(self, xids: Iterable[int]) -> None:
        """Note transactions whose changes are being applied: rows are read when these can be seen."""

    def read(
        self,
        relation: Relation,
        types: dict[str, ColumnTypes],
        key: Sequence[str],
        columns: Sequence[str],
        keys: Sequence[Key],
    ) -> dict[Key, tuple[str | None, ...]]:
        """The values of columns by key, as PostgreSQL writes them; rows that are gone are left out."""


class CopySource(Protocol):
    """Gives tables whole, in a way that fits what their log tells."""

    def wait_until_visible(self) -> None:
        """Wait until a new snapshot sees all that the log has told by now.

        :raises SourceError: (retryable) where that takes too long
        """

    def written(self) -> tuple[Lsn, str]:
        """How far the log is written, behind all that has been seen by now, and the server's time as text in UTC."""

    def table(self, key: str, table: CdcTable) -> tuple[Source, Stream]:
        """A table as a stream that is read whole.

        :param key: the name of its copy
        """
