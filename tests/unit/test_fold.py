"""What folding makes of each kind of change; that it holds for any log, see test_fold_replay.py."""

from __future__ import annotations

import pytest

from airflow_etl_sync.cdc.fold import Fold, TableFold, Upsert
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
)
from airflow_etl_sync.errors import ConfigurationError, SchemaError

COLUMNS = (RelationColumn("id", True, 25, -1), RelationColumn("v", False, 25, -1), RelationColumn("big", False, 25, -1))
TABLE = Relation(1, "public", "t", "d", COLUMNS)
FULL = Relation(2, "public", "f", "f", tuple(RelationColumn(each.name, True, 25, -1) for each in COLUMNS))


def insert(key: str | None, v: Value = None, big: Value = None) -> Insert:
    return Insert(TABLE, (key, v, big))


def update(key: str, v: Value = None, big: Value = UNCHANGED, *, was: str | None = None) -> Update:
    return Update(TABLE, None if was is None else (was, None, None), (key, v, big))


def delete(key: str | None) -> Delete:
    return Delete(TABLE, (key, None, None))


def folded(*changes: Change) -> TableFold:
    fold = Fold({"public.f": ["id"]})
    for change in changes:
        fold.add(change)
    (table,) = fold.tables.values()
    assert fold.changes == table.changes == len(changes)
    return table


def test_the_last_word_counts() -> None:
    table = folded(insert("a", "1"), insert("b"), delete("a"), delete("c"), insert("c", "2"), update("b", "3", "4"))
    assert table.upserts == {("b",): Upsert(("b", "3", "4")), ("c",): Upsert(("c", "2", None))}
    assert table.deletes == {("a",): None}
    assert not table.is_truncated


def test_values_left_out_come_from_the_row_as_it_was_folded() -> None:
    assert folded(insert("a", "1", "big"), update("a", "2"), update("b", "3", was="a")).upserts == {
        ("b",): Upsert(("b", "3", "big"))
    }


def test_values_left_out_of_a_row_unknown_stay_so() -> None:
    upsert = folded(update("a", "1"), update("a", "2")).upserts[("a",)]
    assert upsert == Upsert(("a", "2", UNCHANGED))
    assert not upsert.is_whole


def test_values_left_out_come_from_a_whole_old_row() -> None:
    change = Update(FULL, ("a", "1", "big"), ("b", "1", UNCHANGED), is_old_key=False)
    assert folded(change).upserts == {("b",): Upsert(("b", "1", "big"))}


def test_an_old_row_that_is_none_gives_no_nulls_for_values() -> None:
    change = Update(FULL, ("a", None, None), ("b", "1", UNCHANGED), is_old_key=False)
    assert folded(change).upserts == {("b",): Upsert(("b", "1", UNCHANGED), moved_from=("a",))}


def test_a_key_left_out_comes_from_the_old_row() -> None:
    change = Update(TABLE, ("a", None, None), (UNCHANGED, "1", "2"))
    table = folded(change)
    assert (table.upserts, table.deletes) == ({("a",): Upsert(("a", "1", "2"))}, {})


def test_a_row_that_moves_on_is_known_by_its_first_key() -> None:
    table = folded(update("a", "0"), update("b", "1", was="a"), update("c", "2", was="b"), update("c", "3"))
    assert table.upserts == {("c",): Upsert(("c", "3", UNCHANGED), moved_from=("a",))}
    assert table.deletes == {("a",): None, ("b",): None}


def test_a_row_that_has_come_back_has_moved_all_the_same() -> None:
    table = folded(update("b", was="a"), update("a", was="b"))
    assert table.upserts == {("a",): Upsert(("a", None, UNCHANGED), moved_from=("a",))}
    assert table.deletes == {("b",): None}


def test_a_row_that_moves_and_is_told_whole_needs_no_former_key() -> None:
    assert folded(update("b", was="a"), update("b", "1", "2")).upserts == {("b",): Upsert(("b", "1", "2"))}


def test_swapped_rows_take_their_values_along() -> None:
    table = folded(update("c", was="a"), update("a", was="b"), update("b", was="c"))
    assert {key: row.moved_from for key, row in table.upserts.items()} == {("a",): ("b",), ("b",): ("a",)}
    assert table.deletes == {("c",): None}


def test_a_row_that_a_filter_lets_in_has_its_values_at_the_source_only() -> None:
    table = folded(delete("a"), insert("a", "1", UNCHANGED), update("a", "2"), update("b", "3", was="a"))
    assert table.upserts == {("b",): Upsert(("b", "3", UNCHANGED), is_new=True)}
    assert folded(insert("a", "1", UNCHANGED), update("a", "2", "3")).upserts == {("a",): Upsert(("a", "2", "3"))}


def test_nothing_before_a_truncate_counts() -> None:
    table = folded(insert("a"), delete("b"), Truncate((TABLE,)), insert("c", "1", "2"))
    assert (table.is_truncated, table.upserts, table.deletes) == (True, {("c",): Upsert(("c", "1", "2"))}, {})


def test_tables_are_emptied_together() -> None:
    fold = Fold()
    fold.add(insert("a"))
    fold.add(Truncate((TABLE, FULL)))
    assert [(table.is_truncated, table.changes) for table in fold.tables.values()] == [(True, 2), (True, 1)]
    assert fold.changes == 2


def test_a_table_that_is_another_now_does_not_fit() -> None:
    fold = Fold()
    fold.add(insert("a"))
    wider = Relation(1, "public", "t", "d", (*COLUMNS, RelationColumn("w", False, 25, -1)))
    anew = Relation(3, "public", "t", "d", COLUMNS)
    renamed = Relation(1, "public", "u", "d", COLUMNS)
    for other in (wider, anew, renamed):
        assert not fold.fits(Insert(other, ("b", None, None, None)))
        assert not fold.fits(Truncate((FULL, other)))
    told_again = Relation(1, "public", "t", "d", COLUMNS)
    assert fold.fits(Delete(told_again, ("a", None, None)))
    assert fold.fits(Truncate((FULL, TABLE)))


def test_the_key_may_be_named() -> None:
    fold = Fold({"public.f": ["big", "id"]})
    fold.add(Insert(FULL, ("a", None, "b")))
    assert list(fold.tables[2].upserts) == [("b", "a")]


@pytest.mark.parametrize("change", [insert(None), insert("a", None), delete(None)])
def test_a_key_with_null_is_refused(change: Insert | Delete) -> None:
    with pytest.raises(SchemaError, match=r"public\.t does not tell its row's key \(id, v\): choose key columns"):
        Fold({"public.t": ["id", "v"]}).add(change)


def test_a_key_that_the_identity_does_not_tell_is_refused_even_where_it_seems_unchanged() -> None:
    other = Relation(4, "public", "o", "i", (RelationColumn("id", False, 25, -1), RelationColumn("u", True, 25, -1)))
    for change in (Delete(other, (None, "1")), Update(other, None, ("b", "1")), Update(other, (None, "1"), ("b", "2"))):
        with pytest.raises(SchemaError, match=r"public\.o does not tell its row's key \(id\)"):
            Fold({"public.o": ["id"]}).add(change)


def test_an_identity_that_tells_nothing_is_named_with_its_mending() -> None:
    nothing = Relation(3, "public", "n", "n", COLUMNS)
    fold = Fold({"public.n": ["id"]})
    fold.add(Insert(nothing, ("a", None, None)))
    for change in (Delete(nothing, ("a", None, None)), Update(nothing, None, ("a", None, None))):
        with pytest.raises(ConfigurationError, match=r"ALTER TABLE public\.n REPLICA IDENTITY DEFAULT"):
            fold.add(change)


def test_a_table_without_a_key_is_refused() -> None:
    keyless = Relation(5, "public", "k", "d", (RelationColumn("v", False, 25, -1),))
    with pytest.raises(SchemaError, match=r"public\.k has no key"):
        Fold().add(Insert(keyless, ("a",)))
    with pytest.raises(SchemaError, match=r"public\.t come without nonesuch"):
        Fold({"public.t": ["nonesuch"]}).add(insert("a"))
