"""The nouns of a sync: what is read, which slice of it, what is handed on, what came of it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, astuple, dataclass, field, replace
from datetime import timedelta
from typing import Any, Literal, get_args

from airflow_etl_sync.core.endpoint import Endpoint
from airflow_etl_sync.core.files import FileSet
from airflow_etl_sync.errors import ConfigurationError

ConflictStrategy = Literal["source_wins", "dest_wins", "latest_wins", "merge_non_null"]
OnCursorNull = Literal["include", "exclude", "raise"]
SchemaContract = Literal["evolve", "freeze", "discard_column", "discard_row"]
CursorType = Literal["timestamptz", "timestamp", "date", "integer", "numeric", "text", "xid"]
Kind = Literal["incremental", "full_refresh", "backfill", "replay", "reconcile", "cdc"]

LONGEST_NAME_BYTES = 63
"""PostgreSQL cuts a longer name, and then means another thing by it."""

_LONGEST_SYNC_KEY = 250
TIME_CURSORS: tuple[CursorType, ...] = ("timestamptz", "timestamp", "date")


@dataclass(frozen=True, slots=True)
class TableName:
    """A table, its parts taken literally: no case is folded, no character is special.

    :param name: the table's name
    :param schema: its schema; None lets the database's search path decide
    """

    name: str
    schema: str | None = None

    def __post_init__(self) -> None:
        _refuse_unstorable("table", self.name, self.schema)

    @classmethod
    def parse(cls, text: str) -> TableName:
        """Read ``table``, ``schema.table`` or the same with double-quoted parts (``"a.b"."c"``).

        :raises ConfigurationError: where the text is no such name
        """
        parts = _name_parts(text.strip())
        if parts is None or not all(parts) or len(parts) > 2 or "\0" in text:
            raise ConfigurationError(f'{text!r} is not a table name: write table, schema.table or "schema"."table".')
        return cls(parts[-1], parts[0] if len(parts) == 2 else None)

    def __str__(self) -> str:
        """As :meth:`parse` reads it back."""
        return ".".join(_shown(part) for part in (self.schema, self.name) if part)


def _shown(part: str) -> str:
    is_plain = not re.search('[."]', part) and part == part.strip()
    return part if is_plain else '"' + part.replace('"', '""') + '"'


def _name_parts(text: str) -> list[str] | None:
    """The parts of a dotted name; a doubled quote inside quotes stands for one, as in SQL."""
    if not text.startswith('"'):
        head, dot, tail = text.partition(".")
        if not dot:
            return [text]
        rest = _name_parts(tail)
        return None if rest is None else [head, *rest]
    end = 1
    while end < len(text):
        if text[end] != '"':
            end += 1
        elif text[end : end + 2] == '""':
            end += 2
        else:
            break
    part, rest_text = text[1:end].replace('""', '"'), text[end + 1 :]
    if end >= len(text):
        return None
    if not rest_text:
        return [part]
    rest = _name_parts(rest_text[1:]) if rest_text.startswith(".") else None
    return None if rest is None else [part, *rest]


@dataclass(frozen=True, slots=True, kw_only=True)
class Stream:
    """What is read, and by which names it is recognised.

    :param sync_key: the unique name of the sync
    :param cursor_field: the column that grows when a record changes; or ``xmin``, PostgreSQL's own note of the
        transaction that wrote a row, for tables that have no such column
    :param table: the table to read; exactly one of ``table``, ``sql``, ``endpoint`` and ``files`` is given
    :param sql: the query to read
    :param endpoint: what to ask an API for
    :param files: the files to read
    :param primary_key: the columns that name a record; empty takes the table's own key
    :param columns: the columns to read; empty takes all
    :param where: an SQL condition of the author's that every row must meet
    :param on_cursor_null: what becomes of rows without a cursor value
    """

    sync_key: str
    cursor_field: str
    table: TableName | None = None
    sql: str | None = None
    endpoint: Endpoint | None = None
    primary_key: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()
    where: str | None = None
    on_cursor_null: OnCursorNull = "include"
    files: FileSet | None = None

    def __post_init__(self) -> None:
        _refuse_unstorable("cursor_field", self.cursor_field)
        _refuse_unstorable("primary_key", *self.primary_key)
        _refuse_unstorable("columns", *self.columns)
        _refuse_unstorable("sql or where", self.sql, self.where)
        refuse_bad_sync_key(self.sync_key)
        if not self.cursor_field:
            raise ConfigurationError(f"cursor_field is empty: name the column by which {self.sync_key!r} grows.")
        refuse_not_one(table=self.table, sql=self.sql, endpoint=self.endpoint, uri=self.files)
        if self.endpoint is not None and self.where is not None:
            raise ConfigurationError("where is an SQL condition, and an endpoint takes none: ask by its params.")
        refuse_unknown("on_cursor_null", self.on_cursor_null, get_args(OnCursorNull))


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowRules:
    """Which slice of the stream a run reads.

    :param lag: how far the watermark stays behind: a duration, or a number for integer cursors
    :param initial_value: where the very first window starts; None reads everything
    :param range_start: lowest cursor value of a backfill, included; a backfill moves no watermark
    :param range_end: upper cursor value of a backfill, excluded
    :param full_refresh: read everything, whatever the watermark says
    """

    lag: timedelta | int = timedelta(0)
    initial_value: str | None = None
    range_start: str | None = None
    range_end: str | None = None
    full_refresh: bool = False

    def __post_init__(self) -> None:
        for name in ("initial_value", "range_start", "range_end"):
            _refuse_unstorable(name, getattr(self, name))
        if self.full_refresh and self.kind == "backfill":
            raise ConfigurationError("full_refresh and range_start/range_end exclude each other: choose one.")

    @property
    def kind(self) -> Kind:
        if self.range_start is not None or self.range_end is not None:
            return "backfill"
        return "full_refresh" if self.full_refresh else "incremental"


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadRules:
    """How rows land in the destination table.

    :param primary_key: the columns that name a record; empty takes those of the extraction
    :param conflict: who wins where a record is there already
    :param conflict_field: the column ``latest_wins`` compares; None takes the cursor field
    :param create_table: whether an absent table is created with the source's types and key
    :param synced_at_column: a ``timestamptz`` column that the load sets on rows it inserts or changes
    :param schema_contract: what becomes of columns that the table lacks, or whose type cannot hold their values
    :param max_errors: how many rows of a run may be set aside as failed records; None sets no such limit where
        ``max_error_percent`` is given, else none may
    :param max_error_percent: how many per cent of the rows that a run has loaded so far may be, from 0 to 100
    """

    primary_key: tuple[str, ...] = ()
    conflict: ConflictStrategy = "source_wins"
    conflict_field: str | None = None
    create_table: bool = True
    synced_at_column: str | None = None
    schema_contract: SchemaContract = "evolve"
    max_errors: int | None = None
    max_error_percent: float | None = None

    def __post_init__(self) -> None:
        _refuse_unstorable("primary_key", *self.primary_key)
        _refuse_unstorable("conflict_field", self.conflict_field)
        _refuse_unstorable("synced_at_column", self.synced_at_column)
        refuse_unknown("conflict", self.conflict, get_args(ConflictStrategy))
        refuse_unknown("schema_contract", self.schema_contract, get_args(SchemaContract))
        if self.max_errors is not None and self.max_errors < 0:
            raise ConfigurationError("max_errors must not be negative: 0 lets the first bad row fail the run.")
        if self.max_error_percent is not None and not 0 <= self.max_error_percent <= 100:
            raise ConfigurationError("max_error_percent must lie between 0 and 100.")
        if self.schema_contract == "discard_row" and not self.tolerates_errors:
            raise ConfigurationError(
                "schema_contract 'discard_row' sets rows aside as failed records: say with max_errors or "
                "max_error_percent how many there may be."
            )

    @property
    def tolerates_errors(self) -> bool:
        return bool(self.max_errors or self.max_error_percent)

    def allowed_errors(self, loaded: Counts, rows: int) -> int:
        """How many of the next rows may be set aside.

        :param loaded: what became of the run's rows so far
        :param rows: how many come now
        """
        limits = [] if self.max_errors is None else [self.max_errors]
        if self.max_error_percent is not None:
            limits.append(int((loaded.processed + rows) * self.max_error_percent / 100))
        return max(0, min(limits, default=0) - loaded.errors)


@dataclass(frozen=True, slots=True)
class CursorValue:
    """A cursor value as the source writes it, so that no precision is lost on the way.

    :param type: its type
    :param text: its text in PostgreSQL's output format under pinned settings (ISO dates, UTC)
    """

    type: CursorType
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """One run's slice: rows with ``cursor >= low``; the next window starts at ``high``.

    :param low: where reading starts; None reads from the beginning
    :param high: the next watermark, which comes from the source; None when none is known yet
    :param below: upper bound, excluded, of a backfill; other windows have none
    :param protection: what keeps late commits from being passed over, in words
    """

    low: CursorValue | None = None
    high: CursorValue | None = None
    below: CursorValue | None = None
    protection: str = "none"

    @property
    def is_unbounded(self) -> bool:
        """Whether it is all there is at the source."""
        return self.low is None and self.below is None


@dataclass(frozen=True, slots=True)
class Chunk:
    """One staged Parquet object.

    :param number: its place in the extraction, from 0
    :param rows: how many rows it holds
    :param bytes: its size
    :param writer: which try wrote it; a try that is slow to die cannot replace what its successor wrote
    """

    number: int
    rows: int
    bytes: int
    writer: str = ""


@dataclass(frozen=True, slots=True)
class Counts:
    """What became of the rows of a load; ``processed`` is their sum by definition."""

    inserted: int = 0
    updated: int = 0
    skipped: int = 0
    errors: int = 0

    @property
    def processed(self) -> int:
        return self.inserted + self.updated + self.skipped + self.errors

    def __add__(self, other: Counts) -> Counts:
        return Counts(
            self.inserted + other.inserted,
            self.updated + other.updated,
            self.skipped + other.skipped,
            self.errors + other.errors,
        )

    def to_json(self) -> dict[str, int]:
        return {"processed": self.processed, **asdict(self)}

    def __str__(self) -> str:
        return ", ".join(f"{name} {count}" for name, count in self.to_json().items())


@dataclass(frozen=True, slots=True)
class RunIdentity:
    """Whose work an extraction is: by it a retry finds the extraction that its last try began.

    :param map_index: the place of a mapped task, -1 for others
    """

    dag_id: str
    task_id: str
    run_id: str
    map_index: int = -1


@dataclass(frozen=True, slots=True)
class Dataset:
    """A table as lineage names it.

    :param namespace: its server, such as ``postgres://host:5432``
    :param name: the table there, such as ``shop.public.orders``
    """

    namespace: str
    name: str


@dataclass(frozen=True, slots=True)
class Origin:
    """What a stream reads, for lineage.

    :param is_table: whether the stream is that one table, so that each column is what it was there
    """

    datasets: tuple[Dataset, ...] = ()
    is_table: bool = False

    def through(self, transform: object | None) -> Origin:
        """What is known of rows that went through a transform: where they are from, but not what each column was."""
        return self if transform is None else replace(self, is_table=False)

    def to_json(self) -> list[Any]:
        return [self.is_table, *([dataset.namespace, dataset.name] for dataset in self.datasets)]

    @classmethod
    def from_json(cls, value: Sequence[Any]) -> Origin:
        is_table, *names = value
        texts = [text for name in names for text in name]
        if not isinstance(is_table, bool) or not all(isinstance(text, str) for text in texts):
            raise TypeError
        return cls(tuple(Dataset(*name) for name in names), is_table)


@dataclass(frozen=True, slots=True, kw_only=True)
class Extraction:
    """What an extract hands on: small, and never rows.

    :param extraction_id: new for each fresh extraction, kept by its retries
    :param kind: ``backfill`` extractions move no watermark
    :param primary_key: the key of the stream
    :param cursor_field: its cursor
    :param staging_uri: where the chunks are
    :param host: the machine that wrote them
    :param ordered: whether chunks must be loaded one after another, because a key may stand in two of them
    :param origin: where the rows came from
    """

    extraction_id: str
    sync_key: str
    kind: Kind
    window: Window
    primary_key: tuple[str, ...]
    cursor_field: str
    staging_uri: str
    host: str
    chunks: tuple[Chunk, ...] = field(default=())
    ordered: bool = False
    origin: Origin = Origin()

    @property
    def is_whole(self) -> bool:
        """Whether it is all there was at the source, read in one go and each key once."""
        return self.window.is_unbounded and not self.ordered

    @property
    def rows(self) -> int:
        return sum(chunk.rows for chunk in self.chunks)

    def parts(self, count: int) -> list[Extraction]:
        """Deal the chunks into at most ``count`` parts that may be loaded at the same time."""
        if self.ordered or not self.chunks:
            return [self]
        hands = min(max(count, 1), len(self.chunks))
        return [replace(self, chunks=self.chunks[hand::hands]) for hand in range(hands)]

    def to_json(self) -> dict[str, Any]:
        """The extraction as JSON; chunks shrink to ``[number, rows, bytes, writer]``."""
        known = {name: getattr(self, name) for name in self.__slots__ if name not in ("window", "chunks", "origin")}
        chunks = [list(astuple(chunk)) for chunk in self.chunks]
        return {
            **known,
            "primary_key": list(self.primary_key),
            "window": asdict(self.window),
            "chunks": chunks,
            "origin": self.origin.to_json(),
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Extraction:
        """:raises ConfigurationError: where the value is no extraction"""
        try:
            if not _is_sound(value):
                raise TypeError
            window = {key: _cursor(part) for key, part in value["window"].items()}
            return cls(
                **{
                    **value,
                    "window": Window(**window),
                    "primary_key": tuple(value["primary_key"]),
                    "chunks": tuple(Chunk(*chunk) for chunk in value["chunks"]),
                    "origin": Origin.from_json(value.get("origin", [False])),
                }
            )
        except (KeyError, TypeError, AttributeError, ValueError):
            raise ConfigurationError(
                "extraction is not what an IncrementalExtractOperator returned: pass extract.output."
            ) from None

    @classmethod
    def from_xcom(cls, value: Mapping[str, Any] | Sequence[Mapping[str, Any]]) -> Extraction:
        """Read one part, or join all parts of one extraction.

        :raises ConfigurationError: where the value is none, or mixes two extractions
        """
        parts = [cls.from_json(part) for part in _as_sequence(value)]
        if not parts or len({part.extraction_id for part in parts}) != 1:
            raise ConfigurationError("extraction must be one part, or all parts, of exactly one extraction.")
        chunks = sorted({chunk for part in parts for chunk in part.chunks}, key=lambda chunk: chunk.number)
        return replace(parts[0], chunks=tuple(chunks))


def _is_sound(value: Mapping[str, Any]) -> bool:
    """Whether every part of an extraction's JSON is of its type: what comes through XCom may have been changed."""
    texts = [value[name] for name in ("extraction_id", "sync_key", "cursor_field", "staging_uri", "host")]
    bounds = [value["window"][name] for name in ("low", "high", "below") if value["window"][name] is not None]
    numbers = [number for chunk in value["chunks"] for number in chunk[:3]]
    texts += [value["window"]["protection"], *(bound["text"] for bound in bounds), *value["primary_key"]]
    texts += [writer for chunk in value["chunks"] for writer in chunk[3:]]
    return (
        all(isinstance(text, str) for text in texts)
        and all(type(number) is int and number >= 0 for number in numbers)
        and all(bound["type"] in get_args(CursorType) for bound in bounds)
        and value["kind"] in get_args(Kind)
        and isinstance(value["ordered"], bool)
        and isinstance(value["primary_key"], list)
    )


def _as_sequence(value: Any) -> Iterable[Mapping[str, Any]]:
    return [value] if isinstance(value, Mapping) or not isinstance(value, Iterable) else value


def _cursor(value: Any) -> Any:
    return CursorValue(**value) if isinstance(value, Mapping) else value


def _refuse_unstorable(name: str, *texts: str | None) -> None:
    """What no database takes: NUL, and halves of a surrogate pair."""
    if any(text is not None and re.search("[\0\ud800-\udfff]", text) for text in texts):
        raise ConfigurationError(f"{name} holds a character that no database can store: remove it.")


def refuse_bad_sync_key(sync_key: str) -> None:
    """Keep out what cannot name a sync.

    :raises ConfigurationError: where it is empty, too long, or cannot be stored
    """
    _refuse_unstorable("sync_key", sync_key)
    if len(sync_key) > _LONGEST_SYNC_KEY:
        raise ConfigurationError(f"sync_key is longer than {_LONGEST_SYNC_KEY} characters: shorten it.")
    if not sync_key.strip():
        raise ConfigurationError("sync_key is empty: give the sync a unique name.")


def refuse_not_one(**streams: object) -> None:
    """Keep out what names no stream, or more than one.

    :param streams: the arguments that name one, None where they are not given
    :raises ConfigurationError: naming them
    """
    if sum(given is not None for given in streams.values()) != 1:
        *names, last = streams
        raise ConfigurationError(f"Give exactly one of {', '.join(names)} and {last}: they say what the stream is.")


def refuse_unknown(name: str, value: str, allowed: tuple[str, ...]) -> None:
    """Keep out a word that is none of those that an argument takes.

    :raises ConfigurationError: naming the argument and what it takes
    """
    if value not in allowed:
        raise ConfigurationError(f"{name} {value!r} is not known: use one of {', '.join(allowed)}.")
