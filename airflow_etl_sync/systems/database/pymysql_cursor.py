"""What PyMySQL knows of a result and does not say in public. Tests on a server hold it to this."""

from __future__ import annotations

from typing import Any, NamedTuple

UNSIGNED, ENUM, SET = 32, 256, 2048
"""Flags of a field (`list <https://mariadb.com/kb/en/result-set-packets/>`__)."""

BINARY_CHARSET = 63


class Field(NamedTuple):
    """A column of a result, as the server describes it.

    :param code: its type, one of ``pymysql.constants.FIELD_TYPE``
    :param length: in bytes, or digits with sign and point
    """

    name: str
    code: int
    flags: int
    charset: int
    length: int
    scale: int


def fields_of(cursor: Any) -> list[Field]:
    """The columns of a cursor's result."""
    return [
        Field(each.name, each.type_code, each.flags, each.charsetnr, each.length, each.scale)
        for each in cursor._result.fields  # noqa: SLF001 - its public description leaves flags and charset out
    ]


def give_up(cursor: Any) -> None:
    """Keep the driver from reading a result to its end before it lets go of it; the connection is of no use then."""
    if cursor._result is not None:  # noqa: SLF001
        cursor._result.unbuffered_active = False  # noqa: SLF001
