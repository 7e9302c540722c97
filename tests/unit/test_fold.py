"""Folding changes and applying the last words gives the table that applying every change gives."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_etl_sync.cdc.fold import Fold, TableFold
from airflow_etl_sync.core.changes import (
    UNCHANGED,
    Change,
    Delete,
    Insert,
    Relation,
    RelationColumn,
    Truncate,
    Update,
    Values,
)
from airflow_etl_sync.errors import ConfigurationError, SchemaError

COLUMNS = (RelationColumn("id", True, 25, -1), RelationColumn("v", False, 25, -1), RelationColumn("big", False, 25, -1))
TABLE = Relation(1, "public", "t", "d", COLUMNS)
FULL = Relation(2, "public", "f", "f", tuple(RelationColumn(c.name, True, c.type_oid, -1) for c in COLUMNS))
Rows = dict[str, tuple[str | None, str | None, str | None]]
KEYS = st.sampled_from("abcd")
TEXTS = st.sampled_from([None, "x", "y", "z"])


@dataclass
class Log:
    """What happens to a table, and the changes that its log tells."""

    relation: Relation
    rows: Rows
    changes: list[Change] = field(default_factory=list)

    def insert(self, key: str, v: str | None, big: str | None) -> None:
        if key not in self.rows:
            self.rows[key] = (key, v, big)
            self.changes.append(Insert(self.relation, self.rows[key]))

    def update(self, key: str, new_key: str, v: str | None, big: str | None, *, touches_big: bool) -> None:
        if key not in self.rows or (new_key != key and new_key in self.rows):
            return
        old = self.rows.pop(key)
        self.rows[new_key] = (new_key, v, big if touches_big else old[2])
        left_out = None if old[2] is None else UNCHANGED  # no NULL is kept out of line
        told: Values = (new_key, v, big if touches_big else left_out)
        before: Values | None = (key, None, None) if key != new_key else None
        is_full = self.relation is FULL
        self.changes.append(Update(self.relation, old if is_full else before, told, not is_full))

    def delete(self, key: str) -> None:
        if key in self.rows:
            old = self.rows.pop(key)
            is_full = self.relation is FULL
            self.changes.append(Delete(self.relation, old if is_full else (key, None, None), not is_full))

    def truncate(self) -> None:
        self.rows.clear()
        self.changes.append(Truncate((self.relation,)))


def applied(rows: Rows, fold: TableFold) -> Rows:
    """What a destination does with a fold: it reads what it needs first, then empties, deletes and puts."""
    put: Rows = {}
    for (key,), upsert in fold.upserts.items():
        there = rows.get(upsert.moved_from[0] if upsert.moved_from else key)
        put[key] = tuple(  # type: ignore[assignment]
            there[place] if there and value is UNCHANGED else value for place, value in enumerate(upsert.values)
        )
    left = {} if fold.is_truncated else {key: row for key, row in rows.items() if (key,) not in fold.deletes}
    return left | put


DEEDS = st.lists(
    st.one_of(
        st.tuples(st.just("insert"), KEYS, KEYS, TEXTS, TEXTS, st.booleans()),
        st.tuples(st.just("update"), KEYS, KEYS, TEXTS, TEXTS, st.booleans()),
        st.tuples(st.just("delete"), KEYS, KEYS, TEXTS, TEXTS, st.booleans()),
        st.tuples(st.sampled_from(["truncate", "update", "update"]), KEYS, KEYS, TEXTS, TEXTS, st.booleans()),
    ),
    max_size=30,
)


@given(deeds=DEEDS, piece=st.integers(1, 30), is_full=st.booleans())
def test_any_cut_into_pieces_gives_the_same_table(
    deeds: list[tuple[str, str, str, str, str, bool]], piece: int, is_full: bool
) -> None:
    relation = FULL if is_full else TABLE
    start: Rows = {"a": ("a", "x", "1"), "b": ("b", None, "2")}
    log, there = Log(relation, dict(start)), dict(start)
    for deed, key, other, v, big, flag in deeds:
        if deed == "insert":
            log.insert(key, v, big)
        elif deed == "update":
            log.update(key, other, v, big, touches_big=flag)
        elif deed == "delete":
            log.delete(key)
        else:
            log.truncate()
    for first in range(0, len(log.changes), piece):
        fold = Fold({"public.f": ["id"]})
        for change in log.changes[first : first + piece]:
            assert fold.fits(change)
            fold.add(change)
        there = applied(there, fold.tables[relation.id])
    assert there == log.rows


def test_two_rows_that_swap_their_keys_take_their_values_along() -> None:
    log = Log(TABLE, {"a": ("a", "x", "1"), "b": ("b", "y", "2")})
    before = dict(log.rows)
    log.update("a", "c", "x", None, touches_big=False)
    log.update("b", "a", "y", None, touches_big=False)
    log.update("c", "b", "x", None, touches_big=False)
    fold = Fold()
    for change in log.changes:
        fold.add(change)
    table = fold.tables[1]
    assert {key: row.moved_from for key, row in table.upserts.items()} == {("a",): ("b",), ("b",): ("a",)}
    assert table.deletes == {("c",): None}
    assert applied(before, table) == log.rows
    assert (table.changes, fold.changes) == (3, 3)


def test_a_table_with_other_columns_does_not_fit() -> None:
    fold = Fold()
    fold.add(Insert(TABLE, ("a", None, None)))
    wider = Relation(1, "public", "t", "d", (*COLUMNS, RelationColumn("w", False, 25, -1)))
    assert not fold.fits(Insert(wider, ("b", None, None, None)))
    assert fold.fits(Delete(TABLE, ("a", None, None)))
    assert fold.fits(Insert(FULL, ("a", None, None)))


def test_an_identity_that_tells_no_key_is_named() -> None:
    nothing = Relation(3, "public", "n", "n", COLUMNS)
    with pytest.raises(ConfigurationError, match=r"public\.n has replica identity NOTHING"):
        Fold({"public.n": ["id"]}).add(Delete(nothing, ("a", None, None)))
    other = Relation(4, "public", "o", "i", (RelationColumn("id", False, 25, -1), RelationColumn("u", True, 25, -1)))
    with pytest.raises(SchemaError, match=r"does not tell its row's key \(id\)"):
        Fold({"public.o": ["id"]}).add(Delete(other, (None, "1")))
    with pytest.raises(SchemaError, match="come without nonesuch"):
        Fold({"public.t": ["nonesuch"]}).add(Insert(TABLE, ("a", None, None)))
