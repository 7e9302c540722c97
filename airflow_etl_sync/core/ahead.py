"""Work done ahead in a thread of its own, so that reading, encoding and merging go on at the same time."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import copy_context
from queue import SimpleQueue
from typing import Generic, TypeVar

BATCHES_AHEAD = 2
"""So many batches, of a few megabytes each, are read while others are written."""

CHUNKS_AHEAD = 1
"""While a chunk is merged, the next one is staged."""

Item = TypeVar("Item")


class _Ahead(Iterator[Item], Generic[Item]):
    """What another iterator gives, which meanwhile works on its next items in a thread.

    :param items: taken from and closed in that thread only
    :param most: how many items it may be ahead, the one it works on included
    """

    def __init__(self, items: Iterator[Item], most: int) -> None:
        self._items = items
        self._room = threading.Semaphore(most)
        self._given: SimpleQueue[tuple[Item] | BaseException | None] = SimpleQueue()
        self._is_stopped = False
        self._is_over = False
        self._thread = threading.Thread(target=copy_context().run, args=(self._work,), name="etl-sync ahead")
        self._thread.start()

    def __next__(self) -> Item:
        if self._is_over:
            raise StopIteration
        given = self._given.get()
        if isinstance(given, tuple):
            self._room.release()
            return given[0]
        self._is_over = True
        if given is None:
            raise StopIteration
        raise given

    def stop(self) -> None:
        """Wait for the item that is being worked on, and let no other be begun."""
        self._is_stopped = True
        self._room.release()
        self._thread.join()

    def _work(self) -> None:
        try:
            try:
                while self._may_go_on():
                    self._given.put((next(self._items),))
            except StopIteration:
                pass
            finally:
                close = getattr(self._items, "close", None)
                if close is not None:
                    close()
        except BaseException as error:  # noqa: BLE001 - raised again where the items are taken
            self._given.put(error)
        else:
            self._given.put(None)

    def _may_go_on(self) -> bool:
        self._room.acquire()
        return not self._is_stopped


@contextmanager
def ahead(items: Iterator[Item], most: int) -> Iterator[Iterator[Item]]:
    """Let an iterator work ahead of the one who takes its items, in their order; an error of its comes in its place.

    The end of the block waits for the item being worked on, then closes the iterator.

    :param items: from now on to be left alone
    :param most: how many items it may be ahead, the one it works on included
    """
    worker = _Ahead(items, most)
    try:
        yield worker
    finally:
        worker.stop()
