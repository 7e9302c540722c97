"""The files under a lake's root: each appears whole, in one step, or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Any, Protocol

from airflow_etl_sync.core.storage import ObjectStorage


class LakeFiles(Protocol):
    """Files named by a directory below the root and a name in it."""

    @property
    def root(self) -> str:
        """Where they are, without login."""

    @property
    def uri(self) -> str:
        """The same with the protocol of a bucket."""

    def is_there(self) -> bool:
        """Whether the root is a place on this machine, or a bucket."""

    def create(self, directory: str, name: str) -> AbstractContextManager[Any]:
        """Open a new file for writing; it is there when the block has ended well, in the place of one of that name."""

    def open(self, directory: str, name: str) -> AbstractContextManager[Any]:
        """Open a file for reading."""

    def find(self, directory: str, beginning: str) -> list[tuple[str, str]]:
        """Directory and name of each file below a directory whose name begins so."""

    def remove(self, directory: str, name: str) -> None:
        """Remove a file, which may be gone."""


class DirectoryFiles:
    """Files of this machine, or of a disk that several share."""

    def __init__(self, root: Path) -> None:
        self._root = root

    @property
    def root(self) -> str:
        return str(self._root)

    @property
    def uri(self) -> str:
        return self.root

    def is_there(self) -> bool:
        return self._root.is_dir()

    @contextmanager
    def create(self, directory: str, name: str) -> Iterator[Any]:
        folder = self._root / directory
        folder.mkdir(parents=True, exist_ok=True)
        unseen = folder / f".{name}.unfinished"  # readers of a lake pass over names that begin with a dot
        try:
            with unseen.open("wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            unseen.replace(folder / name)
        except BaseException:
            with suppress(OSError):
                unseen.unlink(missing_ok=True)
            raise

    @contextmanager
    def open(self, directory: str, name: str) -> Iterator[Any]:
        with (self._root / directory / name).open("rb") as file:
            yield file

    def find(self, directory: str, beginning: str) -> list[tuple[str, str]]:
        found = [path for path in (self._root / directory).rglob("*.parquet") if path.name.startswith(beginning)]
        return [(str(path.parent.relative_to(self._root)), path.name) for path in sorted(found)]

    def remove(self, directory: str, name: str) -> None:
        (self._root / directory / name).unlink(missing_ok=True)


class BucketFiles:
    """Objects below a prefix of a bucket.

    :param filesystem: the fsspec file system, logged in
    :param prefix: bucket and prefix, without the protocol
    """

    def __init__(self, filesystem: Any, prefix: str) -> None:
        self._filesystem = filesystem
        self._prefix = prefix.strip("/")
        self._objects = ObjectStorage(filesystem, self._prefix)

    @property
    def root(self) -> str:
        return self._prefix

    @property
    def uri(self) -> str:
        return f"s3://{self._prefix}"

    def is_there(self) -> bool:
        return True

    def create(self, directory: str, name: str) -> AbstractContextManager[Any]:
        return self._objects.create(directory, name)

    def open(self, directory: str, name: str) -> AbstractContextManager[Any]:
        return self._objects.open(directory, name)

    def find(self, directory: str, beginning: str) -> list[tuple[str, str]]:
        self._filesystem.invalidate_cache()
        paths = [path.removeprefix(f"{self._prefix}/") for path in self._filesystem.find(f"{self._prefix}/{directory}")]
        parted = [tuple(path.rsplit("/", 1)) for path in paths]
        return [(folder, name) for folder, name in parted if name.startswith(beginning) and name.endswith(".parquet")]

    def remove(self, directory: str, name: str) -> None:
        with suppress(FileNotFoundError):
            self._filesystem.rm_file(f"{self._prefix}/{directory}/{name}")
