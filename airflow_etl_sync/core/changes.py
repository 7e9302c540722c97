"""What happened at a source, as its log tells it: changes of rows, and the commits between them."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from typing import Literal

Lsn = int
"""A position in the log of a PostgreSQL server; later is greater."""


class Unchanged(Enum):
    """A value kept out of line (TOAST) that an update did not touch, and that the log therefore leaves out."""

    UNCHANGED = "unchanged"


UNCHANGED = Unchanged.UNCHANGED
Value = str | None | Unchanged
"""The text of a value as PostgreSQL writes it; None is NULL."""
Values = tuple[Value, ...]
Identity = Literal["d", "n", "f", "i"]
"""Replica identity: default, nothing, full, index."""


def lsn_of(text: str) -> Lsn:
    """A position from PostgreSQL's way of writing it (``16/B374D848``).

    :raises ValueError: where the text is none
    """
    high, low = text.split("/")
    return (int(high, 16) << 32) + int(low, 16)


def lsn_text(lsn: Lsn) -> str:
    """A position as PostgreSQL writes it."""
    return f"{lsn >> 32:X}/{lsn & 0xFFFFFFFF:X}"


@dataclass(frozen=True, slots=True)
class RelationColumn:
    """:param is_key: whether it belongs to the replica identity"""

    name: str
    is_key: bool
    type_oid: int
    type_modifier: int


@dataclass(frozen=True, slots=True)
class Relation:
    """A table as it was when its next changes were made."""

    id: int
    schema: str
    name: str
    identity: Identity
    columns: tuple[RelationColumn, ...]

    def __str__(self) -> str:
        return f"{self.schema}.{self.name}"


@dataclass(slots=True)  # one for each change: to make a frozen one takes twice as long
class Insert:
    """:param new: the row's values in the order of the relation's columns"""

    relation: Relation
    new: Values = field(repr=False)


@dataclass(slots=True)  # one for each change: to make a frozen one takes twice as long
class Update:
    """A changed row.

    :param old: the row before; None where its identity did not change and is not full
    :param is_old_key: whether ``old`` holds the columns of the identity only, and None for the others; else it is the
        whole row, but of a partitioned table with FULL whose partitions have another identity: those send keys so
    """

    relation: Relation
    old: Values | None = field(repr=False)
    new: Values = field(repr=False)
    is_old_key: bool = True


@dataclass(slots=True)  # one for each change: to make a frozen one takes twice as long
class Delete:
    """:param old: the row before, see :class:`Update`"""

    relation: Relation
    old: Values = field(repr=False)
    is_old_key: bool = True


@dataclass(frozen=True, slots=True)
class Truncate:
    """Tables that were emptied together."""

    relations: tuple[Relation, ...]


RowChange = Insert | Update | Delete
Change = RowChange | Truncate


@dataclass(frozen=True, slots=True)
class Begin:
    """The changes of one transaction follow; transactions come whole and in the order of their commits."""

    final_lsn: Lsn
    committed_at: datetime
    xid: int


@dataclass(frozen=True, slots=True)
class Commit:
    """The end of a transaction. Only ``end_lsn`` is a position to go on from."""

    lsn: Lsn
    end_lsn: Lsn
    committed_at: datetime


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a transaction came from, if it was replicated itself."""

    lsn: Lsn
    name: str


@dataclass(frozen=True, slots=True)
class TypeMessage:
    """A type that is none of the built-in ones; of a domain its oid, but the name of the type that it is over."""

    oid: int
    schema: str
    name: str


@dataclass(frozen=True, slots=True)
class LogicalMessage:
    """What ``pg_logical_emit_message`` wrote into the log."""

    lsn: Lsn
    is_transactional: bool
    prefix: str
    content: bytes = field(repr=False)


Message = Begin | Commit | Insert | Update | Delete | Truncate | Relation | Origin | TypeMessage | LogicalMessage
