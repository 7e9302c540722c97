"""Where the files are: which there are now, and their bytes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

from airflow_etl_sync.core.storage import BLOCK_BYTES, GuardedFile, as_os_errors
from airflow_etl_sync.errors import ConfigurationError, SourceError

_WILD = "*["
_TIMES = ("LastModified", "last_modified", "updated", "mtime")
_TAGS = ("ETag", "etag", "generation")
_DIGEST_BYTES = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundFile:
    """A file, as it was when it was listed.

    :param name: below the fixed part of the URI
    :param path: as the file system knows it
    :param modified: when it was written, in UTC
    :param content: what changes with its content: an etag, or time and size
    :param has_etag: whether the storage vouches for it
    """

    name: str
    path: str
    size: int
    modified: datetime
    content: str
    has_etag: bool

    @property
    def version(self) -> str:
        """A digest of name and content, eight characters long."""
        return digest(self.name, self.content)


def digest(*parts: str) -> str:
    """A short text that is the same for the same parts only, but for chance: one in 10¹⁴."""
    import base64

    whole = hashlib.sha256("\0".join(parts).encode(errors="surrogateescape")).digest()
    return base64.b64encode(whole[:_DIGEST_BYTES]).decode()


class FilePlace:
    """Files that a pattern matches.

    Names that begin with a dot or an underscore are left out below the pattern's fixed part: that is how writers call
    what they have not finished.

    :param filesystem: the fsspec file system, logged in
    :param pattern: a path on it, without the protocol
    :param uri: how people know the place; it holds no secret
    """

    def __init__(self, filesystem: Any, pattern: str, uri: str) -> None:
        self.uri = uri
        self._filesystem = filesystem
        self._pattern = pattern
        wild = next((place for place, letter in enumerate(pattern) if letter in _WILD), len(pattern))
        self.folder = pattern[: pattern.rfind("/", 0, wild) + 1]

    @property
    def protocol(self) -> str:
        """``s3``, ``file`` and the like."""
        protocol = self._filesystem.protocol
        return str(protocol if isinstance(protocol, str) else protocol[0])

    @property
    def _is_pinned(self) -> bool:
        """Whether an open file gives the bytes of one version only, as s3fs sees to (``If-Match``)."""
        return self.protocol == "s3"

    def list(self) -> list[FoundFile]:
        """The files that there are now, in no order.

        :raises SourceError: (retryable) where the storage is unreachable
        :raises ConfigurationError: where it refuses, or there is no such bucket
        """
        with self._explained("list the files at"), as_os_errors():
            self._filesystem.invalidate_cache()  # another machine may have written since it was listed here
            found = self._filesystem.glob(self._pattern, detail=True)
        files = [
            self._found(path, about) for path, about in found.items() if about["type"] == "file" or about.get("islink")
        ]
        return [file for file in files if not _is_unfinished(file.name)]

    @contextmanager
    def open(self, file: FoundFile, *, is_read_in_order: bool) -> Iterator[Any]:
        """The bytes of a file.

        :param is_read_in_order: whether from beginning to end, so that some can be fetched ahead
        :raises SourceError: (retryable) where the storage is unreachable, or the file is gone or another by now
        """
        with self._explained(f"read the file {file.name!r} at"):
            with as_os_errors():
                self._filesystem.invalidate_cache(file.path)
                fetching = {} if is_read_in_order else {"cache_type": "none"}
                opened = self._filesystem.open(file.path, "rb", block_size=BLOCK_BYTES, **fetching)
            try:
                self._refuse_other(file, opened.details if self._is_pinned else None)
                yield GuardedFile(opened)
            finally:
                opened.close()

    def refuse_changed(self, file: FoundFile) -> None:
        """Let no byte pass that was read after the file has changed.

        :raises SourceError: (retryable) where it is not what it was when it was listed
        """
        if not self._is_pinned:
            self._refuse_other(file, None)

    def _refuse_other(self, file: FoundFile, about: Mapping[str, Any] | None) -> None:
        with self._explained(f"look at the file {file.name!r} at"):
            with as_os_errors():
                if about is None:
                    self._filesystem.invalidate_cache(file.path)
                    about = self._filesystem.info(file.path)
            if _content(about, _modified(about)) != file.content:
                raise SourceError(
                    f"The file {file.name!r} at {self.uri} was changed while it was read: the next try or run reads "
                    "its newest version. Let its writer write elsewhere and move it here, or set lag."
                )

    def _found(self, path: str, about: Mapping[str, Any]) -> FoundFile:
        with self._explained("list the files at"), as_os_errors():
            about = self._filesystem.info(path) if about.get("islink") else about  # else it tells of the link
            modified = _modified(about) or self._filesystem.modified(path)
        return FoundFile(
            name=path.removeprefix(self.folder),
            path=path,
            size=int(about["size"] or 0),
            modified=modified.astimezone(timezone.utc),
            content=_content(about, modified),
            has_etag=any(about.get(tag) for tag in _TAGS),
        )

    @contextmanager
    def _explained(self, doing: str) -> Iterator[None]:
        what = f"Could not {doing} {self.uri}"
        try:
            yield
        except PermissionError as error:
            raise ConfigurationError(
                f"{what}: it is refused. Correct the credentials of the connection, or grant it to list and read there."
            ) from error
        except FileNotFoundError as error:
            raise SourceError(f"{what}: it is not there, or not any more.") from error
        except OSError as error:
            if error.errno is None:  # not the storage's, but of what the bytes are
                raise
            raise SourceError(f"{what}: {error.strerror or type(error).__name__}.") from error


def _modified(about: Mapping[str, Any]) -> datetime | None:
    value = next((about[name] for name in _TIMES if about.get(name) is not None), None)
    if isinstance(value, (int, float)):
        return datetime.fromtimestamp(value, timezone.utc)
    if isinstance(value, str):
        value = datetime.fromisoformat(value.replace("Z", "+00:00"))
    if isinstance(value, datetime):
        return value if value.tzinfo else value.replace(tzinfo=timezone.utc)
    return None


def _content(about: Mapping[str, Any], modified: datetime | None) -> str:
    """An etag where there is one, else all that is known of a file and changes with it."""
    tag = next((about[name] for name in _TAGS if about.get(name)), None)
    if tag is not None:
        return f"{tag} {about['size']}"
    return f"{about.get('mtime', modified)} {about['size']} {about.get('ino', '')}"


def _is_unfinished(name: str) -> bool:
    return any(part.startswith((".", "_")) for part in name.split("/"))
