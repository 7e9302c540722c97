"""Messages of the log → pieces of changes: the transactions that are new, and the tables that are wanted."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import cast

import numpy as np

from airflow_etl_sync.cdc.change_log import RowsAgain
from airflow_etl_sync.cdc.history import Moment
from airflow_etl_sync.cdc.messages import Messages, Places, in_blocks
from airflow_etl_sync.cdc.pgoutput import Decoder
from airflow_etl_sync.cdc.wanted import Wanted
from airflow_etl_sync.core.changes import Begin, Commit, Delete, Insert, Lsn, Truncate, Update
from airflow_etl_sync.journey.cdc_pieces import Pieces

_BEGIN, _COMMIT = b"BC"
_ROWS = tuple(b"IUD")
_PASSED_OVER = ord("O")
_AT_ONCE = (_BEGIN, _COMMIT, *_ROWS, _PASSED_OVER)
_SIZES = {_BEGIN: 21, _COMMIT: 26}


@dataclass(slots=True, kw_only=True)
class Batch:
    """Transactions that the slot gives, of which some may be applied already.

    A transaction's commit lies before where another's ends if and only if it ends there or before, so whether it is
    applied already is known before its changes come.

    :param applied: where the commit of the last transaction ends that is applied
    :param moment: where the changes are that are added, for histories
    :param messages: how many the slot has given
    :param transactions: how many of them were new
    :param committed: where the last one's commit ends
    :param oldest: when the first one was committed, by the source's clock
    """

    pieces: Pieces
    wanted: Wanted
    rows: RowsAgain
    applied: Lsn
    moment: Moment
    messages: int = 0
    transactions: int = 0
    committed: Lsn | None = None
    oldest: datetime | None = None
    _decoder: Decoder = field(default_factory=Decoder)
    _is_new: bool = False

    def take(self, messages: Iterable[bytes]) -> None:
        """Fold and apply what comes.

        Changes are looked at one by one where their order counts beyond that of each table's.
        """
        one_by_one = bool(self.wanted.histories) or self.pieces.are_related
        for block in in_blocks(messages):
            self.messages += len(block)
            if one_by_one:
                self._take_each(block)
            else:
                self._take_at_once(block)

    # -- one by one ---------------------------------------------------------------------------------------

    def _take_each(self, messages: Iterable[bytes]) -> None:
        for data in messages:
            message = self._decoder.decode(data)
            if isinstance(message, Begin):
                self._is_new = message.final_lsn >= self.applied
                if self._is_new:
                    self._begin(message)
            elif not self._is_new:
                continue
            elif isinstance(message, Commit):
                self.committed = message.end_lsn
                self.transactions += 1
                self.pieces.end_transaction()
            elif isinstance(message, (Insert, Update, Delete, Truncate)):
                self.moment.sequence += 1
                if (change := self.wanted.of(message)) is not None:
                    self.pieces.add(change, len(data))

    def _begin(self, begin: Begin) -> None:
        self.pieces.begin_transaction()
        self.moment.begin(begin)
        self.rows.met([begin.xid])
        if self.oldest is None:
            self.oldest = begin.committed_at

    # -- many at once -------------------------------------------------------------------------------------

    def _take_at_once(self, block: Messages) -> None:
        for part in _between_others(block):
            if len(part) == 1:
                self._take_each(block[place] for place in part)
            else:
                self._take_part(block, part)

    def _take_part(self, block: Messages, part: Places) -> None:
        """Take messages among which no table is told nor emptied."""
        kinds = block.kinds[part]
        begins, commits = part[kinds == _BEGIN], part[kinds == _COMMIT]
        self._refuse_cut_short(block, begins, commits)
        is_new = np.append(self._is_new, block.numbers_at(block.starts[begins] + 1, 8) >= self.applied)
        self._is_new = bool(is_new[-1])

        def new(places: Places) -> Places:
            of_new: Places = places[is_new[np.searchsorted(begins, places)]]
            return of_new

        self._note_begun(block, begins[is_new[1:]])
        self._note_committed(block, new(commits))
        self._add_rows(block, new(part[np.isin(kinds, _ROWS)]))

    def _note_begun(self, block: Messages, begins: Places) -> None:
        self.rows.met(block.numbers_at(block.starts[begins] + 17, 4).tolist())
        if self.oldest is None and len(begins):
            self.oldest = cast("Begin", self._decoder.decode(block[begins[0]])).committed_at

    def _note_committed(self, block: Messages, commits: Places) -> None:
        self.transactions += len(commits)
        if len(commits):
            self.committed = int(block.numbers_at(block.starts[commits[-1:]] + 10, 8)[0])

    def _add_rows(self, block: Messages, rows: Places) -> None:
        tables = block.numbers_at(block.starts[rows] + 1, 4)
        wanted = [table for table in np.unique(tables) if self._is_wanted(block, rows[tables == table][0], int(table))]
        is_wanted = np.isin(tables, wanted)
        rows, tables, sizes = rows[is_wanted], tables[is_wanted], block.sizes(rows[is_wanted])
        while len(rows):
            count = self.pieces.room(sizes)
            for table in wanted:
                places = rows[:count][tables[:count] == table]
                if len(places) and (relation := self._decoder.relation(int(table))):
                    self.pieces.add_rows(relation, block, places, self._decoder)
            self.pieces.note(int(sizes[:count].sum()))
            rows, tables, sizes = rows[count:], tables[count:], sizes[count:]

    def _is_wanted(self, block: Messages, first: int, table: int) -> bool:
        relation = self._decoder.relation(table)
        if relation is None:
            self._decoder.decode(block[first])  # which says that it is about a table not told
        return relation is not None and self.wanted.has(relation)

    def _refuse_cut_short(self, block: Messages, begins: Places, commits: Places) -> None:
        for kind, places in ((_BEGIN, begins), (_COMMIT, commits)):
            for place in places[block.sizes(places) != _SIZES[kind]]:
                self._decoder.decode(block[place])


def _between_others(block: Messages) -> Iterator[Places]:
    """The messages in order, in parts: each of another kind by itself, and those between them."""
    begin, places = 0, np.arange(len(block))
    for other in np.flatnonzero(~np.isin(block.kinds, _AT_ONCE)):
        if begin < other:
            yield places[begin:other]
        yield places[other : other + 1]
        begin = other + 1
    if begin < len(block):
        yield places[begin:]
