"""What changes add up to: the demonstration judges by it, so it must be right."""

from __future__ import annotations

from random import Random

from hypothesis import given
from hypothesis import strategies as st

from airflow_etl_sync.demo.changes import Changes, TradingDay


def keys(*numbers: int) -> frozenset[int]:
    return frozenset(numbers)


def test_an_order_added_and_then_changed_is_added() -> None:
    assert Changes(keys(1)) + Changes(updated=keys(1, 2)) == Changes(keys(1), keys(2))


def test_a_row_that_came_and_went_has_changed_nothing() -> None:
    came = Changes(inserted=keys(1, 2)) + Changes(updated=keys(1))
    assert came + Changes(deleted=keys(1)) == Changes(inserted=keys(2))


def test_a_row_that_changed_and_went_is_deleted() -> None:
    assert Changes(updated=keys(1)) + Changes(deleted=keys(1)) == Changes(deleted=keys(1))


def test_an_emptied_table_forgets_what_happened_before() -> None:
    before = Changes(inserted=keys(9), updated=keys(1), deleted=keys(2))
    emptied = Changes(inserted=keys(10), emptied=keys(1, 3, 9))
    assert before + emptied == Changes(inserted=keys(10), emptied=keys(1, 2, 3))


def test_a_day_counts_all_tables() -> None:
    day = TradingDay({"orders": Changes(inserted=keys(1, 2))}, renumbered=1)
    day += TradingDay({"orders": Changes(deleted=keys(2)), "carts": Changes(keys(1), emptied=keys(5))}, lean=3)
    assert (day.count("inserted"), day.count("deleted"), day.count("emptied"), day.truncated) == (2, 0, 1, 1)
    assert (day.renumbered, day.lean) == (1, 3)


@given(st.lists(st.sampled_from(["insert", "update", "delete", "empty"]), max_size=12), st.randoms())
def test_any_sequence_adds_up_to_the_difference(happenings: list[str], chosen: Random) -> None:
    before = dict.fromkeys(range(4), 0)
    table, total = dict(before), Changes()
    for version, happening in enumerate(happenings, start=1):
        key = chosen.choice(sorted(table)) if table and happening != "insert" else 100 + version
        if happening == "empty" and table:
            total += Changes(emptied=frozenset(table))
            table.clear()
        elif happening == "insert":
            total += Changes(inserted=keys(key))
            table[key] = version
        elif happening == "update" and table:
            total += Changes(updated=keys(key))
            table[key] = version
        elif happening == "delete" and table:
            total += Changes(deleted=keys(key))
            del table[key]
    assert total.inserted == table.keys() - before.keys()
    assert total.deleted | total.emptied == before.keys() - table.keys()
    assert total.updated == {key for key in before.keys() & table.keys() if table[key]}
