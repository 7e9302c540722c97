"""Plain changes of one table, column by column: what most changes are, for the cost of a few calls for all of them.

A change is plain where the log tells its row whole: an insert or an update that leaves the key as it was, with no value
left out, or a delete. All else is decoded one by one, by :mod:`airflow_etl_sync.cdc.pgoutput`, which also says what is
wrong with a message.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from airflow_etl_sync.cdc.messages import Messages, Places
from airflow_etl_sync.cdc.pgoutput import not_utf8
from airflow_etl_sync.core.changes import Relation

if TYPE_CHECKING:
    import pyarrow as pa

Flags = NDArray[np.bool_]

_UPDATE, _DELETE = b"UD"
_KEY, _OLD, _NEW = b"KON"
_NULL, _TEXT = b"nt"
_ROW = 6
"""Where a change's row begins: behind its kind, the table's id, and what row it is."""


@dataclass(frozen=True, slots=True, eq=False)
class Columns:
    """Plain changes of one table, in the order of the log.

    :param places: which of the messages they are
    :param bounds: for each column, where in the messages' memory values begin and end, by turns
    :param nulls: for each column, whether a value is NULL
    """

    relation: Relation
    messages: Messages
    places: Places
    bounds: Sequence[NDArray[np.int32]]
    nulls: Sequence[Flags]

    @classmethod
    def of(cls, relation: Relation, messages: Messages, places: Places) -> Columns | None:
        """The changes at the given places, which are of this table; None where one of them is not plain."""
        begins = messages.starts[places]
        what = messages.bytes_at(begins + _ROW - 1)
        is_whole = np.where(messages.kinds[places] == _DELETE, (what == _KEY) | (what == _OLD), what == _NEW)
        has_all = messages.numbers_at(begins + _ROW, 2) == len(relation.columns)
        if not (is_whole & has_all).all():
            return None
        try:
            walked = _walk(messages, begins + _ROW + 2, messages.ends[places], len(relation.columns))
        except IndexError:
            return None
        return cls(relation, messages, places, *walked) if walked else None

    def __len__(self) -> int:
        return len(self.places)

    @property
    def deletes(self) -> Flags:
        """Which of the changes are deletes."""
        deletes: Flags = self.messages.kinds[self.places] == _DELETE
        return deletes

    @property
    def has_only_inserts(self) -> bool:
        return not np.isin(self.messages.kinds[self.places], (_UPDATE, _DELETE)).any()

    def __iter__(self) -> Iterator[bytes]:
        """The messages one by one."""
        return (self.messages[place] for place in self.places)

    def values(self, column: int, rows: Places | None = None) -> pa.StringArray:
        """A column's values, all or those of the rows given, copied out of the messages.

        :raises StateError: where a text is not UTF-8
        """
        import pyarrow as pa

        bounds, nulls = self.bounds[column], self.nulls[column]
        # values and what stands between them are by turns the values of an array that needs no copy
        validity = None
        if nulls.any():
            is_there = np.ones(len(bounds) - 1, np.bool_)
            is_there[::2] = ~nulls
            validity = pa.py_buffer(np.packbits(is_there, bitorder="little"))
        by_turns = pa.StringArray.from_buffers(
            len(bounds) - 1, pa.py_buffer(bounds), pa.py_buffer(self.messages.data), validity
        )
        values = by_turns.take(pa.array(2 * (np.arange(len(self)) if rows is None else rows)))
        try:
            values.validate(full=True)
        except pa.ArrowInvalid:
            raise not_utf8() from None
        return values


@dataclass(frozen=True, slots=True, eq=False)
class LastWords:
    """What is left of changes when of each key only the last one counts.

    :param rows: the rows that are to be, as columns of values in the order of the relation's
    :param deleted: the keys that have to go, as columns
    """

    rows: Sequence[pa.Array]
    deleted: Sequence[pa.Array]


def last_words(changes: Sequence[Columns], key: Sequence[int]) -> LastWords:
    """The last change of each key.

    :param changes: of one table, in the order of the log; not empty
    :param key: the places of the key's columns; no value there is NULL
    """
    import pyarrow as pa

    last = _last_of_each([[each.values(place) for each in changes] for place in key])
    kept, gone = [], []
    begin = 0
    for each in changes:
        is_last = last[begin : begin + len(each)]
        begin += len(each)
        kept.append((each, np.flatnonzero(is_last & ~each.deletes)))
        gone.append((each, np.flatnonzero(is_last & each.deletes)))

    def taken(what: Iterable[tuple[Columns, Places]], columns: Iterable[int]) -> list[pa.Array]:
        return [pa.concat_arrays([each.values(column, rows) for each, rows in what]) for column in columns]

    return LastWords(taken(kept, range(len(changes[0].relation.columns))), taken(gone, key))


def _walk(
    messages: Messages, at: Places, ends: Places, columns: int
) -> tuple[list[NDArray[np.int32]], list[Flags]] | None:
    """Go from value to value in all rows at once; None where they hold anything but texts and NULL.

    :raises IndexError: where a length leads out of the messages
    """
    bounds, nulls = [], []
    for _ in range(columns):
        kinds = messages.bytes_at(at)
        is_text = kinds == _TEXT
        is_null = kinds == _NULL
        if not (is_text | is_null).all():
            return None
        bound = np.empty(2 * len(at), np.int32)
        at = np.where(is_text, at + 5, at + 1)
        bound[::2] = at
        at = at + np.where(is_text, messages.numbers_at(at - 4, 4), 0)
        bound[1::2] = at
        bounds.append(bound)
        nulls.append(is_null)
    return (bounds, nulls) if (at == ends).all() else None


def _last_of_each(key: Sequence[Sequence[pa.Array]]) -> Flags:
    """Whether no later row has the same key.

    :param key: for each of its columns the values, in parts
    """
    import pyarrow as pa

    same = np.zeros(sum(map(len, key[0])), np.int64)
    for parts in key:
        indices = pa.concat_arrays(parts).dictionary_encode().indices.to_numpy()
        same = same * (int(indices.max()) + 1) + indices
        if len(key) > 1:
            same = np.unique(same, return_inverse=True)[1]
    last = np.zeros(int(same.max()) + 1, np.int64)
    np.maximum.at(last, same, np.arange(len(same)))
    is_last = np.zeros(len(same), np.bool_)
    is_last[last] = True
    return is_last
