"""How the values of a column are read, by what the log and the table tell of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from airflow_etl_sync.cdc.binlog import texts
from airflow_etl_sync.cdc.binlog.table_maps import ColumnKind, ToldColumn
from airflow_etl_sync.cdc.binlog.texts import Codec

_BINARY = "binary"
_LONGEST_OF_ONE_BYTE = 255
_OF_THE_SERVERS_OWN_FORM = ("inet4", "inet6", "vector")
"""Declared types whose values the log tells in a form that only the server reads."""


def codec_of(column: ToldColumn, charset: str, declared: str) -> Codec:
    """How the values of a column are read.

    :param charset: its character set as MySQL calls it; empty where it has none
    :param declared: its type in the server's own words, as far as it is known
    :raises LookupError: where they cannot be read
    """
    if declared.startswith(_OF_THE_SERVERS_OWN_FORM) or column.kind not in _CODECS:
        raise LookupError(column.kind)
    if declared == "uuid":
        return texts.uuid()
    return _CODECS[ColumnKind(column.kind)](column, charset)


def _integer(size: int) -> Callable[[ToldColumn, str], Codec]:
    return lambda column, _: texts.integer(size, is_unsigned=column.is_unsigned)


def _bits(column: ToldColumn, _: str) -> Codec:
    bits, octets = column.meta
    return texts.bits(8 * octets + bits)


def _text(length_bytes: int, charset: str, *, padded_to: int = 0) -> Codec:
    if charset == _BINARY:
        return texts.octets(length_bytes, padded_to=padded_to)
    return texts.text(length_bytes, charset)


def _varying_text(column: ToldColumn, charset: str) -> Codec:
    longest = column.meta[0] + (column.meta[1] << 8)
    return _text(1 if longest <= _LONGEST_OF_ONE_BYTE else 2, charset)


def _fixed_text(column: ToldColumn, charset: str) -> Codec:
    """Of lengths above 255, the two highest bits stand among those of the type."""
    type_, length = column.meta
    longest = ((type_ << 4 & 0x300) ^ 0x300) + length
    return _text(1 if longest <= _LONGEST_OF_ONE_BYTE else 2, charset, padded_to=longest)


_CODECS: Mapping[ColumnKind, Callable[[ToldColumn, str], Codec]] = {
    ColumnKind.TINY: _integer(1),
    ColumnKind.SHORT: _integer(2),
    ColumnKind.INT24: _integer(3),
    ColumnKind.LONG: _integer(4),
    ColumnKind.LONGLONG: _integer(8),
    ColumnKind.FLOAT: lambda *_: texts.single(),
    ColumnKind.DOUBLE: lambda *_: texts.double(),
    ColumnKind.NEWDECIMAL: lambda column, _: texts.decimal(*column.meta),
    ColumnKind.BIT: _bits,
    ColumnKind.YEAR: lambda *_: texts.year(),
    ColumnKind.DATE: lambda *_: texts.day(),
    ColumnKind.DATETIME2: lambda column, _: texts.moment(column.meta[0]),
    ColumnKind.TIMESTAMP2: lambda column, _: texts.instant(column.meta[0]),
    ColumnKind.TIME2: lambda column, _: texts.duration(column.meta[0]),
    ColumnKind.ENUM: lambda column, charset: texts.word(column.meta[1], column.words, charset),
    ColumnKind.SET: lambda column, charset: texts.words(column.meta[1], column.words, charset),
    ColumnKind.VARCHAR: _varying_text,
    ColumnKind.VAR_STRING: _varying_text,
    ColumnKind.STRING: _fixed_text,
    ColumnKind.BLOB: lambda column, charset: _text(column.meta[0], charset),
    ColumnKind.GEOMETRY: lambda column, _: texts.octets(column.meta[0]),
}
"""JSON of MySQL is not among them: the log has it in a binary form of its own, which was not tried."""
