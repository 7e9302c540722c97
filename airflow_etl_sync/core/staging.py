"""Chunks at rest: zstd Parquet objects below a root on local disk or object storage."""

from __future__ import annotations

import secrets
import socket
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from airflow_etl_sync.core.model import Chunk, Extraction
from airflow_etl_sync.core.storage import ObjectStorage, storage_at
from airflow_etl_sync.errors import ConfigurationError, EtlSyncError, SourceError, StateError

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

BATCH_ROWS = 16_384
_ROW_GROUP_ROWS = 65_536
_FORMAT: dict[str, Any] = {
    "compression": "zstd",
    "compression_level": 1,
    "use_dictionary": False,  # zstd finds what repeats; dictionaries cost a third more time, and are larger in the end
    "write_page_checksum": True,
}


class Staging:
    """Where chunks are put between extract and load.

    Names carry the extraction's id and the chunk's number only. Directories are private to the user
    where the storage knows users.

    :param root: a directory or a prefix of a bucket: a ``pathlib.Path``, or Airflow's ``ObjectStoragePath``
    :param uri: how other tasks find it, the connection's id included; by default the root's own text
    """

    def __init__(self, root: Any, uri: str | None = None) -> None:
        self.uri = uri or str(root)
        self._storage = storage_at(root)
        self._writer = secrets.token_hex(4)

    @property
    def host(self) -> str:
        """The machine a local root is on."""
        return socket.gethostname()

    @property
    def _is_shared(self) -> bool:
        return isinstance(self._storage, ObjectStorage)

    def write(self, extraction_id: str, number: int, schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> Chunk:
        """Write one chunk, under a name that no other try uses.

        :raises SourceError: (retryable) where the storage is full or unreachable
        :raises ConfigurationError: where there is no such bucket, or the connection may not write to it
        """
        import pyarrow.parquet as pq

        directory, name = _directory(extraction_id), _name(number, self._writer)
        rows = 0
        with self._explained(f"write chunk {number}"):
            with (
                self._storage.create(directory, name) as sink,
                pq.ParquetWriter(sink, schema, **_FORMAT) as writer,
            ):
                for batch in filter(len, batches):
                    rows += batch.num_rows
                    writer.write_batch(batch, row_group_size=_ROW_GROUP_ROWS)
            size = self._storage.size(directory, name)
        if size is None:
            raise SourceError(f"Chunk {number} is not there after it was written below {self.uri}.")
        return Chunk(number, rows, size, self._writer)

    @contextmanager
    def open(self, extraction: Extraction, chunk: Chunk) -> Iterator[pq.ParquetFile]:
        """Open a chunk, after checking that it is there and whole.

        :raises StateError: where it is not; the message tells what to do
        :raises SourceError: (retryable) where the storage is unreachable
        :raises ConfigurationError: where the connection may not read from the storage
        """
        import pyarrow.parquet as pq

        directory, name = _directory(extraction.extraction_id), _name(chunk.number, chunk.writer)
        with self._explained(f"read chunk {chunk.number}"):
            size = self._storage.size(directory, name)
            if size is None:
                raise StateError(self._missing(extraction, chunk))
            if size != chunk.bytes:
                raise StateError(
                    f"Chunk {chunk.number} of the extraction below {self.uri} is cut short: clear the extract task too."
                )
            with (
                self._storage.open(directory, name) as source,
                self._damage_explained(chunk),
                pq.ParquetFile(source, pre_buffer=False, page_checksum_verification=True) as file,
            ):
                yield file

    @contextmanager
    def _damage_explained(self, chunk: Chunk) -> Iterator[None]:
        """Damage may show when the file is opened, or only when a page is read."""
        import pyarrow as pa

        try:
            yield
        except (pa.ArrowInvalid, OSError) as error:
            if getattr(error, "errno", None) is not None:  # the storage's fault, not that of the bytes
                raise
            raise StateError(
                f"Chunk {chunk.number} of the extraction below {self.uri} is damaged: clear the extract task too."
            ) from None

    def remove(self, extraction_id: str) -> None:
        """Remove all chunks of an extraction; none may be left to remove.

        :raises SourceError: (retryable) where the storage is unreachable
        """
        with self._explained("remove the chunks"):
            self._storage.remove(_directory(extraction_id))

    def _missing(self, extraction: Extraction, chunk: Chunk) -> str:
        if extraction.host != self.host and not self._is_shared:
            return (
                f"Chunk {chunk.number} was staged on {extraction.host} below {self.uri}, which this machine does not "
                "have: set staging_uri to object storage that all workers reach."
            )
        return f"Chunk {chunk.number} of the extraction is gone from {self.uri}: clear the extract task too."

    @contextmanager
    def _explained(self, doing: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise self._explanation(f"Could not {doing} below {self.uri}", error) from error

    def _explanation(self, what: str, error: OSError) -> EtlSyncError:
        if self._is_shared and isinstance(error, PermissionError):
            return ConfigurationError(
                f"{what}: the storage refuses it. Correct the credentials of the connection named in the URI, or "
                "grant it to list, read, write and delete objects there."
            )
        if self._is_shared and isinstance(error, FileNotFoundError):
            return ConfigurationError(f"{what}: there is no such bucket, or the object is gone. Correct staging_uri.")
        return SourceError(f"{what}: {error.strerror or type(error).__name__}.")


def read_batches(file: pq.ParquetFile) -> Iterator[pa.RecordBatch]:
    """The batches of an open chunk, a row group at a time: memory stays flat."""
    for group in range(file.num_row_groups):
        yield from file.iter_batches(BATCH_ROWS, row_groups=[group], use_threads=False)


def _directory(extraction_id: str) -> str:
    if not extraction_id.isalnum():
        raise StateError("The extraction's id is not one that this package gives: pass extract.output as it is.")
    return extraction_id


def _name(number: int, writer: str) -> str:
    if not writer.isalnum():
        raise StateError("The extraction names a chunk that this package did not write: pass extract.output as it is.")
    return f"{int(number):06d}-{writer}.parquet"
