"""Many changes, of which the last word of each key counts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field
from typing import cast

from airflow_etl_sync.cdc.columns import Columns
from airflow_etl_sync.cdc.history import Histories, TableHistory
from airflow_etl_sync.cdc.keyed import Key, KeyedTable, filled, key_places
from airflow_etl_sync.cdc.messages import Messages, Places
from airflow_etl_sync.cdc.pgoutput import Decoder, row_change
from airflow_etl_sync.core.changes import (
    UNCHANGED,
    Change,
    Delete,
    Insert,
    Relation,
    RowChange,
    Truncate,
    Update,
    Values,
)


@dataclass(slots=True)  # one for each change: to make a frozen one takes twice as long
class Upsert:
    """A row as it has to be.

    :param values: in the order of the relation's columns; UNCHANGED where the log does not say
    :param moved_from: where UNCHANGED values remain and updates have changed the key: under which key the
        destination had the row; the key itself, where the row has come back to it
    :param is_new: where UNCHANGED values remain: whether the destination has had no such row, and only the source
        can tell; so it is with a row that an update brought past the publication's row filter
    """

    values: Values = field(repr=False)
    moved_from: Key | None = field(default=None, repr=False)
    is_new: bool = False

    @property
    def is_whole(self) -> bool:
        """Whether all its values are known."""
        return UNCHANGED not in self.values


@dataclass(slots=True)
class TableFold(KeyedTable):
    """The changes of one table. Deletes are to be applied before upserts.

    While all of them are plain they are held as columns, else by key.

    :param is_truncated: whether the table was emptied before what follows
    :param columns: plain changes, of which the last word of each key counts; there are no others then
    :param upserts: rows as they have to be, by key
    :param deletes: keys whose row must go, if there is one
    :param changes: how many were folded
    """

    is_truncated: bool = False
    columns: list[Columns] = field(default_factory=list)
    upserts: dict[Key, Upsert] = field(default_factory=dict)
    deletes: dict[Key, None] = field(default_factory=dict)
    changes: int = 0
    _is_key_told: bool = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._is_key_told = self.is_key_told

    def add(self, change: RowChange) -> None:
        """Fold one change in.

        :raises EtlSyncError: where the change does not tell its row's key
        """
        self._spell_out()
        self.changes += 1
        self._add(change)

    def add_plain(self, messages: Messages, places: Places) -> bool:
        """Fold the changes in, if all are plain and nothing else was folded; whether they were."""
        if self.upserts or self.deletes:
            return False
        columns = Columns.of(self.relation, messages, places)
        if columns is None or not self._tells_its_keys(columns):
            return False
        self.changes += len(columns)
        self.columns.append(columns)
        return True

    def _tells_its_keys(self, columns: Columns) -> bool:
        if any(columns.nulls[place].any() for place in self.key_places):
            return False
        return columns.has_only_inserts or (self._is_key_told and self.relation.identity != "n")

    def _spell_out(self) -> None:
        """Fold the plain changes one by one."""
        columns, self.columns = self.columns, []
        for changes in columns:
            for message in changes:
                self._add(row_change(message, self.relation))

    def _add(self, change: RowChange) -> None:
        if isinstance(change, Insert):
            self._put(self.key_of(change.new), Upsert(change.new, is_new=UNCHANGED in change.new))
        elif isinstance(change, Delete):
            self.refuse_nothing()
            self._remove(self.key_of(change.old))
        else:
            self._update(change)

    def truncate(self) -> None:
        """Empty the table: nothing that came before counts any more."""
        self.changes += 1
        self.is_truncated = True
        self.columns.clear()
        self.upserts.clear()
        self.deletes.clear()

    def _update(self, change: Update) -> None:
        self.refuse_nothing()
        values, old = change.new, change.old
        if old is None:
            if not self._is_key_told:  # the key may have changed without a word of the former one
                raise self.keyless()
            key = before = self.key_of(values)
        else:
            values = filled(values, old)
            key, before = self.key_of(values), self.key_of(old)
        former = self.upserts.get(before)
        if former is not None:
            values = filled(values, former.values)
        if before != key:
            self._remove(before)
        self._put(key, Upsert(values) if UNCHANGED not in values else _still_partial(values, former, before, key))

    def _put(self, key: Key, row: Upsert) -> None:
        self.deletes.pop(key, None)
        self.upserts[key] = row

    def _remove(self, key: Key) -> None:
        self.upserts.pop(key, None)
        self.deletes[key] = None


def _still_partial(values: Values, former: Upsert | None, before: Key, key: Key) -> Upsert:
    if former is not None and former.is_new:
        return Upsert(values, is_new=True)
    if former is not None and former.moved_from is not None:
        return Upsert(values, former.moved_from)
    return Upsert(values, before if before != key else None)


class Fold:
    """The changes of several tables; small enough to be held, since its maker ends it in time.

    :param keys: the key's columns of each table, by ``schema.name``; of others the columns of the replica identity
    :param histories: the tables whose changes are kept one by one
    """

    def __init__(self, keys: Mapping[str, Sequence[str]] | None = None, histories: Histories | None = None) -> None:
        self._keys = keys or {}
        self._kept = histories
        self._names: set[str] = set()
        self.tables: dict[int, TableFold] = {}
        self.histories: dict[int, TableHistory] = {}
        self.changes = 0

    @property
    def truncated(self) -> set[str]:
        """The names of the tables that were emptied."""
        told: list[TableFold | TableHistory] = [*self.tables.values(), *self.histories.values()]
        return {str(each.relation) for each in told if each.is_truncated}

    def as_it_is(self) -> Fold:
        """The same once more, of which rows may be taken while this one grows."""
        same = copy(self)
        same.tables = {place: copy(table) for place, table in self.tables.items()}
        return same

    def fits(self, change: Change) -> bool:
        """Whether its table is, name and columns, the one that was folded so far; else apply this fold first."""
        if isinstance(change, Truncate):
            return all(self.fits_table(relation) for relation in change.relations)
        return self.fits_table(change.relation)

    def add(self, change: Change) -> None:
        """Fold a change in; it must fit.

        :raises EtlSyncError: where the table has no key, or the change does not tell it
        """
        self.changes += 1
        if isinstance(change, Truncate):
            for relation in change.relations:
                self._table(relation).truncate()
        else:
            self._table(change.relation).add(change)

    def add_rows(self, relation: Relation, messages: Messages, places: Places, decoder: Decoder) -> None:
        """Fold changes of a table in, which must fit: all at once while all are plain, else one by one.

        :param places: which of the messages they are
        :raises EtlSyncError: where the table has no key, or a change does not tell it
        """
        self.changes += len(places)
        table = self._table(relation)
        if isinstance(table, TableFold) and table.add_plain(messages, places):
            return
        for place in places:
            table.add(cast("RowChange", decoder.decode(messages[place])))

    def fits_table(self, relation: Relation) -> bool:
        """Whether the table is, name and columns, the one that was folded so far."""
        found = self.tables.get(relation.id) or self.histories.get(relation.id)
        if found is None:
            return str(relation) not in self._names
        return found.relation is relation or found.relation == relation

    def _table(self, relation: Relation) -> TableFold | TableHistory:
        return self.tables.get(relation.id) or self.histories.get(relation.id) or self._begin(relation)

    def _begin(self, relation: Relation) -> TableFold | TableHistory:
        self._names.add(str(relation))
        places = key_places(relation, self._keys.get(str(relation)))
        history = self._kept.table(relation, places) if self._kept else None
        if history is not None:
            self.histories[relation.id] = history
            return history
        folded = self.tables[relation.id] = TableFold(relation, places)
        return folded
