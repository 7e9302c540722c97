"""Folded changes, piece by piece, on their way into one transaction of the destination."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from airflow_etl_sync.cdc.apply import Applier, StagedFold
from airflow_etl_sync.cdc.fold import Fold
from airflow_etl_sync.cdc.messages import Messages, Places
from airflow_etl_sync.cdc.pgoutput import Decoder
from airflow_etl_sync.cdc.reshaped import together
from airflow_etl_sync.cdc.tables import CdcCounts
from airflow_etl_sync.core.changes import Change, Relation, Truncate

if TYPE_CHECKING:
    from sqlalchemy import Connection


@dataclass(frozen=True, slots=True, kw_only=True)
class CaptureLimits:
    """How much is taken at once.

    :param batch_changes: after so many changes a batch ends, with the transaction in which it is reached
    :param piece_changes: so many changes are held and merged together, within a batch or a long transaction
    :param piece_bytes: or so many bytes of them
    """

    batch_changes: int = 500_000
    piece_changes: int = 50_000
    piece_bytes: int = 8_000_000


@dataclass(slots=True, kw_only=True)
class Pieces:
    """Changes that are folded until there are enough of them, and what becomes of such a piece.

    While one piece is applied, by a thread to which the connection belongs meanwhile, the next is staged, and the one
    behind it decoded and folded. A piece may end within a transaction, as between what a statement did to parents and
    what foreign keys then did to their children. Where targets reference each other, such a piece is tried, and grows
    if it does not hold: where a table changes its shape then, what was folded so far is held.

    :param asked: the tables of which rows were read again at the source, which the applier fills
    :param being_copied: the tables in which rows may be newer than what is applied of their changes
    :param truncated: the names of the tables that were emptied
    """

    applier: Applier
    connection: Connection
    limits: CaptureLimits
    new_fold: Callable[[], Fold]
    asked: dict[str, int]
    being_copied: set[str]
    are_related: bool
    counts: CdcCounts = field(default_factory=CdcCounts)
    truncated: set[str] = field(default_factory=set)
    _fold: Fold = field(init=False)
    _bytes: int = 0
    _whole_changes: int = 0
    _held: list[Fold] = field(default_factory=list)
    _patience: int = 1
    _fitting: dict[int, Relation] = field(default_factory=dict)
    _staged: Future[StagedFold] | None = None
    _applied: list[Future[None]] = field(default_factory=list)
    _staging: ThreadPoolExecutor = field(init=False)
    _applying: ThreadPoolExecutor = field(init=False)

    def __post_init__(self) -> None:
        self._fold = self.new_fold()

    @contextmanager
    def applied_beside(self) -> Iterator[None]:
        """Apply pieces while others are added; at the end all of them are applied."""
        with ThreadPoolExecutor(1) as self._staging, ThreadPoolExecutor(1) as self._applying:
            yield
            self._apply()
            self._wait(left=0)

    def add(self, change: Change, size: int) -> None:
        """Add one change.

        :param size: the bytes that it has in the log
        """
        if isinstance(change, Truncate) or id(change.relation) not in self._fitting:
            if not self._fold.fits(change):
                self._end_shape()
            if not isinstance(change, Truncate):
                self._fitting[id(change.relation)] = change.relation
        self._fold.add(change)
        self.note(size)

    def add_rows(self, relation: Relation, messages: Messages, places: Places, decoder: Decoder) -> None:
        """Add changes of one table for which there is :meth:`room`; :meth:`note` them when all tables are through."""
        if not self._fold.fits_table(relation):
            self._apply()
        self._fold.add_rows(relation, messages, places, decoder)

    def room(self, sizes: Places) -> int:
        """How many of the changes to come the piece takes, at least one.

        :param sizes: the bytes that each has in the log
        """
        before = np.searchsorted(np.cumsum(sizes), self.limits.piece_bytes - self._bytes)
        return max(1, min(self.limits.piece_changes - self._fold.changes, int(before) + 1))

    def note(self, size: int) -> None:
        """Note that changes of so many bytes were added, and apply the piece if it is full."""
        self._bytes += size
        self._end_if_full()

    def begin_transaction(self) -> None:
        """What is there is whole."""
        self._whole_changes = self._fold.changes

    def end_transaction(self) -> None:
        """What is there is whole: a piece that had to grow is applied."""
        if self._patience > 1:
            self._apply()

    def _end_if_full(self) -> None:
        limits, patience = self.limits, self._patience
        if self._fold.changes >= limits.piece_changes * patience or self._bytes >= limits.piece_bytes * patience:
            self._end_piece()

    def _end_piece(self) -> None:
        """Apply what may be a part of a transaction, or let it grow where it breaks foreign keys without the rest."""
        if not self.are_related:
            self._apply()
            return
        self._wait(left=0)
        counts = self.applier.try_to_apply(self.connection, self._whole(), reselect=self.being_copied)
        if counts is None:
            self._patience *= 2
        else:
            self._take_fold()
            self._note_counts(counts)

    def _end_shape(self) -> None:
        """Apply what came before a table changed its shape, or hold it until its transaction is whole."""
        if not self._held and self._fold.changes == self._whole_changes:
            self._apply()
            return
        self._end_piece()
        if self._fold.changes:
            self._held.append(self._fold)
            self._fold = self.new_fold()
            self._fitting.clear()

    def _whole(self) -> Fold:
        return together([*self._held, self._fold]) if self._held else self._fold

    def _apply(self) -> None:
        fold = self._take_fold()
        if not fold.changes:
            return
        # the rows of two pieces are held at most: one that is staged holds none, unless they are not whole
        holds_rows = self._staged is not None and self._staged.result().holds_rows
        self._wait(left=0 if holds_rows else 1)
        self._staged = self._staging.submit(self.applier.stage, fold)
        self._applied.append(self._applying.submit(self._apply_staged, self._staged))
        if fold.histories:
            self._wait(left=0)  # of a history every change is held, and not the last of each key only

    def _take_fold(self) -> Fold:
        """What is folded; a new fold begins."""
        fold, self._fold, self._patience = self._whole(), self.new_fold(), 1
        self._held.clear()
        self._bytes = self._whole_changes = 0
        self._fitting.clear()
        self.truncated |= fold.truncated
        return fold

    def _apply_staged(self, staged: Future[StagedFold]) -> None:
        self._note_counts(self.applier.apply(self.connection, staged.result(), reselect=self.being_copied))

    def _note_counts(self, counts: CdcCounts) -> None:
        self.counts += counts
        self.being_copied |= self.asked.keys()

    def _wait(self, *, left: int) -> None:
        """Wait until no more pieces than so many are on their way."""
        while len(self._applied) > left:
            self._applied.pop(0).result()
        if not self._applied:
            self._staged = None  # with what rows it holds
