"""A log told by the rules of pgoutput, cut anywhere, folded and applied, gives the source's table.

The model has what makes this hard: keys that move and swap, values out of line, a row filter, partitions that
tell less than they say, a first copy in chunks while rows change, and reads of the source that see later rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import count
from typing import Literal, cast

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from airflow_etl_sync.cdc.fold import Fold, TableFold
from airflow_etl_sync.cdc.keyed import Key
from airflow_etl_sync.core.changes import (
    UNCHANGED,
    Change,
    Delete,
    Insert,
    Relation,
    RelationColumn,
    Truncate,
    Update,
    Value,
    Values,
)

NAMES, PLACES, BIG = ("v", "id", "big", "part"), (1, 3), 2
KEYS: list[Key] = [("a", "1"), ("a", "2"), ("b", "1")]
Row = tuple[str | None, ...]
Rows = dict[Key, Row]
Telling = Literal["default", "full", "full over default"]
"""What is told of an old row: its key, all, or the key marked as all (by partitions of a table with FULL)."""


def key_of(row: Row) -> Key:
    return cast("Key", tuple(row[place] for place in PLACES))


@dataclass
class Source:
    """A table with a row filter: rows that pass it, and hidden ones. States and changes are of what passes."""

    telling: Telling
    rows: Rows = field(default_factory=dict)
    hidden: Rows = field(default_factory=dict)
    changes: list[Change] = field(default_factory=list)
    values: Iterator[int] = field(default_factory=count)

    def __post_init__(self) -> None:
        identity: Literal["d", "f"] = "d" if self.telling == "default" else "f"
        columns = (RelationColumn(name, identity == "f" or name in ("id", "part"), 25, -1) for name in NAMES)
        self.relation = Relation(1, "public", "t", identity, tuple(columns))
        self.rows = {key: self._row(key, "long") for key in KEYS[:2]}
        self.states = [dict(self.rows)]

    def insert(self, key: Key, big: str) -> None:
        self.rows[key] = self._row(key, big)
        self._tell(Insert(self.relation, self.rows[key]))

    def update(self, key: Key, to: Key, big: str) -> None:
        old = self.rows.pop(key)
        new = self.rows[to] = self._row(to, big, old)
        before = self._old(old) if to != key or self.telling == "full" else None
        self._tell(Update(self.relation, before, self._new(new, big), self.telling == "default"))

    def update_key_out_of_line(self, key: Key, big: str) -> None:
        old = self.rows[key]
        new = self.rows[key] = self._row(key, big, old)
        told = (*self._new(new, big)[:3], UNCHANGED)
        self._tell(Update(self.relation, self._old(old), told, self.telling == "default"))

    def delete(self, key: Key) -> None:
        self._tell(Delete(self.relation, self._old(self.rows.pop(key)), self.telling == "default"))

    def truncate(self) -> None:
        self.rows.clear()
        self.hidden.clear()
        self._tell(Truncate((self.relation,)))

    def hide(self, key: Key) -> None:
        """An update after which the filter does not let the row pass: a delete."""
        self.hidden[key] = self.rows[key]
        self.delete(key)

    def change_hidden(self, key: Key) -> None:
        self.hidden[key] = self._row(key, "long")

    def show(self, key: Key, to: Key, big: str) -> None:
        """An update after which the filter lets the row pass: an insert, which may leave out values."""
        new = self.rows[to] = self._row(to, big, self.hidden.pop(key))
        self._tell(Insert(self.relation, new if self.telling == "full" else self._new(new, big)))

    def _row(self, key: Key, big: str, old: Row | None = None) -> Row:
        """A row of which no other has the values; but ``same`` leaves the value that may be out of line."""
        if big == "same" and old is not None:
            return (f"v{next(self.values)}", key[0], old[BIG], key[1])
        value = None if big == "null" else f"{big} {next(self.values)}"
        return (f"v{next(self.values)}", key[0], value, key[1])

    def _tell(self, change: Change) -> None:
        self.changes.append(change)
        self.states.append(dict(self.rows))

    def _new(self, row: Row, big: str) -> Values:
        is_out_of_line = row[BIG] is not None and str(row[BIG]).startswith("long")
        return (row[0], row[1], UNCHANGED if is_out_of_line and big == "same" else row[BIG], row[3])

    def _old(self, row: Row) -> Values:
        return row if self.telling == "full" else (None, row[1], None, row[3])


@dataclass
class Destination:
    """A table that folds are applied to, by the rules that those who apply keep.

    :param copied_until: the position of the latest read of the source: before it, rows whose key moved are read there
    """

    rows: Rows
    copied_until: int

    def apply(self, fold: TableFold, position: int, source: Source, read_at: int) -> None:
        is_overlap = position < self.copied_until
        put: Rows = {}
        for key, upsert in fold.upserts.items():
            known: Row | None = None
            if not upsert.is_whole:
                if not upsert.is_new and not (upsert.moved_from and is_overlap):
                    known = self.rows.get(upsert.moved_from or key)
                if known is None:
                    known = source.states[read_at].get(key)
                    self.copied_until = max(self.copied_until, read_at)
                if known is None:
                    continue  # it is gone from there: a later change says what became of it
            put[key] = filled(upsert.values, known)
        kept = {} if fold.is_truncated else {key: row for key, row in self.rows.items() if key not in fold.deletes}
        self.rows = kept | put


def filled(values: Values, known: Row | None) -> Row:
    def value(place: int, told: Value) -> str | None:
        if isinstance(told, str) or told is None:
            return told
        assert known is not None
        return known[place]

    return tuple(value(place, told) for place, told in enumerate(values))


BIGS = st.sampled_from(["same", "same", "same", "long", "short", "null"])


def happens(draw: st.DrawFn, source: Source) -> None:
    """One deed, possible at its time."""
    shown, hidden = sorted(source.rows), sorted(source.hidden)
    free = [key for key in KEYS if key not in shown and key not in hidden]
    deeds: list[Callable[[], None]] = [source.truncate]
    if free:
        deeds += [lambda: source.insert(draw(st.sampled_from(free)), draw(BIGS))] * 2
    if shown:
        key = draw(st.sampled_from(shown))
        deeds += [lambda: source.update(key, draw(st.sampled_from([*free, key])), draw(BIGS))] * 6
        deeds += [lambda: source.update_key_out_of_line(key, draw(BIGS))]
        deeds += [lambda: source.delete(key), lambda: source.hide(key)]
    if hidden:
        veiled = draw(st.sampled_from(hidden))
        deeds += [lambda: source.show(veiled, draw(st.sampled_from([*free, veiled])), draw(BIGS))] * 2
        deeds += [lambda: source.change_hidden(veiled)]
    draw(st.sampled_from(deeds))()


@st.composite
def sources(draw: st.DrawFn) -> Source:
    source = Source(draw(st.sampled_from(["default", "full", "full over default"])))
    for _ in range(draw(st.integers(1, 20))):
        happens(draw, source)
    return source


@settings(max_examples=500, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(source=sources(), data=st.data())
def test_any_log_cut_anywhere_gives_the_source(source: Source, data: st.DataObject) -> None:
    end = len(source.changes)
    chunks = sorted(data.draw(st.lists(st.integers(0, end), min_size=len(KEYS), max_size=len(KEYS)), label="copied at"))
    copied = {key: source.states[at][key] for key, at in zip(KEYS, chunks, strict=True) if key in source.states[at]}
    there, position = Destination(copied, copied_until=chunks[-1]), 0
    while position < end:
        cut = data.draw(st.integers(position + 1, end), label="cut")
        fold = Fold({"public.t": ["id", "part"]})
        for change in source.changes[position:cut]:
            assert fold.fits(change)
            fold.add(change)
        assert fold.changes == fold.tables[1].changes == cut - position
        assert not fold.tables[1].upserts.keys() & fold.tables[1].deletes.keys()
        there.apply(fold.tables[1], position, source, read_at=data.draw(st.integers(cut, end), label="read at"))
        position = cut
    assert there.rows == source.rows
