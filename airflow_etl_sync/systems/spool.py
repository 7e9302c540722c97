"""A chunk's rows on this machine's disk, read from there as they are needed: gone with the process, however it ends."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa


def spooled(schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> pa.Table:
    """The rows of batches, as a table whose columns lie in a file that has no name any more."""
    import pyarrow as pa

    with tempfile.TemporaryDirectory(prefix="etl_sync_") as directory:  # for its owner only
        path = str(Path(directory) / "rows")
        with pa.OSFile(path, "wb") as sink, pa.ipc.new_file(sink, schema) as writer:
            for batch in batches:
                writer.write_batch(batch)
        file = pa.memory_map(path)
    return pa.ipc.open_file(file).read_all()
