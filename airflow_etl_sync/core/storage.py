"""Files in a directory of this machine, or below a prefix of object storage."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Any, Protocol

BLOCK_BYTES = 8 * 1024 * 1024
"""What is held in memory of an object while it is sent or read; S3 takes parts of at least 5 MiB, at most 10,000."""


class Storage(Protocol):
    """Where chunks lie. A file is named by a directory and a name in it.

    What the storage itself is to blame for is told as an :class:`OSError` with an ``errno``.
    """

    def create(self, directory: str, name: str) -> AbstractContextManager[Any]:
        """Open a new file for writing; where the block fails, what it wrote is given up."""

    def open(self, directory: str, name: str) -> AbstractContextManager[Any]:
        """Open a file for reading at any place of it."""

    def size(self, directory: str, name: str) -> int | None:
        """The size of a file in bytes; None where there is none."""

    def remove(self, directory: str) -> None:
        """Remove all files of a directory; there may be none."""


class LocalStorage:
    """Directories of this machine, private to the user.

    :param root: the directory around them, which need not exist yet
    """

    def __init__(self, root: Path) -> None:
        self._root = root

    @contextmanager
    def create(self, directory: str, name: str) -> Iterator[Any]:
        folder = self._root / directory
        self._root.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            with (folder / name).open("wb") as file:
                yield file
        except BaseException:
            with suppress(OSError):
                (folder / name).unlink(missing_ok=True)
            raise

    @contextmanager
    def open(self, directory: str, name: str) -> Iterator[Any]:
        with (self._root / directory / name).open("rb") as file:
            yield file

    def size(self, directory: str, name: str) -> int | None:
        path = self._root / directory / name
        return path.stat().st_size if path.exists() else None

    def remove(self, directory: str) -> None:
        folder = self._root / directory
        if folder.exists():
            for path in list(folder.iterdir()):
                path.unlink(missing_ok=True)
            folder.rmdir()


class ObjectStorage:
    """Objects below a prefix, whole or not there at all: an object appears when the last byte of it has arrived.

    :param filesystem: the fsspec file system, logged in
    :param prefix: bucket and prefix, without the protocol
    """

    def __init__(self, filesystem: Any, prefix: str) -> None:
        self._filesystem = filesystem
        self._prefix = prefix.rstrip("/")

    @contextmanager
    def create(self, directory: str, name: str) -> Iterator[Any]:
        with as_os_errors():
            file = self._filesystem.open(self._path(directory, name), "wb", block_size=BLOCK_BYTES)
        guarded = GuardedFile(file)
        try:
            yield guarded
            guarded.close()
        except BaseException:
            _give_up(file)
            raise

    @contextmanager
    def open(self, directory: str, name: str) -> Iterator[Any]:
        with as_os_errors():
            file = self._filesystem.open(self._path(directory, name), "rb", block_size=BLOCK_BYTES)
        try:
            yield GuardedFile(file)
        finally:
            file.close()

    def size(self, directory: str, name: str) -> int | None:
        try:
            with as_os_errors():
                return int(self._filesystem.info(self._path(directory, name))["size"])
        except FileNotFoundError:
            return None

    def remove(self, directory: str) -> None:
        path = self._path(directory)
        with as_os_errors():
            self._filesystem.invalidate_cache(path)  # another machine may have written since it was listed here
            with suppress(FileNotFoundError):
                self._filesystem.rm(path, recursive=True)

    def _path(self, *parts: str) -> str:
        return "/".join([self._prefix, *parts])


class GuardedFile:
    """An open object, as far as pyarrow needs it, whose faults are the storage's."""

    def __init__(self, file: Any) -> None:
        self._file = file

    @property
    def closed(self) -> bool:
        return bool(self._file.closed)

    def readable(self) -> bool:
        return bool(self._file.readable())

    def writable(self) -> bool:
        return bool(self._file.writable())

    def seekable(self) -> bool:
        return bool(self._file.seekable())

    def tell(self) -> int:
        return int(self._file.tell())

    def seek(self, offset: int, whence: int = 0) -> int:
        return int(self._file.seek(offset, whence))

    def read(self, size: int = -1) -> bytes:
        with as_os_errors():
            return bytes(self._file.read(size))

    def write(self, data: Any) -> int:
        with as_os_errors():
            return int(self._file.write(data))

    def flush(self) -> None:
        """Nothing: parts are sent when they are full, and the rest at the end."""

    def close(self) -> None:
        with as_os_errors():
            self._file.close()


def storage_at(root: Any) -> Storage:
    """The storage behind a path.

    :param root: a ``pathlib.Path``, or Airflow's ``ObjectStoragePath`` of a directory or a prefix
    """
    if isinstance(root, Path):
        return LocalStorage(root)
    if root.protocol in ("", "file", "local"):
        return LocalStorage(Path(root.path))
    with as_os_errors():
        return ObjectStorage(root.fs, root.path)


def _give_up(file: Any) -> None:
    """Leave an object unwritten: closing it, which the garbage collector does too, would complete it."""
    file.closed = True
    with suppress(Exception):  # what is sent but not completed is invisible, and the bucket's rules remove it
        file.discard()


@contextmanager
def as_os_errors() -> Iterator[None]:
    """Let the libraries of object storages, each with errors of its own, fail as a disk does."""
    try:
        yield
    except OSError as error:
        if error.errno is not None:
            raise
        if isinstance(error, (PermissionError, FileNotFoundError)):
            number = errno.EACCES if isinstance(error, PermissionError) else errno.ENOENT
            raise OSError(number, str(error)) from error
        raise OSError(errno.EIO, type(error).__name__) from error  # an address may stand in its text
    except Exception as error:
        raise OSError(errno.EIO, type(error).__name__) from error
