"""Which values a column of a binary log has."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from airflow_etl_sync.cdc.binlog import texts
from airflow_etl_sync.cdc.binlog.texts import Codec

if TYPE_CHECKING:
    from pymysqlreplication.column import Column

_TINY, _SHORT, _LONG, _FLOAT, _DOUBLE, _LONGLONG, _INT24, _DATE, _YEAR = 1, 2, 3, 4, 5, 8, 9, 10, 13
_VARCHAR, _BIT, _TIMESTAMP2, _DATETIME2, _TIME2 = 15, 16, 17, 18, 19
_NEWDECIMAL, _ENUM, _SET, _BLOB, _VAR_STRING, _STRING, _GEOMETRY = 246, 247, 248, 252, 253, 254, 255

WORD_TYPES = frozenset({_ENUM, _SET})
_TEXTS = frozenset({_VARCHAR, _BLOB, _VAR_STRING, _STRING})
CHARACTER_TYPES: Mapping[str, frozenset[int]] = {"mysql": _TEXTS, "mariadb": _TEXTS | {_GEOMETRY}}
"""Columns for which the log names a character set, by the kind of server."""

_SIZES = {_TINY: 1, _SHORT: 2, _INT24: 3, _LONG: 4, _LONGLONG: 8}
_BINARY = "binary"
_LONGEST_OF_ONE_BYTE = 255
_OF_THE_SERVERS_OWN_FORM = ("inet4", "inet6", "json_binary", "vector")
"""Declared types whose values the log tells in a form that only the server reads."""


def codec_of(column: Column, charset: str, declared: str) -> Codec:
    """How the values of a column are read.

    :param charset: its character set as MySQL calls it; empty where it has none
    :param declared: its type in the server's own words, as far as it is known
    :raises LookupError: where they cannot be read
    """
    if declared.startswith(_OF_THE_SERVERS_OWN_FORM):
        raise LookupError(declared)
    if column.type in _SIZES:
        return texts.integer(_SIZES[column.type], is_unsigned=column.unsigned)
    if column.type in _PLAIN:
        return _PLAIN[column.type](column)
    if column.type in WORD_TYPES:
        return _of_words(column, charset)
    if column.type in _TEXTS:
        return _of_texts(column, charset, declared)
    raise LookupError(column.type)


_PLAIN: Mapping[int, Callable[[Column], Codec]] = {
    _FLOAT: lambda _: texts.single(),
    _DOUBLE: lambda _: texts.double(),
    _DATE: lambda _: texts.day(),
    _YEAR: lambda _: texts.year(),
    _BIT: lambda column: texts.bits(column.bits),
    _TIMESTAMP2: lambda column: texts.instant(column.fsp),
    _DATETIME2: lambda column: texts.moment(column.fsp),
    _TIME2: lambda column: texts.duration(column.fsp),
    _NEWDECIMAL: lambda column: texts.decimal(column.precision, column.decimals),
    _GEOMETRY: lambda column: texts.octets(column.length_size),
}


def _of_words(column: Column, charset: str) -> Codec:
    known = (column.enum_values or [])[1:] if column.type == _ENUM else column.set_values or []
    if not texts.is_utf8(charset) and not all(word and word.isascii() for word in known):
        raise LookupError(charset)  # the words come in that character set, and are read as UTF-8
    return texts.word(column.size, known) if column.type == _ENUM else texts.words(column.size, known)


def _of_texts(column: Column, charset: str, declared: str) -> Codec:
    if column.type == _BLOB:
        length_bytes, padded_to = column.length_size, 0
    else:
        length_bytes = 1 if column.max_length <= _LONGEST_OF_ONE_BYTE else 2
        padded_to = column.max_length if column.type == _STRING else 0
    if declared == "uuid":
        return texts.uuid()
    if charset == _BINARY:
        return texts.octets(length_bytes, padded_to=padded_to)
    return texts.text("text", length_bytes, charset, column.name)
