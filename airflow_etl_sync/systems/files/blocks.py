"""The bytes of a text file, unpacked and in UTF-8, in blocks that end with a line."""

from __future__ import annotations

import codecs
from collections.abc import Callable, Iterator
from typing import Any

from airflow_etl_sync.core.files import Compression
from airflow_etl_sync.errors import DataError

BLOCK_BYTES = 2 * 1024 * 1024
LONGEST_LINE_BYTES = 64 * 1024 * 1024


def blocks_of(file: Any, compression: Compression, encoding: str) -> Iterator[bytes]:
    """Blocks of whole lines; the last may lack its line break.

    :param file: gives bytes
    :raises DataError: where they are not packed or encoded so, or there is a line of more than 64 MiB
    """
    import pyarrow as pa

    stream = file if compression == "none" else pa.CompressedInputStream(pa.PythonFile(file, "r"), compression)
    rest, mark = b"", codecs.BOM_UTF8
    for text in _as_utf8(lambda: _read(stream, compression), encoding):
        end = text.rfind(b"\n") + 1
        if not end:
            rest += text
            if len(rest) > LONGEST_LINE_BYTES:
                raise DataError("it has a line of more than 64 MiB")
            continue
        yield (rest + text[:end]).removeprefix(mark)
        rest, mark = text[end:], b""
    if rest.removeprefix(mark):
        yield rest.removeprefix(mark)


def _read(stream: Any, compression: Compression) -> bytes:
    try:
        return bytes(stream.read(BLOCK_BYTES))
    except OSError as error:
        if compression == "none" or error.errno is not None:
            raise
        raise DataError(f"it is cut short, or not packed by {compression}") from None


def _as_utf8(read: Callable[[], bytes], encoding: str) -> Iterator[bytes]:
    if encoding != "utf-8":
        yield from _recoded(read, encoding)
        return
    while text := read():
        yield text


def _recoded(read: Callable[[], bytes], encoding: str) -> Iterator[bytes]:
    decoder = codecs.getincrementaldecoder(encoding)()
    is_read = False
    while not is_read:
        block = read()
        is_read = not block
        try:
            text = decoder.decode(block, final=is_read)
        except UnicodeDecodeError:
            raise DataError(f"it is not encoded in {encoding}") from None
        if text:
            yield text.encode()
