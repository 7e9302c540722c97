"""The lines of a text file, taken one by one or a block at once."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence

from airflow_etl_sync.systems.files.blocks import BLOCK_BYTES

LONGEST_ROW_BYTES = 16 * 1024 * 1024
"""A row that goes on over several lines is not looked for any further."""


class Lines:
    """The lines of a file, of which no more than a block is held."""

    def __init__(self, blocks: Iterator[bytes]) -> None:
        self._blocks = blocks
        self.block = b""
        self.next_number = 1
        self.taken_bytes = 0
        self._pending: deque[bytes] = deque()

    def fill(self) -> bool:
        """See that there is a line to take; whether there is."""
        if self.block or self._pending:
            return True
        self.block = next(self._blocks, b"")
        return bool(self.block)

    def take_block(self) -> bytes:
        """All the lines that are there, at once."""
        block, self.block = self.block, b""
        if self._pending:
            block = b"".join(self._pending) + block
            self._pending.clear()
        return block

    @property
    def is_whole(self) -> bool:
        """Whether no line of the block was taken yet."""
        return not self._pending

    def take(self) -> bytes | None:
        """The next line; None behind the last."""
        self.load()
        if not self._pending:
            return None
        line = self._pending.popleft()
        self.next_number += 1
        self.taken_bytes += len(line)
        return line

    def texts(self) -> list[str]:
        """The lines that are there, of about a block, as far as each is a text; they are not taken yet."""
        texts: list[str] = []
        size = 0
        for line in self._pending:
            if size >= BLOCK_BYTES or b"\0" in line:
                break
            try:
                texts.append(line.decode())
            except UnicodeDecodeError:
                break
            size += len(line)
        return texts

    def drop(self, count: int) -> None:
        """Take so many of the lines that are there."""
        for _ in range(count):
            self.taken_bytes += len(self._pending.popleft())
        self.next_number += count

    def give_back(self, lines: Sequence[bytes]) -> None:
        """Let lines be taken once more."""
        self._pending.extendleft(reversed(lines))
        self.next_number -= len(lines)
        self.taken_bytes -= sum(map(len, lines))

    def load(self) -> None:
        """See that there are lines to take one by one, where there are any."""
        if not self._pending and self.fill():
            self._pending.extend(_cut(self.block))
            self.block = b""

    @property
    def has_pending(self) -> bool:
        """Whether a line of the block is left."""
        return bool(self._pending)


def _cut(block: bytes) -> list[bytes]:
    """The lines of a block; each ends with a line feed, whatever else :meth:`bytes.splitlines` takes for an end."""
    return [line + b"\n" for line in block.removesuffix(b"\n").split(b"\n")]


class Row(list[bytes]):
    """The lines of one row, as the parser asks for them."""

    def __init__(self, lines: Lines) -> None:
        super().__init__()
        self._lines = lines
        self._bytes = 0

    def feed(self) -> Iterator[str]:
        while self._bytes <= LONGEST_ROW_BYTES and (line := self._lines.take()) is not None:
            self.append(line)
            self._bytes += len(line)
            yield line.decode()
