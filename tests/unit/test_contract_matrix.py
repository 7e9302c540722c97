"""docs/sources.md shows the contract's matrix as the code has it, and every exception is one of a promise."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.contract.exceptions import EXCEPTIONS, SOURCE_PROMISES
from tests.contract.matrix import Matrix, as_markdown
from tests.contract.systems import SOURCES

DOCUMENT = Path(__file__).parents[2] / "docs" / "sources.md"


def test_the_document_shows_the_matrix() -> None:
    assert as_markdown() in DOCUMENT.read_text(), as_markdown()


def test_every_exception_is_one_of_a_system_and_a_promise() -> None:
    assert all(system in SOURCES and promise in SOURCE_PROMISES for system, promise in EXCEPTIONS)


def test_the_worst_outcome_is_shown() -> None:
    matrix = Matrix()
    matrix.note("system", "resume", "postgres", "passed")
    matrix.note("system", "resume", "postgres", "failed")
    matrix.note("system", "resume", "mariadb", "skipped")
    matrix.note("system", "late commits", "sqlite", "passed")
    lines = [line.split() for line in matrix.lines()]
    assert ["resume", "NO", "not", "run", "-", "-"] in lines
    assert ["late", "commits", "-", "-", "yes*", "-"] in lines


def test_a_promise_that_is_not_listed_is_refused() -> None:
    with pytest.raises(KeyError, match="is no promise of a destination"):
        Matrix().note("destination_system", "dry run", "postgres", "passed")
