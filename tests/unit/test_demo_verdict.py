"""The demonstration says no when the counts are not those of the shop's changes."""

from __future__ import annotations

from dataclasses import replace

import pytest

from airflow_etl_sync.demo.__main__ import is_row_count, main
from airflow_etl_sync.demo.comparison import Comparison, Difference
from airflow_etl_sync.demo.demonstration import _complaints
from airflow_etl_sync.demo.report import RunRecord
from airflow_etl_sync.demo.shop import Changes

FIRST = RunRecord(None, "2", "oldest transaction", 3, 3, 0, 0, 0, 1.0)
SECOND = RunRecord("2", "3", "oldest transaction", 4, 1, 2, 1, 0, 1.0)
CHANGES = Changes(frozenset({4}), frozenset({1, 2}))
EQUAL = Comparison(4, 4, 0, ())


def test_no_complaint_when_exactly_the_changes_moved() -> None:
    assert _complaints(FIRST, SECOND, 3, CHANGES, EQUAL) == []


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        (replace(SECOND, inserted=0), "second run: inserted 0 instead of 1"),
        (replace(SECOND, updated=3), "second run: updated 3 instead of 2"),
        (replace(SECOND, errors=1), "second run: errors 1 instead of 0"),
    ],
)
def test_more_or_fewer_rows_are_told(wrong: RunRecord, told: str) -> None:
    assert _complaints(FIRST, wrong, 3, CHANGES, EQUAL) == [told]


def test_a_first_load_that_saw_too_much_is_told() -> None:
    assert _complaints(FIRST, SECOND, 2, CHANGES, EQUAL) == ["first load: inserted 3 instead of 2"]


def test_differences_are_told_and_the_rest_is_counted() -> None:
    comparison = Comparison(4, 3, 12, (Difference("missing", 4),))
    complaints = _complaints(FIRST, SECOND, 3, CHANGES, comparison)
    assert complaints == ["row 4 is missing in the destination", "and 11 more rows differ"]


@pytest.mark.parametrize("text", ["", "abc", "0", "-5", "1.5", "1e3", "\N{SUPERSCRIPT TWO}", " 7"])
def test_a_wrong_number_of_rows_is_one_sentence(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert not is_row_count(text)
    with pytest.raises(SystemExit) as stopped:
        main([f"--rows={text}"])
    assert stopped.value.code == 2
    assert capsys.readouterr().err == (f"ROWS must be a whole number of at least 1, such as 100000; it is {text!r}.\n")
