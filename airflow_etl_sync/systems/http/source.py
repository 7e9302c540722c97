"""An endpoint of a JSON API as a source."""

from __future__ import annotations

import hashlib
import re
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any

from airflow_etl_sync.core.endpoint import Endpoint
from airflow_etl_sync.core.model import CursorType, CursorValue, Stream, Window, WindowRules
from airflow_etl_sync.errors import ConfigurationError, DataError, SchemaError
from airflow_etl_sync.state.watermarks import Watermark
from airflow_etl_sync.systems.base import OpenedWindow, PlannedRead, Position, Shape
from airflow_etl_sync.systems.database.columns import DatabaseColumn
from airflow_etl_sync.systems.http.access import HttpAccess
from airflow_etl_sync.systems.http.answers import Answer
from airflow_etl_sync.systems.http.asking import Client
from airflow_etl_sync.systems.http.columns import Columns, Record, declared_column
from airflow_etl_sync.systems.http.failures import RefusedError
from airflow_etl_sync.systems.http.highest import Highest
from airflow_etl_sync.systems.http.paging import Listing, Page, Place, linked_pages
from airflow_etl_sync.systems.http.positions import counted_pages, overlapping_pages
from airflow_etl_sync.systems.http.values import cursor_value, json_text
from airflow_etl_sync.systems.http.windows import Bounds, high_of, open_window
from airflow_etl_sync.systems.reading import NULL_CURSORS, empty, refuse_missing_columns, refuse_missing_key

if TYPE_CHECKING:
    import pyarrow as pa

_BATCH_RECORDS = 1_000
"""Pages are put together until there are so many records: they become one batch."""

_BATCHES_REMEMBERED = 32
"""Those whose place is known. More are never between the one being read and the one that is committed."""

_TYPES: dict[CursorType, str] = {"integer": "bigint"}
_SHORT_NUMBER = 12
_MOMENT = re.compile(r"\d{4}-\d\d-\d\d(T[\d:]+Z?)?$")


@dataclass(frozen=True, slots=True)
class _Looked:
    """What the first page of the whole list shows.

    :param clock: the API's, before anything is read
    """

    columns: Columns
    clock: datetime | None


class HttpSource:
    """Reads an API's list page by page, see :class:`~airflow_etl_sync.systems.base.Source`.

    It cannot see who is writing, so it keeps the promise as far as ``lag`` is longer than the API takes to show a
    change; the window says so. Its high is known only when it is read to its end, see :meth:`reached`.

    :param access: the API
    :param stream: what to read, which has an endpoint
    :raises ConfigurationError: where a type of ``column_types`` is not known
    """

    def __init__(self, access: HttpAccess, stream: Stream) -> None:
        if stream.endpoint is None:
            raise ConfigurationError(f"{stream.sync_key!r} is to be read from an API: give its endpoint.")
        self.access = access
        self._stream = stream
        self._endpoint: Endpoint = stream.endpoint
        refuse_missing_key(stream, stream.primary_key)
        self._names = _chosen(stream)
        self._columns()
        self._highest = Highest()
        self._began: datetime | None = None
        self._read_from: deque[tuple[frozenset[int], Position]] = deque(maxlen=_BATCHES_REMEMBERED)

    def describe(self) -> Shape:
        looked = self._looked
        return Shape(
            columns=tuple((column.name, column.declared) for column in looked.columns.known),
            primary_key=self._stream.primary_key,
            is_key_unique=False,
        )

    def open_window(self, watermark: Watermark, rules: WindowRules) -> OpenedWindow:
        cursor = self._cursor_for(watermark.cursor)
        if cursor is not None:
            return open_window(self._stream, cursor, watermark, rules)
        if rules.kind == "backfill" or rules.initial_value is not None:
            raise ConfigurationError(
                f"{self._stream.sync_key!r} has no records that tell the type of its cursor "
                f"{self._stream.cursor_field!r}, by which a range is read: give it in endpoint.column_types."
            )
        return OpenedWindow(Window(protection="none: there are no records yet"), [])

    def read(self, window: Window, after: Position | None) -> Generator[pa.RecordBatch]:
        columns, cursor = self._looked.columns, self._cursor_for(window.low or window.high or window.below)
        self._highest, self._began = Highest(), self._looked.clock
        if after and after["page"] and cursor is not None:
            self._highest = Highest.from_json(after["highest"], cursor)
            self._began = datetime.fromisoformat(after["clock"]) if after["clock"] else None
        elif window.is_unbounded and columns.known:
            yield empty(columns.batch([]).schema)
        bounds = Bounds(self._endpoint, cursor, window)
        with self._client("read") as client:
            waiting: list[Record] = []
            place: dict[str, Any] = {}
            for page in self._pages(client, bounds, (after or {}).get("page", {})):
                if not waiting:
                    place = self._position(page.place)
                waiting += self._within(page, bounds)
                if len(waiting) >= _BATCH_RECORDS:
                    yield self._batch(columns, waiting, place)
                    waiting = []
            if waiting:
                yield self._batch(columns, waiting, place)

    def position(self, batch: pa.RecordBatch) -> Position:
        if batch.num_rows:
            last = _identities(batch.slice(batch.num_rows - 1), self._key_and_cursor)[0]
            for identities, place in self._read_from:
                if last in identities:
                    return place
        return {}

    def reached(self, window: Window, rules: WindowRules) -> CursorValue | None:
        """The high of a window that was read to its end."""
        if rules.kind == "backfill":
            return window.high
        cursor, highest = self._cursor_for(window.low or window.high), self._highest
        if cursor is None:
            return window.high
        reached = highest.value if cursor.cursor_type == "timestamptz" else highest.safe
        return high_of(cursor, window, reached, self._began, rules)

    def plan(self, window: Window) -> list[PlannedRead]:
        cursor = self._cursor_for(window.low or window.high or window.below)
        bounds = Bounds(self._endpoint, cursor, window)
        with self._client("plan the reading of") as client:
            page = next(self._pages(client, bounds, {}), Page([], {}))
        asked = "&".join(f"{name}={_shown(value)}" for name, value in self._params(bounds))
        statement = f"GET {self.access.url_of(self._endpoint.path)}" + (f"?{asked}" if asked else "")
        return [PlannedRead(statement, len(self._within(page, bounds)))]

    @cached_property
    def _looked(self) -> _Looked:
        columns = self._columns()
        with self._client("look at") as client:
            listing = self._listing(client, self._endpoint.params)
            answer = self._first(listing)
            records = listing.records_of(answer)
        columns.tell(records)
        if records:
            told = [name for record in records for name in record]
            names = list(dict.fromkeys([*told, *(name for name, _ in self._endpoint.column_types)]))
            refuse_missing_columns(self._stream, self._names or self._key_and_cursor, names)
        if self._stream.on_cursor_null == "raise":
            self._refuse_null_cursors(records)
        return _Looked(columns, answer.clock)

    def _first(self, listing: Listing) -> Answer:
        pages = listing.pages
        sized = [(pages.size_param, str(pages.size))] if pages.size_param and pages.size else []
        try:
            return listing.ask(sized)
        except RefusedError as error:
            if error.status in (404, 410):
                raise SchemaError(str(error)) from None
            raise

    def _pages(self, client: Client, bounds: Bounds, after: Place) -> Iterator[Page]:
        pages = self._endpoint.pages
        counted = overlapping_pages if pages.overlap else counted_pages
        way = counted if pages.type in ("page_number", "offset") else linked_pages
        return way(self._listing(client, tuple(self._params(bounds))), after, self._identify)

    def _listing(self, client: Client, params: tuple[tuple[str, str], ...]) -> Listing:
        url = self.access.url_of(self._endpoint.path)
        return Listing(client=client, endpoint=self._endpoint, url=url, params=params)

    def _params(self, bounds: Bounds) -> list[tuple[str, str]]:
        window = dict(bounds.params())
        return [*((name, value) for name, value in self._endpoint.params if name not in window), *window.items()]

    def _client(self, doing: str) -> Client:
        return Client(self.access, f"{doing} {self._stream.sync_key!r}", self._endpoint.headers)

    def _columns(self) -> Columns:
        return Columns(self._names, self._endpoint.column_types, self._stream.cursor_field)

    @property
    def _key_and_cursor(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys([*self._stream.primary_key, self._stream.cursor_field]))

    def _cursor_for(self, known: CursorValue | None) -> DatabaseColumn | None:
        """The cursor's column: of the type that was given or told; where no record tells any, that of the watermark."""
        name, columns = self._stream.cursor_field, self._looked.columns
        if columns.get(name) is None and known is not None:
            columns.take(declared_column(name, _TYPES.get(known.type, known.type)))
        return columns.get(name)

    def _within(self, page: Page, bounds: Bounds) -> list[Record]:
        """The records of a page that are in the window, whose cursors are noted."""
        if self._stream.on_cursor_null == "raise":
            self._refuse_null_cursors(page.records)
        name, held, cursors = self._stream.cursor_field, list[Record](), list[Any]()
        if self._looked.columns.get(name) is None:
            self._looked.columns.tell(page.records)
        cursor = self._looked.columns.get(name)
        for record in page.records:
            given = record.get(name)
            value = None if given is None or cursor is None else cursor_value(cursor, given)
            if bounds.holds(value) and not (value is None and self._stream.on_cursor_null == "exclude"):
                held.append(record)
                cursors.append(value)
        self._highest.look(cursors)
        return held

    def _refuse_null_cursors(self, records: Sequence[Record]) -> None:
        name = self._stream.cursor_field
        if any(record.get(name) is None for record in records):
            raise DataError(NULL_CURSORS.format(sync_key=self._stream.sync_key, cursor_field=name))

    def _position(self, place: Place) -> dict[str, Any]:
        clock = self._began.isoformat() if self._began else None
        return {"page": dict(place), "highest": self._highest.to_json(), "clock": clock}

    def _batch(self, columns: Columns, records: list[Record], place: Position) -> pa.RecordBatch:
        batch = columns.batch(records)
        names = [name for name in self._key_and_cursor if name in batch.schema.names]
        self._read_from.append((frozenset(_identities(batch, names)), place))
        return batch

    def _identify(self, record: Record) -> str:
        told = json_text([record.get(name) for name in self._key_and_cursor])
        return hashlib.sha256(told.encode(errors="replace")).hexdigest()[:24]


def _chosen(stream: Stream) -> tuple[str, ...]:
    """The columns to read, the cursor and the key among them; none where all are read."""
    return tuple(dict.fromkeys([*stream.columns, stream.cursor_field, *stream.primary_key])) if stream.columns else ()


def _identities(batch: pa.RecordBatch, names: Sequence[str]) -> list[int]:
    """Numbers by which rows are found again, in this process only."""
    rows = batch.select([name for name in names if name in batch.schema.names]).to_pylist()
    return [hash(tuple(map(str, row.values()))) for row in rows]


def _shown(value: str) -> str:
    """A parameter's value as it may be told: a number or a time, and nothing that may be a secret."""
    is_number = value.isdecimal() and len(value) <= _SHORT_NUMBER
    return value if is_number or _MOMENT.match(value) else "…"
