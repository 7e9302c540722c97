"""Many changes, of which the last word of each key counts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from airflow_etl_sync.core.changes import (
    UNCHANGED,
    Change,
    Delete,
    Insert,
    Relation,
    Truncate,
    Unchanged,
    Update,
    Values,
)
from airflow_etl_sync.errors import ConfigurationError, SchemaError

Key = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Upsert:
    """A row as it has to be.

    :param values: in the order of the relation's columns; UNCHANGED where the log does not say
    :param moved_from: where UNCHANGED values remain and an update has changed the key: under which key the
        destination has the row
    """

    values: Values = field(repr=False)
    moved_from: Key | None = field(default=None, repr=False)

    @property
    def is_whole(self) -> bool:
        """Whether all its values are known."""
        return UNCHANGED not in self.values


@dataclass(slots=True)
class TableFold:
    """The changes of one table.

    :param key_places: where in a row its key stands
    :param is_truncated: whether the table was emptied before what follows
    :param upserts: rows as they have to be, by key
    :param deletes: keys whose row must go
    :param changes: how many were folded
    """

    relation: Relation
    key_places: tuple[int, ...]
    is_truncated: bool = False
    upserts: dict[Key, Upsert] = field(default_factory=dict)
    deletes: dict[Key, None] = field(default_factory=dict)
    changes: int = 0

    def add(self, change: Insert | Update | Delete) -> None:
        """Fold one change in."""
        self.changes += 1
        if isinstance(change, Insert):
            self._put(self._key(change.new), Upsert(change.new))
        elif isinstance(change, Delete):
            self._remove(self._key(self._identified(change.old)))
        else:
            self._update(change)

    def truncate(self) -> None:
        """Empty the table: nothing that came before counts any more."""
        self.changes += 1
        self.is_truncated = True
        self.upserts.clear()
        self.deletes.clear()

    def _update(self, change: Update) -> None:
        key = self._key(change.new)
        before = key if change.old is None else self._key(self._identified(change.old))
        former = self.upserts.get(before)
        values, moved_from = change.new, None
        if UNCHANGED in values:
            whole_old = None if change.is_old_key else change.old
            values = _filled(values, former.values if former else whole_old)
        if UNCHANGED in values:
            moved_from = former.moved_from if former else (before if before != key else None)
            if former is not None and before != key and moved_from is None:
                moved_from = before
        if before != key:
            self._remove(before)
        self._put(key, Upsert(values, moved_from))

    def _put(self, key: Key, row: Upsert) -> None:
        self.deletes.pop(key, None)
        self.upserts[key] = row

    def _remove(self, key: Key) -> None:
        self.upserts.pop(key, None)
        self.deletes[key] = None

    def _identified(self, old: Values) -> Values:
        if self.relation.identity == "n":
            raise ConfigurationError(
                f"The table {self.relation} has replica identity NOTHING, so nobody can tell which row was changed: "
                "ALTER TABLE … REPLICA IDENTITY DEFAULT."
            )
        return old

    def _key(self, values: Values) -> Key:
        key = tuple(values[place] for place in self.key_places)
        for value in key:
            if value is None or isinstance(value, Unchanged):
                raise SchemaError(
                    f"A change of {self.relation} does not tell the whole key: give the table a replica identity that "
                    "holds the key's columns (DEFAULT with the primary key, or FULL)."
                )
        return key  # type: ignore[return-value]


def _filled(values: Values, former: Values | None) -> Values:
    """The values, those that the log leaves out taken from the row as it was."""
    if former is None:
        return values
    return tuple(old if new is UNCHANGED else new for new, old in zip(values, former, strict=True))


class Fold:
    """The changes of several tables; small enough to be held, since its maker ends it in time.

    :param keys: the key's columns of each table, by ``schema.name``; of others the columns of the replica identity
    """

    def __init__(self, keys: dict[str, Sequence[str]] | None = None) -> None:
        self._keys = keys or {}
        self.tables: dict[int, TableFold] = {}
        self.changes = 0

    def fits(self, change: Change) -> bool:
        """Whether the table has the columns that it had in what has been folded so far."""
        relations = change.relations if isinstance(change, Truncate) else (change.relation,)
        return all(each.id not in self.tables or self.tables[each.id].relation == each for each in relations)

    def add(self, change: Change) -> None:
        """Fold a change in; it must fit."""
        self.changes += 1
        if isinstance(change, Truncate):
            for relation in change.relations:
                self._table(relation).truncate()
        else:
            self._table(change.relation).add(change)

    def _table(self, relation: Relation) -> TableFold:
        found = self.tables.get(relation.id)
        if found is None:
            found = self.tables[relation.id] = TableFold(relation, self._places(relation))
        return found

    def _places(self, relation: Relation) -> tuple[int, ...]:
        names = [column.name for column in relation.columns]
        key = self._keys.get(str(relation)) or [column.name for column in relation.columns if column.is_key]
        missing = [name for name in key if name not in names]
        if missing:
            raise SchemaError(f"The log of {relation} has no column {', '.join(missing)} to be its key.")
        return tuple(names.index(name) for name in key)
