"""Positions in a binary log: the number of a file and a place in it, as one number that grows."""

from __future__ import annotations

from airflow_etl_sync.core.changes import Lsn

_PLACE_BITS = 32
_PLACE = (1 << _PLACE_BITS) - 1
FIRST_PLACE = 4
"""Where the first event of a file stands: behind four bytes that say what kind of file it is."""


def position_of(file: str, place: int) -> Lsn:
    """The position of a place in a file.

    :param file: ``mariadb-bin.000012``
    """
    return (int(file.rpartition(".")[2]) << _PLACE_BITS) + place


def base_of(file: str) -> str:
    """What the names of all files of a log begin with."""
    return file.rpartition(".")[0]


def file_number(position: Lsn) -> int:
    """The number of the file in which a position is."""
    return position >> _PLACE_BITS


def file_begin(number: int) -> Lsn:
    """The position at which a file begins."""
    return (number << _PLACE_BITS) + FIRST_PLACE


def place_of(base: str, position: Lsn) -> tuple[str, int]:
    """The file of a position, and the place in it."""
    return f"{base}.{file_number(position):06d}", position & _PLACE


def position_text(base: str, position: Lsn) -> str:
    """A position as the server's administrators know it: ``mariadb-bin.000012:4711``."""
    file, place = place_of(base, position)
    return f"{file}:{place}"
