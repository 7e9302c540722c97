"""A set of files as a stream: where they are, and how they are written."""

from __future__ import annotations

import codecs
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, Literal, cast, get_args

from airflow_etl_sync.errors import ConfigurationError

FileFormat = Literal["csv", "jsonl", "parquet"]
Compression = Literal["none", "gzip", "bz2", "zstd"]

MODIFIED, NAME, ROW = "file_modified", "file_name", "file_row"
FILE_CURSORS = (MODIFIED, NAME)
FILE_COLUMNS = (MODIFIED, NAME, ROW)
"""When a row's file was modified, the file's name below the URI's fixed part, and the row's line in it."""

_ENDINGS: dict[str, FileFormat] = {
    ".csv": "csv",
    ".tsv": "csv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".parquet": "parquet",
}
_PACKED: dict[str, Compression] = {".gz": "gzip", ".bz2": "bz2", ".zst": "zstd"}


@dataclass(frozen=True, slots=True, kw_only=True)
class FileSet:
    """Files that a URI matches; what is not said of their format is told by each file's ending.

    :param uri: where they are; ``*`` stands for a part of a name, ``**`` for folders, ``[0-9]`` for one character
    :param format: ``csv``, ``jsonl`` (one JSON object a line) or ``parquet``
    :param compression: ``none``, ``gzip``, ``bz2`` or ``zstd``; of Parquet, which packs its own columns, always none
    :param delimiter: what parts the fields of a CSV line
    :param quote: what stands around a field that holds a delimiter or line break; empty where nothing does
    :param header: whether the first line of a CSV file names its columns; else ``columns`` does
    :param encoding: of texts
    :param null_values: what a field of CSV without quotes is written as where it is NULL
    :param column_types: PostgreSQL's type of columns that the first rows do not tell, by name
    :param file_columns: which of ``file_modified``, ``file_name`` and ``file_row`` are columns of every row
    """

    uri: str
    format: FileFormat | None = None
    compression: Compression | None = None
    delimiter: str | None = None
    quote: str = '"'
    header: bool = True
    encoding: str = "utf-8"
    null_values: tuple[str, ...] = ("",)
    column_types: tuple[tuple[str, str], ...] = ()
    file_columns: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.uri.strip():
            raise ConfigurationError("uri is empty: name the files to read, such as s3://CONN_ID@BUCKET/PREFIX/*.csv.")
        if "?" in self.uri:
            raise ConfigurationError(
                "uri holds '?': write * for any part of a name, and put keys, tokens and options into the Airflow "
                "connection."
            )

    @classmethod
    def parse(cls, uri: str, options: Mapping[str, Any]) -> FileSet:
        """The files at a URI, read by the author's options.

        :raises ConfigurationError: naming the option that is unknown or wrong
        """
        unknown = next((name for name in options if name not in _READERS), None)
        if unknown is not None:
            near = get_close_matches(str(unknown), _READERS, n=1)
            hint = f"did you mean {near[0]}?" if near else f"it has {', '.join(_READERS)}."
            raise ConfigurationError(f"file_options has no key {str(unknown)[:80]!r}: {hint}")
        given = {name: value for name, value in options.items() if value is not None}
        return cls(uri=uri, **{name: _READERS[name](name, value) for name, value in given.items()})

    def format_of(self, name: str) -> FileFormat:
        """How a file is written.

        :raises ConfigurationError: where neither its ending nor the author tells
        """
        if self.format is not None:
            return self.format
        ending = _ending(name.removesuffix(_ending(name)) if _ending(name) in _PACKED else name)
        if ending not in _ENDINGS:
            raise ConfigurationError(
                f"The file {name!r} has an ending that tells no format ({', '.join(_ENDINGS)}): set format in "
                "file_options, or let uri match only the files to read."
            )
        return _ENDINGS[ending]

    def compression_of(self, name: str) -> Compression:
        """How a file is packed."""
        return self.compression or _PACKED.get(_ending(name), "none")

    def delimiter_of(self, name: str) -> str:
        """What parts the fields of a file's lines."""
        is_tabbed = name.removesuffix(_ending(name) if _ending(name) in _PACKED else "").endswith(".tsv")
        return self.delimiter or ("\t" if is_tabbed else ",")


def _ending(name: str) -> str:
    base = name.rpartition("/")[2]
    return base[base.rfind(".") :].lower() if "." in base else ""


def _word(choices: Any) -> Any:
    def read(name: str, value: object) -> Any:
        if value not in get_args(choices):
            _refuse(name, f"one of {', '.join(get_args(choices))}", value)
        return value

    return read


def _character(name: str, value: object) -> str:
    text = "\t" if value in ("\\t", "tab") else value
    if not isinstance(text, str) or len(text) != 1 or not text.isascii() or text in '\r\n"':
        _refuse(name, "one ASCII character, no quote and no line break", value)
    return cast("str", text)


def _quote(name: str, value: object) -> str:
    if value in ("", '"', "'"):
        return str(value)
    return cast("str", _refuse(name, "\" or ', or empty where no field is quoted", value))


def _flag(name: str, value: object) -> bool:
    word = str(value).strip().lower()
    return word == "true" if word in ("true", "false") else cast("bool", _refuse(name, "true or false", value))


def _encoding(name: str, value: object) -> str:
    try:
        return codecs.lookup(str(value)).name
    except LookupError:
        return cast("str", _refuse(name, "an encoding that Python knows, such as utf-8 or cp1252", value))


def _texts(name: str, value: object) -> tuple[str, ...]:
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, (list, tuple)) or not all(isinstance(text, str) for text in texts):
        _refuse(name, "a list of texts", value)
    return tuple(cast("list[str]", texts))


def _types(name: str, value: object) -> tuple[tuple[str, str], ...]:
    if not isinstance(value, Mapping) or not all(
        isinstance(part, str) and part for each in value.items() for part in each
    ):
        _refuse(name, "a mapping of columns to types", value)
    return tuple(cast("Mapping[str, str]", value).items())


def _file_columns(name: str, value: object) -> tuple[str, ...]:
    names = _texts(name, value)
    if not set(names) <= set(FILE_COLUMNS):
        _refuse(name, f"some of {', '.join(FILE_COLUMNS)}", value)
    return names


def _refuse(name: str, wanted: str, value: object) -> Any:
    raise ConfigurationError(f"{name} of file_options must be {wanted}, not {str(value)[:80]!r}.")


_READERS: dict[str, Any] = {
    "format": _word(FileFormat),
    "compression": _word(Compression),
    "delimiter": _character,
    "quote": _quote,
    "header": _flag,
    "encoding": _encoding,
    "null_values": _texts,
    "column_types": _types,
    "file_columns": _file_columns,
}
