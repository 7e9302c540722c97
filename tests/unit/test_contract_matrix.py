"""The pages of docs show the contract's matrix as the code has it, and every exception is one of a promise."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.contract.exceptions import (
    DESTINATION_EXCEPTIONS,
    DESTINATION_PROMISES,
    SOURCE_EXCEPTIONS,
    SOURCE_PROMISES,
)
from tests.contract.matrix import Matrix, as_markdown, as_summary
from tests.contract.systems import DESTINATIONS, SOURCES

DOCUMENTS = Path(__file__).parents[2] / "docs"


@pytest.mark.parametrize("role", ["source", "destination"])
def test_the_documents_show_the_matrix(role: str) -> None:
    assert as_markdown(role) in (DOCUMENTS / f"{role}s.md").read_text(), as_markdown(role)


@pytest.mark.parametrize("role", ["source", "destination"])
def test_readme_shows_its_outline(role: str) -> None:
    assert as_summary(role) in (DOCUMENTS.parent / "README.md").read_text(), as_summary(role)


def test_every_exception_is_one_of_a_system_and_a_promise() -> None:
    assert all(system in SOURCES and promise in SOURCE_PROMISES for system, promise in SOURCE_EXCEPTIONS)
    assert all(system in DESTINATIONS and promise in DESTINATION_PROMISES for system, promise in DESTINATION_EXCEPTIONS)


def test_the_worst_outcome_is_shown() -> None:
    matrix = Matrix()
    matrix.note("system", "resume", "postgres", "passed")
    matrix.note("system", "resume", "postgres", "failed")
    matrix.note("system", "resume", "mariadb", "skipped")
    matrix.note("system", "late commits", "sqlite", "passed")
    lines = [" ".join(line.split()) for line in matrix.lines()]
    assert any(line.startswith("resume NO not run - -") for line in lines)
    matrix.note("destination_system", "newest run", "postgres", "skipped")
    assert any(" ".join(line.split()).startswith("newest run otherwise* -") for line in matrix.lines())
    assert any(line.startswith("late commits - - yes* -") for line in lines)


def test_a_promise_that_is_not_listed_is_refused() -> None:
    with pytest.raises(KeyError, match="is no promise of a destination"):
        Matrix().note("destination_system", "dry run", "postgres", "passed")
