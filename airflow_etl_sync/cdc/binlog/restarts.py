"""The events of a log without what crashes of the server have cut off.

A server that crashes may have written a part of a transaction into its log. When it starts again it takes that
transaction back and begins a new file; MySQL then removes the part, MariaDB leaves it, and does not send a file on
behind an event that is cut.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import dataclass, field

from airflow_etl_sync.cdc.binlog.events import DELETES, UPDATES, WRITES, Event, Kind, read_events
from airflow_etl_sync.cdc.binlog.positions import file_begin, file_number, position_text
from airflow_etl_sync.cdc.binlog.statements import Statement
from airflow_etl_sync.core.changes import Lsn
from airflow_etl_sync.systems.database.access import DatabaseAccess

log = logging.getLogger(__name__)

_CANNOT_READ, _IS_CUT = 1236, "truncated in the middle of event"
_BEGUN_WITH_SERVER = slice(52, 56)
"""Of what tells of a file: 0, unless it is the first since the server has started, `Format_description_event
<https://dev.mysql.com/doc/dev/mysql-server/latest/classbinary__log_1_1Format__description__event.html>`__."""
_OF_ROWS = frozenset({Kind.TABLE_MAP, *WRITES, *UPDATES, *DELETES})
_ENDS = frozenset({Kind.XID, Kind.XA_PREPARE})


@dataclass(slots=True)
class WholeLog:
    """A log of which each file is read until its last whole transaction.

    :param files: gives the numbers of the files that the server has now, in their order
    """

    access: DatabaseAccess
    base: str
    files: Callable[[], Sequence[int]]
    _known: Sequence[int] = ()
    _ends: dict[int, Lsn] = field(default_factory=dict)

    def events(self, after: Lsn) -> Generator[Event]:
        """The events from a position on, until the log's end.

        :param after: the end of an event
        """
        file: Lsn | None = after
        while file is not None:
            file = yield from self._until_a_restart(file)

    def _until_a_restart(self, after: Lsn) -> Generator[Event, None, Lsn | None]:
        """Where the file begins that is the first since a restart; None where there was none."""
        following = None
        end = after
        with closing(read_events(self.access, self.base, after)) as events:
            for event in events:
                if event.kind == Kind.FORMAT and (following := self._first_since_restart(event.position)):
                    end = self._end_of(event.position)
                yield event
                if following and event.position >= end:
                    return following
        return None

    def _first_since_restart(self, position: Lsn) -> Lsn | None:
        """Where the next file begins, if it is the first since the server has started.

        Asked while the file of the position is being sent: a server that ends later ends that, too.
        """
        number = self._next_file(file_number(position))
        if number is None:
            return None
        begins = file_begin(number)
        with closing(read_events(self.access, self.base, begins)) as events:
            told = next(event for event in events if event.kind == Kind.FORMAT)
        return begins if any(told.body[_BEGUN_WITH_SERVER]) else None

    def _next_file(self, number: int) -> int | None:
        if not self._known or self._known[-1] <= number:
            self._known = self.files()
        return next((each for each in self._known if each > number), None)

    def _end_of(self, position: Lsn) -> Lsn:
        """The end of the last whole transaction in the file of a position, which is not written any more."""
        number = file_number(position)
        if number not in self._ends:
            self._ends[number] = self._find_end(position)
        return self._ends[number]

    def _find_end(self, position: Lsn) -> Lsn:
        whole, read, is_open = position, position, False
        try:
            with closing(read_events(self.access, self.base, position)) as events:
                for event in events:
                    if file_number(event.position) != file_number(position):
                        break
                    read, is_open = event.position, _is_open_behind(event, is_open)
                    whole = whole if is_open else read
        except Exception as error:
            number, *text = getattr(error, "args", ()) or (0,)
            if number != _CANNOT_READ or _IS_CUT not in str(text):
                raise
        if read > whole:
            log.info("Passing over a transaction behind %s that a crash cut off", position_text(self.base, whole))
        return whole


def _is_open_behind(event: Event, was_open: bool) -> bool:  # noqa: FBT001 - what is folded
    """Whether a transaction that has rows is open behind an event."""
    if event.kind in _OF_ROWS:
        return True
    if event.kind == Kind.QUERY:
        return was_open and Statement.of(event.body, {}).text.strip().upper() not in ("COMMIT", "ROLLBACK")
    return was_open and event.kind not in _ENDS
