"""Messages of the log, many in one piece of memory, so that all of them are looked at at once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Places = NDArray[np.int64]
"""Where something stands: messages in a block, or bytes in its memory."""

BLOCK_MESSAGES = 10_000
BLOCK_BYTES = 1_000_000
_PADDING = bytes(8)
"""Behind the last message, so that a number may be asked for at its end."""


@dataclass(frozen=True, slots=True, eq=False)
class Messages:
    """Some messages of pgoutput in the order of the log.

    :param data: all of them, one behind the other
    :param starts: where each begins in ``data``
    :param ends: and where it ends
    :param kinds: the first byte of each; 0 where it is empty
    """

    data: bytes
    starts: Places
    ends: Places
    kinds: NDArray[np.uint8]

    @classmethod
    def joined(cls, messages: list[bytes]) -> Messages:
        """The messages in one piece of memory."""
        data = b"".join([*messages, _PADDING])
        sizes = np.fromiter(map(len, messages), np.int64, len(messages))
        ends = np.cumsum(sizes)
        starts = ends - sizes
        return cls(data, starts, ends, np.where(sizes > 0, _bytes(data)[starts], 0))

    def __len__(self) -> int:
        return len(self.kinds)

    def __iter__(self) -> Iterator[bytes]:
        return (self[place] for place in range(len(self)))

    def __getitem__(self, place: int) -> bytes:
        return self.data[self.starts[place] : self.ends[place]]

    def sizes(self, places: Places) -> Places:
        """The lengths of some of the messages."""
        sizes: Places = self.ends[places] - self.starts[places]
        return sizes

    def bytes_at(self, places: Places) -> NDArray[np.uint8]:
        """The bytes that stand at places of the memory.

        :raises IndexError: where a place is outside
        """
        found: NDArray[np.uint8] = _bytes(self.data)[places]
        return found

    def numbers_at(self, places: Places, size: Literal[2, 4, 8]) -> NDArray[Any]:
        """The unsigned numbers that begin at places of the memory, in the byte order of the protocol.

        :raises IndexError: where a place is outside
        """
        count = len(self.data) - size + 1
        at_each_byte: NDArray[Any] = np.ndarray((count,), f">u{size}", self.data, 0, (1,))
        return at_each_byte[places]


def in_blocks(messages: Iterable[bytes], most: int = BLOCK_MESSAGES) -> Iterator[Messages]:
    """Join messages, so many at a time, or fewer where they are long."""
    block: list[bytes] = []
    size = 0
    for message in messages:
        block.append(message)
        size += len(message)
        if len(block) >= most or size >= BLOCK_BYTES:
            yield Messages.joined(block)
            block, size = [], 0
    if block:
        yield Messages.joined(block)


def _bytes(data: bytes) -> NDArray[np.uint8]:
    return np.frombuffer(data, np.uint8)
