"""A comparison that misses a difference would make the demonstration worthless."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_etl_sync.demo.comparison import SHOWN_DIFFERENCES, Difference, compare_rows

if TYPE_CHECKING:
    from airflow_etl_sync.demo.comparison import Comparison, Row

COLUMNS = ("status", "total")
TABLES = st.dictionaries(
    st.integers(), st.tuples(st.sampled_from(["a", "b", "", None]), st.sampled_from(["1.0", "1.00"])), max_size=30
)
Rows = dict[int, tuple[str | None, ...]]


def compared(source: Rows, destination: Rows) -> Comparison:
    return compare_rows(ordered(source), ordered(destination), COLUMNS)


def ordered(rows: Rows) -> list[Row]:
    return sorted(rows.items())


@pytest.mark.parametrize(
    ("destination", "difference"),
    [
        ({1: ("a", "1"), 2: ("b", "2"), 3: ("c", "3.0")}, Difference("different", 3, ("total",))),
        ({1: (None, "1"), 2: ("b", "2"), 3: ("c", "3")}, Difference("different", 1, ("status",))),
        ({1: ("a", "1"), 3: ("c", "3")}, Difference("missing", 2)),
        ({1: ("a", "1"), 2: ("b", "2")}, Difference("missing", 3)),
        ({0: ("", ""), 1: ("a", "1"), 2: ("b", "2"), 3: ("c", "3")}, Difference("extra", 0)),
        ({1: ("a", "1"), 2: ("b", "2"), 3: ("c", "3"), 4: ("", "")}, Difference("extra", 4)),
    ],
)
def test_finds_one_planted_difference(destination: Rows, difference: Difference) -> None:
    comparison = compared({1: ("a", "1"), 2: ("b", "2"), 3: ("c", "3")}, destination)
    assert not comparison.is_equal
    assert (comparison.difference_count, comparison.differences) == (1, (difference,))
    assert (comparison.source_rows, comparison.destination_rows) == (3, len(destination))


@given(TABLES, TABLES)
def test_finds_what_two_dictionaries_tell(source: Rows, destination: Rows) -> None:
    wrong = {key for key in source.keys() | destination.keys() if source.get(key) != destination.get(key)}
    comparison = compared(source, destination)
    assert comparison.difference_count == len(wrong)
    assert [difference.key for difference in comparison.differences] == sorted(wrong)[:SHOWN_DIFFERENCES]
    assert comparison.is_equal == (source == destination)


def test_refuses_a_key_that_stands_twice() -> None:
    rows: list[Row] = [(1, ("a", "1")), (1, ("a", "1"))]
    with pytest.raises(LookupError, match="twice"):
        compare_rows(rows, rows, COLUMNS)


def test_tells_of_columns_and_never_of_values() -> None:
    comparison = compared({1: ("secret", "1")}, {1: ("other", "1")})
    assert str(comparison.differences[0]) == "row 1 differs in status"
