"""The demonstration says no when the counts are not those of the shop's changes."""

from __future__ import annotations

from dataclasses import replace

import pytest

from airflow_etl_sync.demo.__main__ import is_row_count, main
from airflow_etl_sync.demo.capture import complaints_about as complaints_about_capture
from airflow_etl_sync.demo.captured import Captured
from airflow_etl_sync.demo.changes import Changes, TradingDay
from airflow_etl_sync.demo.comparison import Comparison, Difference
from airflow_etl_sync.demo.incremental import complaints_about
from airflow_etl_sync.demo.report import RunRecord

FIRST = RunRecord(None, "2", "oldest transaction", 3, 3, 0, 0, 0, 1.0)
SECOND = RunRecord("2", "3", "oldest transaction", 4, 1, 2, 1, 0, 1.0)
CHANGES = Changes(frozenset({4}), frozenset({1, 2}))
EQUAL = Comparison(4, 4, 0, ())


def test_no_complaint_when_exactly_the_changes_moved() -> None:
    assert complaints_about(FIRST, SECOND, 3, CHANGES, EQUAL) == []


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        (replace(SECOND, inserted=0), "second run: inserted 0 instead of 1"),
        (replace(SECOND, updated=3), "second run: updated 3 instead of 2"),
        (replace(SECOND, errors=1), "second run: errors 1 instead of 0"),
    ],
)
def test_more_or_fewer_rows_are_told(wrong: RunRecord, told: str) -> None:
    assert complaints_about(FIRST, wrong, 3, CHANGES, EQUAL) == [told]


def test_a_first_load_that_saw_too_much_is_told() -> None:
    assert complaints_about(FIRST, SECOND, 2, CHANGES, EQUAL) == ["first load: inserted 3 instead of 2"]


def test_differences_are_told_and_the_rest_is_counted() -> None:
    comparison = Comparison(4, 3, 12, (Difference("missing", 4),))
    complaints = complaints_about(FIRST, SECOND, 3, CHANGES, comparison)
    assert complaints == ["row 4 is missing in the destination", "and 11 more rows differ"]


@pytest.mark.parametrize("text", ["", "abc", "0", "-5", "1.5", "1e3", "\N{SUPERSCRIPT TWO}", " 7"])
def test_a_wrong_number_of_rows_is_one_sentence(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert not is_row_count(text)
    with pytest.raises(SystemExit) as stopped:
        main([f"--rows={text}"])
    assert stopped.value.code == 2
    assert capsys.readouterr().err == (f"ROWS must be a whole number of at least 1, such as 100000; it is {text!r}.\n")


CAPTURED = Captured(
    copied=9, changes=0, inserted=0, updated=0, skipped=0, deleted=0, truncated=0, errors=0, transactions=0,
    lag_seconds=0.0, retained_bytes=10, lag_bytes=1, wal_status="reserved", seconds=1.0,
)  # fmt: skip
APPLIED = replace(CAPTURED, copied=0, inserted=2, updated=1, deleted=2, truncated=1)
DAY = TradingDay(
    {
        "orders": Changes(frozenset({10}), frozenset({3}), frozenset({1, 2})),
        "carts": Changes(inserted=frozenset({7}), emptied=frozenset({4, 5, 6})),
    }
)
TABLES = {"orders": Comparison(5, 5, 0, ()), "carts": Comparison(1, 1, 0, ())}


def test_no_complaint_when_exactly_the_day_was_captured() -> None:
    assert complaints_about_capture(CAPTURED, APPLIED, DAY, TABLES) == []


@pytest.mark.parametrize("name", ["copied", "inserted", "updated", "deleted", "truncated", "errors"])
@pytest.mark.parametrize("by", [1, -1])
def test_one_more_or_fewer_captured_is_told(name: str, by: int) -> None:
    due = getattr(APPLIED, name)
    wrong = replace(APPLIED, **{name: due + by})
    told = [f"second run: {name} {due + by} instead of {due}"]
    assert complaints_about_capture(CAPTURED, wrong, DAY, TABLES) == told


def test_a_copy_that_is_not_whole_is_told() -> None:
    complaints = complaints_about_capture(replace(CAPTURED, copied=8), APPLIED, DAY, TABLES)
    assert complaints == ["first run: copied 8 instead of 9"]


def test_a_row_that_should_be_gone_is_told_with_its_table() -> None:
    tables = TABLES | {"carts": Comparison(1, 2, 1, (Difference("extra", 4),))}
    assert complaints_about_capture(CAPTURED, APPLIED, DAY, tables) == ["carts: row 4 is only in the destination"]
