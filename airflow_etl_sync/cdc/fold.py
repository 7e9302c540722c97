"""Many changes, of which the last word of each key counts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import cast

from airflow_etl_sync.core.changes import (
    UNCHANGED,
    Change,
    Delete,
    Insert,
    Relation,
    Truncate,
    Update,
    Values,
)
from airflow_etl_sync.errors import ConfigurationError, SchemaError

Key = tuple[str, ...]


@dataclass(frozen=True, slots=True)
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
class TableFold:
    """The changes of one table. Deletes are to be applied before upserts.

    :param key_places: where in a row its key stands
    :param is_truncated: whether the table was emptied before what follows
    :param upserts: rows as they have to be, by key
    :param deletes: keys whose row must go, if there is one
    :param changes: how many were folded
    """

    relation: Relation
    key_places: tuple[int, ...]
    is_truncated: bool = False
    upserts: dict[Key, Upsert] = field(default_factory=dict)
    deletes: dict[Key, None] = field(default_factory=dict)
    changes: int = 0
    _is_key_told: bool = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._is_key_told = all(self.relation.columns[place].is_key for place in self.key_places)

    def add(self, change: Insert | Update | Delete) -> None:
        """Fold one change in.

        :raises EtlSyncError: where the change does not tell its row's key
        """
        self.changes += 1
        if isinstance(change, Insert):
            self._put(self._key(change.new), Upsert(change.new, is_new=UNCHANGED in change.new))
        elif isinstance(change, Delete):
            self._refuse_nothing()
            self._remove(self._key(change.old))
        else:
            self._update(change)

    def truncate(self) -> None:
        """Empty the table: nothing that came before counts any more."""
        self.changes += 1
        self.is_truncated = True
        self.upserts.clear()
        self.deletes.clear()

    def _update(self, change: Update) -> None:
        self._refuse_nothing()
        values, old = change.new, change.old
        if old is None:
            if not self._is_key_told:  # the key may have changed without a word of the former one
                raise self._keyless()
            key = before = self._key(values)
        else:
            values = _filled(values, old)
            key, before = self._key(values), self._key(old)
        former = self.upserts.get(before)
        if former is not None:
            values = _filled(values, former.values)
        if before != key:
            self._remove(before)
        self._put(key, Upsert(values) if UNCHANGED not in values else _still_partial(values, former, before, key))

    def _put(self, key: Key, row: Upsert) -> None:
        self.deletes.pop(key, None)
        self.upserts[key] = row

    def _remove(self, key: Key) -> None:
        self.upserts.pop(key, None)
        self.deletes[key] = None

    def _key(self, values: Values) -> Key:
        key = tuple([values[place] for place in self.key_places])
        if None in key or UNCHANGED in key:
            raise self._keyless()
        return cast("Key", key)

    def _refuse_nothing(self) -> None:
        if self.relation.identity == "n":
            raise ConfigurationError(
                f"The table {self.relation} has replica identity NOTHING, so nobody can tell which row was changed: "
                f"ALTER TABLE {self.relation} REPLICA IDENTITY DEFAULT, then copy the table afresh."
            )

    def _keyless(self) -> SchemaError:
        names = ", ".join(self.relation.columns[place].name for place in self.key_places)
        return SchemaError(
            f"A change of {self.relation} does not tell its row's key ({names}): choose key columns that are NOT NULL "
            "and part of the table's replica identity, which is the primary key, unless you set another one, or FULL."
        )


def _filled(values: Values, known: Values) -> Values:
    """The values, those that the log leaves out taken from what is known of the row.

    No value out of line is NULL: a NULL there stands for a column that was not sent. Of partitions that have
    another replica identity than their table, even a row marked as whole has such.
    """
    if UNCHANGED not in values:
        return values
    return tuple([old if new is UNCHANGED and old is not None else new for new, old in zip(values, known, strict=True)])


def _still_partial(values: Values, former: Upsert | None, before: Key, key: Key) -> Upsert:
    if former is not None and former.is_new:
        return Upsert(values, is_new=True)
    if former is not None and former.moved_from is not None:
        return Upsert(values, former.moved_from)
    return Upsert(values, before if before != key else None)


class Fold:
    """The changes of several tables; small enough to be held, since its maker ends it in time.

    :param keys: the key's columns of each table, by ``schema.name``; of others the columns of the replica identity
    """

    def __init__(self, keys: Mapping[str, Sequence[str]] | None = None) -> None:
        self._keys = keys or {}
        self._names: set[str] = set()
        self.tables: dict[int, TableFold] = {}
        self.changes = 0

    def fits(self, change: Change) -> bool:
        """Whether its table is, name and columns, the one that was folded so far; else apply this fold first."""
        if isinstance(change, Truncate):
            return all(self._fits(relation) for relation in change.relations)
        return self._fits(change.relation)

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

    def _fits(self, relation: Relation) -> bool:
        found = self.tables.get(relation.id)
        if found is None:
            return str(relation) not in self._names
        return found.relation is relation or found.relation == relation

    def _table(self, relation: Relation) -> TableFold:
        found = self.tables.get(relation.id)
        if found is None:
            found = self.tables[relation.id] = TableFold(relation, self._places(relation))
            self._names.add(str(relation))
        return found

    def _places(self, relation: Relation) -> tuple[int, ...]:
        names = [column.name for column in relation.columns]
        key = self._keys.get(str(relation)) or [column.name for column in relation.columns if column.is_key]
        missing = [name for name in key if name not in names]
        if missing:
            raise SchemaError(
                f"The changes of {relation} come without {', '.join(missing)}, of its key: "
                "publish these columns, or choose another key."
            )
        if not key:
            raise SchemaError(f"The table {relation} has no key: give it a primary key, or name key columns.")
        return tuple(names.index(name) for name in key)
