"""Every change of a table as a row, none folded away: what a history appends."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import NamedTuple

from airflow_etl_sync.cdc.keyed import Key, KeyedTable, filled
from airflow_etl_sync.core.changes import UNCHANGED, Begin, Delete, Insert, Lsn, Relation, Update, Values, lsn_text
from airflow_etl_sync.core.history import Operation


@dataclass(slots=True)
class Moment:
    """Where in the log the changes are that come now.

    :param lsn: where the commit of their transaction stands
    :param committed_at: when that was
    :param sequence: the place of the last change in the transaction, whichever table it was of; from 1
    """

    lsn: Lsn = 0
    lsn_text: str = "0/0"
    committed_at: str = ""
    sequence: int = 0

    def begin(self, transaction: Begin) -> None:
        """Go on to the next transaction."""
        self.lsn, self.lsn_text = transaction.final_lsn, lsn_text(transaction.final_lsn)
        self.committed_at = transaction.committed_at.isoformat(" ")
        self.sequence = 0


class Fill(IntEnum):
    """Where the values of a row come from that the log leaves out."""

    NOTHING = 0
    """No value is left out, or nobody has told it: it is unknown."""
    COLUMNS = 1
    """An update did not touch them: from the last row of the same key that has them."""
    ROW = 2
    """A delete tells the key only: from the last row of the key."""


class HistoryRow(NamedTuple):
    """One row to append.

    :param values: in the order of the relation's columns; UNCHANGED where the log does not say
    :param looked_up: the key under which the target has the row as it was before
    """

    op: Operation
    lsn: str
    sequence: int
    committed_at: str
    values: Values
    fill: Fill
    looked_up: Key | None


class _Known(NamedTuple):
    """What is known of a row after a change of this piece."""

    values: Values
    fill: Fill
    looked_up: Key | None


_NEVER = _Known((), Fill.NOTHING, None)


@dataclass(slots=True)
class TableHistory(KeyedTable):
    """The changes of one table in their order, each with the values that its row had.

    A changed key is a delete of the former and an insert of the new one, so that the last row of a key always says
    whether there is such a row. What the log leaves out is taken from an earlier change in the piece; where there is
    none, the row says under which key the target has it.

    :param moment: where the changes are that are added
    :param is_partitioned: whether the log may leave out columns of deletes even under replica identity FULL, since
        partitions have identities of their own
    :param is_truncated: whether the table was emptied at some place
    :param changes: how many were added
    :param first: the position of the first of them
    """

    moment: Moment
    is_partitioned: bool = False
    is_truncated: bool = False
    changes: int = 0
    first: Lsn = 0
    rows: list[HistoryRow] = field(default_factory=list)
    _known: dict[Key, _Known] = field(default_factory=dict, repr=False)
    _is_key_told: bool = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._is_key_told = self.is_key_told

    def add(self, change: Insert | Update | Delete) -> None:
        """Add one change.

        :raises EtlSyncError: where the change does not tell its row's key
        """
        self.changes += 1
        if isinstance(change, Insert):
            self._append("insert", self.key_of(change.new), _Known(change.new, Fill.NOTHING, None))
        elif isinstance(change, Delete):
            self.refuse_nothing()
            self._delete(self.key_of(change.old), self._told(change))
        else:
            self._update(change)

    def truncate(self) -> None:
        """Note that the table was emptied: a row without values."""
        self.changes += 1
        self.is_truncated = True
        self._known.clear()
        self._write("truncate", _Known((None,) * len(self.relation.columns), Fill.NOTHING, None))

    def _update(self, change: Update) -> None:
        self.refuse_nothing()
        values, old = change.new, change.old
        if old is None and not self._is_key_told:
            raise self.keyless()
        if old is not None:
            values = filled(values, old)
        key = self.key_of(values)
        before = key if old is None else self.key_of(old)
        after = self._after(before, values)
        if before == key:
            self._append("update", key, after)
        else:
            self._delete(before, self._told(change))
            self.moment.sequence += 1
            self._append("insert", key, after)

    def _after(self, before: Key, values: Values) -> _Known:
        """A row after an update, with what is known of it from before."""
        if UNCHANGED not in values:
            return _Known(values, Fill.NOTHING, None)
        former = self._former(before)
        if former is None:
            return _Known(values, Fill.COLUMNS, before)
        return _Known(filled(values, former.values) if former.values else values, former.fill, former.looked_up)

    def _delete(self, key: Key, told: Values) -> None:
        if UNCHANGED not in told:
            gone = _Known(told, Fill.NOTHING, None)
        elif (former := self._former(key)) is None:
            gone = _Known(told, Fill.ROW, key)
        elif former.values:
            values = tuple([old if new is UNCHANGED else new for new, old in zip(told, former.values, strict=True)])
            gone = _Known(values, former.fill, former.looked_up)
        else:
            gone = _Known(told, Fill.NOTHING, None)
        self._append("delete", key, gone)
        self._known[key] = _NEVER

    def _former(self, key: Key) -> _Known | None:
        """The row as this piece knows it; None where only the target can."""
        return self._known.get(key, _NEVER if self.is_truncated else None)

    def _told(self, change: Update | Delete) -> Values:
        """What the log tells of a row that is gone."""
        old = change.old or ()
        if not change.is_old_key and not self.is_partitioned:
            return old
        return tuple([UNCHANGED if value is None else value for value in old])

    def _append(self, op: Operation, key: Key, row: _Known) -> None:
        self._known[key] = row
        self._write(op, row)

    def _write(self, op: Operation, row: _Known) -> None:
        at = self.moment
        if not self.rows:
            self.first = at.lsn
        self.rows.append(HistoryRow(op, at.lsn_text, at.sequence, at.committed_at, *row))


@dataclass(frozen=True, slots=True)
class Histories:
    """Which tables have their changes appended.

    :param partitioned: by ``schema.name``, whether the table is partitioned
    :param moment: where the changes are that come now
    """

    partitioned: Mapping[str, bool]
    moment: Moment = field(default_factory=Moment)

    def table(self, relation: Relation, key_places: tuple[int, ...]) -> TableHistory | None:
        """An empty history of the table; None where its changes are folded."""
        is_partitioned = self.partitioned.get(str(relation))
        if is_partitioned is None:
            return None
        return TableHistory(relation, key_places, self.moment, is_partitioned)
