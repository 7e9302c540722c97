"""The two seams of the package. A system that keeps these promises can be a source or a destination."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, cast, runtime_checkable

from airflow_etl_sync.core.contract import SchemaChange
from airflow_etl_sync.core.failed_record import FailedRecord, Key
from airflow_etl_sync.core.keys import KeyBlock, ReconcileRules, Settled
from airflow_etl_sync.core.model import Counts, CursorValue, Dataset, Kind, LoadRules, TableName, Window, WindowRules

if TYPE_CHECKING:
    import pyarrow as pa
    from sqlalchemy import Connection, Engine

    from airflow_etl_sync.state.watermarks import Watermark

Position = Mapping[str, Any]

ELSEWHERE = " in place "
_LONGEST_TARGET = 250
"""Between a table's name and its place in a target that is not beside the state tables."""


def named_elsewhere(table: TableName, place: str) -> str:
    """The name of a table that lies elsewhere, by which the ledger tells it from one of the same name beside the state.

    :param place: where it is, without login
    """
    return f"{table}{ELSEWHERE}{place}"[:_LONGEST_TARGET]


def is_elsewhere(target: str) -> bool:
    """Whether a target is not beside the state tables."""
    return ELSEWHERE in target


def table_in(target: str) -> TableName:
    """The table that a target is, wherever it lies."""
    return TableName.parse(target.partition(ELSEWHERE)[0])


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """What a stream turned out to be when it was looked at.

    :param columns: names and declared types, in order
    :param primary_key: the columns that name a record
    :param is_key_unique: whether the source itself guarantees that the key is unique and never NULL
    """

    columns: tuple[tuple[str, str], ...]
    primary_key: tuple[str, ...]
    is_key_unique: bool


@dataclass(frozen=True, slots=True)
class OpenedWindow:
    """A window, and what the watermark after it must still wait for.

    :param fences: JSON that the source reads back when the next window is opened
    """

    window: Window
    fences: list[dict[str, Any]]


class Source(Protocol):
    """Gives what changed.

    The promise: ``read`` yields every row with ``cursor >= low`` that was committed before it was called, and
    every row that it does not yield will have a cursor at or above the window's ``high``. Reading again after
    a position yields at least the rows that come after it.
    """

    def describe(self) -> Shape:
        """Look at the stream.

        :raises ConfigurationError: or SchemaError, before any data moves
        """

    def open_window(self, watermark: Watermark, rules: WindowRules) -> OpenedWindow:
        """Choose the window; must be called before the first ``read``."""

    def read(self, window: Window, after: Position | None) -> Generator[pa.RecordBatch]:
        """The rows of the window, in an order that ``after`` can be found in again.

        A stream's first window yields at least one batch, empty if need be: it carries the schema.
        """

    def position(self, batch: pa.RecordBatch) -> Position:
        """Where reading goes on after the last row of a batch that ``read`` gave."""


class SplittingSource(Source, Protocol):
    """One that tells where a window can be cut."""

    def split(self, window: Window, parts: int) -> list[str]:
        """The cursor values, in rising order, that part a window into at most so many parts of about as many rows."""


@runtime_checkable
class Packing(Protocol):
    """A source or destination that can leave rows packed as its system sends them.

    Where both name the same packing and nobody looks into the rows on the way, they need not be unpacked.

    :param packing: the name of the form
    """

    packing: str


class PackingSource(Source, Packing, Protocol):
    """A source whose rows need not be unpacked."""

    def pack(self) -> None:
        """From now on give batches of packed rows, which only a destination of the same packing reads."""


def let_pack(source: Source, destination: Destination) -> None:
    """Let rows take the shortest way between two that understand each other, before anything is read."""
    if isinstance(source, Packing) and isinstance(destination, Packing) and source.packing == destination.packing:
        cast("PackingSource", source).pack()


@runtime_checkable
class ReachingSource(Source, Protocol):
    """One that knows how far the watermark may go only when a window is read to its end.

    Until then the window's high is what it was before.
    """

    def reached(self, window: Window, rules: WindowRules) -> CursorValue | None:
        """The high of a window that ``read`` has given to its end, in this try or, up to its position, in others.

        :raises ConfigurationError: where the source does not tell enough for a high
        """


@runtime_checkable
class RememberingSource(Protocol):
    """A source whose windows go by more than the cursor: by what it has read before."""

    def reopen(self, watermark: Watermark, opened: OpenedWindow, kind: Kind) -> None:
        """Open the window of an earlier try again, in the place of ``open_window``.

        :param watermark: the one that the window was made from
        """


@dataclass(frozen=True, slots=True)
class PlannedRead:
    """A statement that reading a window takes.

    :param rows: how many rows the source expects it to give
    """

    statement: str
    rows: int


class PlanningSource(Source, Protocol):
    """One that tells what reading would take."""

    def plan(self, window: Window) -> list[PlannedRead]:
        """The statements of a window, not run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """By what a destination away from the state tables knows a chunk again: the same in every try.

    :param sync_key: whose chunk it is
    :param extraction_id: of which run
    :param number: its place in the run
    :param turn: the place of the run among those of its sync, higher for a newer one; microseconds since 1970
    :param overtakes: whether older runs of the sync may land nothing more in the table once this chunk has landed
    :param yields: whether it may not land once a newer run that overtakes has landed something
    :param position: JSON that is remembered with it: where reading goes on behind the chunk, and what was left out
        of it before the merge
    """

    sync_key: str
    extraction_id: str
    number: int
    turn: int
    overtakes: bool
    yields: bool
    position: Position | None = None


@dataclass(frozen=True, slots=True)
class StagedChunk:
    """A chunk on the destination's side, not yet merged.

    :param name: the staging table, another one in each try
    :param schema: what it holds
    :param mark: what the chunk is remembered by; there when it is merged
    """

    name: str
    schema: pa.Schema
    mark: Mark | None = None


class Destination(Protocol):
    """Takes rows in, exactly once.

    The promise: ``merge`` changes nothing unless its transaction commits, and merging the same rows again
    changes nothing more. Staged rows are invisible to readers of the target.

    Where the table is in reach of the state tables' transaction, that is the merge's. Where it is elsewhere, the merge
    has a transaction of its own, which it commits before it returns: inside the caller's, which has claimed the chunk
    in the ledger and holds the run. In that same transaction of its own the destination writes down the chunk's mark
    and what the merge came to. What commits there and not here is harmless: the next try asks with ``recall`` what
    has landed, enters that into the ledger, and stages and merges the rest. So

    - a mark lands once: a merge of a chunk whose mark has landed changes nothing and raises a StateError that is
      retryable, since another try is at work, and the rows that it read may be others than those that landed;
    - the newer run wins: once a chunk whose mark ``overtakes`` has landed, no merge of a lower turn of that sync whose
      mark ``yields`` commits to that table, be it under way already; it raises a StateError;
    - what is written down stays until a newer run that overtakes has landed something, and of runs that yield to
      nobody for a week.
    """

    @property
    def engine(self) -> Engine:
        """Where the state tables live: a PostgreSQL database, by default the one that holds the target."""

    @property
    def target(self) -> str:
        """The table's name as the ledger knows it, which is no other's.

        Beside the state tables it is the table's own, elsewhere followed by its place: ``orders in place mysql://…``.
        """

    def stage(self, name: str, schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> StagedChunk:
        """Bring a chunk's rows to the destination's side; a chunk of that name is replaced."""

    def merge(
        self,
        connection: Connection,
        staged: StagedChunk,
        rows: int,
        keys: MergeKeys,
        rules: LoadRules,
        tolerance: Tolerance,
    ) -> Merged:
        """Merge a staged chunk in the caller's transaction, or inside it in one of its own, and drop it.

        :param connection: to the state tables
        :param rows: how many rows must be there; fewer means that a crash emptied the staging
        :raises DataError: where more rows cannot be loaded than are tolerated
        :raises StateError: (retryable) where the chunk has landed by now; or where a newer run has
        """

    def recall(self, extraction_id: str) -> Mapping[int, Landed]:
        """What has landed of a run, by the number of the chunk; nothing where merges commit with the state tables."""


class TypedDestination(Destination, Protocol):
    """One that tells what its table is called and has, for lineage and for records that come without types."""

    @property
    def dataset(self) -> Dataset | None:
        """The table as lineage names it; None where it has no name for it."""

    def types(self) -> Mapping[str, str]:
        """The type of each column of the target, without length or precision; empty where there is no table yet.

        An empty text for a column that takes what the values themselves are, such as one of texts where the system has
        no other type for some.
        """


@runtime_checkable
class SeekableDestination(Protocol):
    """One that tells whether its table is there, where it might be made by mistake: on another machine."""

    def is_there(self) -> bool:
        """Whether there is a table; none is made."""


@dataclass(frozen=True, slots=True)
class Tolerance:
    """What a merge may leave undone, and what it should look out for.

    :param errors: how many rows may be set aside as failed records
    :param watched: keys of records that failed before
    """

    errors: int = 0
    watched: tuple[Key, ...] = ()


@dataclass(frozen=True, slots=True)
class Merged:
    """What a merge came to.

    :param failed: the rows that were set aside; ``counts.errors`` of them
    :param changes: what was done about columns that did not fit
    :param settled: those of the watched keys of which a row has been loaded, or has lost to a better one
    """

    counts: Counts
    failed: tuple[FailedRecord, ...] = ()
    changes: tuple[SchemaChange, ...] = ()
    settled: tuple[Key, ...] = ()


@dataclass(frozen=True, slots=True)
class Landed:
    """A chunk that has been merged by a destination away from the state tables.

    :param merged: what that came to, as ``merge`` gave it or would have given it
    :param position: the mark's
    """

    merged: Merged
    position: Position | None = None


@dataclass(frozen=True, slots=True)
class MergeKeys:
    """By which columns rows are told apart and put in order.

    :param primary_key: the columns that name a record
    :param cursor_field: the later of two rows of one key is the one with the higher cursor
    :param are_new: whether the rows are likely to meet none of their keys: those of a first load, each key once. It
        may prove wrong
    """

    primary_key: tuple[str, ...]
    cursor_field: str
    are_new: bool = False


class KeySource(Protocol):
    """Tells which keys there are."""

    def read_keys(self) -> Generator[pa.RecordBatch]:
        """All keys of the stream in one snapshot, each batch with the same schema.

        Yields at least one batch, empty if need be: it carries the schema.
        """

    def find_present(self, keys: KeyBlock) -> set[int]:
        """The places in the block, from 0, of keys that are there now, in a snapshot taken after the call."""


class Comparison(Protocol):
    """The keys of both sides laid beside each other: which rows of the destination are suspect.

    A row is suspect when it is live and its key was not at the source, or is flagged as deleted and its key was.
    The promise: ``settle`` deletes, flags or brings back a row only if the source says so while nobody can write
    to the destination's table, so a row that a sync has loaded meanwhile is judged as the source has it now.
    """

    @property
    def numbers(self) -> ComparisonNumbers: ...

    def add_flag(self, connection: Connection) -> None:
        """Add the column that flags rows as deleted, in the caller's transaction, where it is absent."""

    def settle(
        self, connection: Connection, first: int, last: int, find_present: Callable[[KeyBlock], set[int]]
    ) -> Settled:
        """Act on the suspects numbered ``first`` to ``last``, in the caller's transaction.

        :param find_present: asks the source; called while the table is locked against writers
        """


@dataclass(frozen=True, slots=True)
class ComparisonNumbers:
    """What a comparison found.

    :param keys: how many rows the source has
    :param compared: how many rows of the destination were compared
    :param absent: how many of them are not at the source
    :param returned: how many flagged rows are at the source
    """

    keys: int
    compared: int
    absent: int
    returned: int

    @property
    def suspects(self) -> int:
        return self.absent + self.returned


class KeyDestination(Protocol):
    """Compares keys with those of its table, by its own equality."""

    @property
    def engine(self) -> Engine:
        """Where the state tables live, in reach of a block's transaction."""

    @property
    def target(self) -> str:
        """The table's name."""

    def compare(
        self, name: str, batches: Iterable[pa.RecordBatch], rules: ReconcileRules
    ) -> AbstractContextManager[Comparison]:
        """Stage the keys under a name and compare; what is staged is removed at the end of the context."""
