"""Changes one by one: in their order, with what is known of their rows, and nothing else."""

from __future__ import annotations

from datetime import datetime, timezone

import pytest

from airflow_etl_sync.cdc.fold import Fold
from airflow_etl_sync.cdc.history import Fill, Histories, TableHistory
from airflow_etl_sync.core.changes import (
    UNCHANGED,
    Begin,
    Change,
    Delete,
    Insert,
    Relation,
    RelationColumn,
    Truncate,
    Update,
    Values,
)
from airflow_etl_sync.core.history import just_before
from airflow_etl_sync.errors import ConfigurationError, SchemaError

COLUMNS = (
    RelationColumn("id", True, 20, -1),
    RelationColumn("v", False, 25, -1),
    RelationColumn("body", False, 25, -1),
)
T = Relation(1, "public", "t", "d", COLUMNS)
OTHER = Relation(2, "public", "other", "d", COLUMNS)


def kept(*changes: Change, is_partitioned: bool = False) -> TableHistory:
    histories = Histories({"public.t": is_partitioned})
    histories.moment.begin(Begin(0x1_00000010, datetime(2026, 1, 2, 3, 4, 5, 6, timezone.utc), 7))
    fold = Fold({"public.t": ["id"]}, histories)
    for change in changes:
        histories.moment.sequence += 1
        fold.add(change)
    assert fold.changes == len(changes) and not fold.tables
    (history,) = fold.histories.values()
    return history


def rows(history: TableHistory) -> list[tuple[str, int, Values, Fill, tuple[str, ...] | None]]:
    return [(row.op, row.sequence, row.values, row.fill, row.looked_up) for row in history.rows]


def insert(*values: str | None) -> Insert:
    return Insert(T, values)


def update(*values: object, old: Values | None = None, is_old_key: bool = True) -> Update:
    return Update(T, old, values, is_old_key)  # type: ignore[arg-type]


def delete(key: str) -> Delete:
    return Delete(T, (key, None, None))


def test_a_row_tells_its_place_and_time() -> None:
    (row,) = kept(insert("1", "a", "b")).rows
    assert row[:4] == ("insert", "1/10", 1, "2026-01-02 03:04:05.000006+00:00")
    assert row.values == ("1", "a", "b")


def test_nothing_is_folded_away() -> None:
    history = kept(
        insert("1", "a", "b"), update("1", "c", "b"), update("1", "d", "b"), delete("1"), insert("1", "e", "f")
    )
    assert rows(history) == [
        ("insert", 1, ("1", "a", "b"), Fill.NOTHING, None),
        ("update", 2, ("1", "c", "b"), Fill.NOTHING, None),
        ("update", 3, ("1", "d", "b"), Fill.NOTHING, None),
        ("delete", 4, ("1", "d", "b"), Fill.NOTHING, None),
        ("insert", 5, ("1", "e", "f"), Fill.NOTHING, None),
    ]
    assert history.changes == 5 and history.first == 0x1_00000010


def test_what_the_log_leaves_out_is_that_of_the_change_before() -> None:
    history = kept(insert("1", "a", "long"), update("1", "c", UNCHANGED), update("1", "d", UNCHANGED))
    assert [row.values for row in history.rows[1:]] == [("1", "c", "long"), ("1", "d", "long")]


def test_where_nothing_came_before_the_target_is_asked_by_the_key_that_it_knows() -> None:
    history = kept(
        update("1", "a", UNCHANGED),
        update("2", "b", UNCHANGED, old=("1", None, None)),
        update("2", "c", UNCHANGED),
        delete("2"),
        delete("3"),
    )
    assert rows(history) == [
        ("update", 1, ("1", "a", UNCHANGED), Fill.COLUMNS, ("1",)),
        ("delete", 2, ("1", "a", UNCHANGED), Fill.COLUMNS, ("1",)),
        ("insert", 3, ("2", "b", UNCHANGED), Fill.COLUMNS, ("1",)),
        ("update", 4, ("2", "c", UNCHANGED), Fill.COLUMNS, ("1",)),
        ("delete", 5, ("2", "c", UNCHANGED), Fill.COLUMNS, ("1",)),
        ("delete", 6, ("3", UNCHANGED, UNCHANGED), Fill.ROW, ("3",)),
    ]


def test_a_life_that_has_ended_tells_nothing_of_the_next() -> None:
    new = Insert(T, ("1", "b", UNCHANGED))  # past a row filter
    history = kept(insert("1", "a", "long"), delete("1"), new, update("1", "c", UNCHANGED))
    assert rows(history)[2:] == [
        ("insert", 3, ("1", "b", UNCHANGED), Fill.NOTHING, None),
        ("update", 4, ("1", "c", UNCHANGED), Fill.NOTHING, None),
    ]


def test_a_table_that_is_emptied_is_a_row_without_values_and_nothing_before_it_counts() -> None:
    history = kept(insert("1", "a", "long"), Truncate((T,)), update("1", "b", UNCHANGED), delete("2"))
    assert history.is_truncated
    assert rows(history)[1:] == [
        ("truncate", 2, (None, None, None), Fill.NOTHING, None),
        ("update", 3, ("1", "b", UNCHANGED), Fill.NOTHING, None),
        ("delete", 4, ("2", UNCHANGED, UNCHANGED), Fill.NOTHING, None),
    ]


def test_whole_old_rows_are_taken_as_they_are_but_of_partitions() -> None:
    gone = Delete(T, ("1", None, "b"), is_old_key=False)
    moved = update("2", "c", UNCHANGED, old=("1", None, "b"), is_old_key=False)
    assert [row.values for row in kept(gone).rows] == [("1", None, "b")]
    assert [row.values for row in kept(moved).rows] == [("1", None, "b"), ("2", "c", "b")]
    assert rows(kept(gone, is_partitioned=True)) == [("delete", 1, ("1", UNCHANGED, "b"), Fill.ROW, ("1",))]


def test_changes_without_a_key_are_refused() -> None:
    nothing = Relation(1, "public", "t", "n", COLUMNS)
    with pytest.raises(ConfigurationError, match="replica identity NOTHING"):
        kept(Update(nothing, None, ("1", "a", "b")))
    with pytest.raises(SchemaError, match="does not tell its row's key"):
        kept(insert(None, "a", "b"))


def test_other_tables_are_folded_beside_it() -> None:
    fold = Fold({}, Histories({"public.t": False}))
    fold.add(insert("1", "a", "b"))
    fold.add(Insert(OTHER, ("1", "a", "b")))
    fold.add(Truncate((T, OTHER)))
    assert (list(fold.histories), list(fold.tables)) == ([1], [2])
    assert fold.truncated == {"public.t", "public.other"}
    changed = Relation(1, "public", "t", "d", COLUMNS[:2])
    assert fold.fits(insert("2", "a", "b")) and not fold.fits(Insert(changed, ("1", "a")))


@pytest.mark.parametrize("position", [8, 24, 0x1_00000000, 41])
def test_a_position_just_before_is_none_that_a_commit_can_have(position: int) -> None:
    assert just_before(position) % 8
    assert position - 8 < just_before(position) <= position
