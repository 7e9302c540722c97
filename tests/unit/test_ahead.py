"""Work done ahead: in order, never too far, with its errors, and ended when nobody takes its items any more."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextvars import ContextVar

import pytest

from airflow_etl_sync.core.ahead import ahead

PATIENCE_SECONDS = 20


class Worker:
    """Gives numbers, and notes how far it is, in which thread, and whether it was closed."""

    def __init__(self, end: int, *, fails_at: int | None = None) -> None:
        self.begun = 0
        self.closed_in: threading.Thread | None = None
        self.has_begun = {number: threading.Event() for number in range(end + 1)}
        self._end = end
        self._fails_at = fails_at

    def numbers(self) -> Iterator[int]:
        try:
            for number in range(self._end):
                self.begun += 1
                self.has_begun[number].set()
                if number == self._fails_at:
                    raise LookupError(f"number {number}")
                yield number
        finally:
            self.closed_in = threading.current_thread()


def test_all_items_come_in_order() -> None:
    with ahead(Worker(100).numbers(), 3) as items:
        assert list(items) == list(range(100))
        assert next(items, None) is None


@pytest.mark.parametrize("most", [1, 2, 5])
def test_it_works_ahead_but_never_farther_than_it_may(most: int) -> None:
    worker = Worker(20)
    with ahead(worker.numbers(), most) as items:
        assert worker.has_begun[most - 1].wait(PATIENCE_SECONDS)
        assert next(items) == 0
        assert worker.has_begun[most].wait(PATIENCE_SECONDS)
        assert not worker.has_begun[most + 1].wait(0.1)


def test_an_error_comes_behind_the_items_before_it() -> None:
    with ahead(Worker(5, fails_at=2).numbers(), 5) as items:
        assert [next(items), next(items)] == [0, 1]
        with pytest.raises(LookupError, match="number 2"):
            next(items)
        assert next(items, None) is None


def test_leaving_early_closes_the_iterator_in_its_own_thread_and_ends_that() -> None:
    worker = Worker(20)
    with ahead(worker.numbers(), 2) as items:
        next(items)
    assert worker.begun <= 3
    assert worker.closed_in is not None
    assert worker.closed_in is not threading.current_thread()
    assert not worker.closed_in.is_alive()


def test_one_may_work_ahead_of_another() -> None:
    inner = Worker(50)
    with (
        ahead(inner.numbers(), 2) as numbers,
        ahead((number * number for number in numbers), 1) as squares,
    ):
        assert list(squares) == [number * number for number in range(50)]


def test_leaving_the_second_early_ends_both() -> None:
    inner = Worker(50)
    with (
        ahead(inner.numbers(), 2) as numbers,
        ahead((number * number for number in numbers), 1) as squares,
    ):
        next(squares)
    assert inner.closed_in is not None
    assert inner.begun < 10


def test_what_the_caller_has_set_is_known_in_the_thread() -> None:
    task = ContextVar("task", default="none")
    task.set("sync")
    seen = (task.get() for _ in range(1))
    with ahead(seen, 1) as values:
        assert list(values) == ["sync"]
