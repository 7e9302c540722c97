"""Tables whose rows are told apart by their keys, as the log tells them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

from airflow_etl_sync.core.changes import UNCHANGED, Relation, Values
from airflow_etl_sync.errors import ConfigurationError, SchemaError

Key = tuple[str, ...]


@dataclass(slots=True)
class KeyedTable:
    """A table whose changes tell the keys of their rows.

    :param key_places: where in a row its key stands
    """

    relation: Relation
    key_places: tuple[int, ...]

    @property
    def is_key_told(self) -> bool:
        """Whether the replica identity holds the key; else it may change without a word of the former one."""
        return all(self.relation.columns[place].is_key for place in self.key_places)

    def key_of(self, values: Values) -> Key:
        """The key of a row.

        :raises SchemaError: where the log does not tell it
        """
        key = tuple([values[place] for place in self.key_places])
        if None in key or UNCHANGED in key:
            raise self.keyless()
        return cast("Key", key)

    def refuse_nothing(self) -> None:
        """Refuse a change that does not say of which row it is."""
        if self.relation.identity == "n":
            raise ConfigurationError(
                f"The table {self.relation} has replica identity NOTHING, so nobody can tell which row was changed: "
                f"ALTER TABLE {self.relation} REPLICA IDENTITY DEFAULT, then copy the table afresh."
            )

    def keyless(self) -> SchemaError:
        """The error for a change that does not tell its row's key."""
        names = ", ".join(self.relation.columns[place].name for place in self.key_places)
        return SchemaError(
            f"A change of {self.relation} does not tell its row's key ({names}): choose key columns that are NOT NULL "
            "and part of the table's replica identity, which is the primary key, unless you set another one, or FULL."
        )


def key_places(relation: Relation, key: Sequence[str] | None) -> tuple[int, ...]:
    """Where in a row its key stands.

    :param key: the key's columns; none takes those of the replica identity
    :raises SchemaError: where there is no key, or the changes come without it
    """
    names = [column.name for column in relation.columns]
    key = key or [column.name for column in relation.columns if column.is_key]
    missing = [name for name in key if name not in names]
    if missing:
        raise SchemaError(
            f"The changes of {relation} come without {', '.join(missing)}, of its key: "
            "publish these columns, or choose another key."
        )
    if not key:
        raise SchemaError(f"The table {relation} has no key: give it a primary key, or name key columns.")
    return tuple(names.index(name) for name in key)


def filled(values: Values, known: Values) -> Values:
    """The values, those that the log leaves out taken from what is known of the row.

    No value out of line is NULL: a NULL there stands for a column that was not sent. Of partitions that have
    another replica identity than their table, even a row marked as whole has such.
    """
    if UNCHANGED not in values:
        return values
    return tuple([old if new is UNCHANGED and old is not None else new for new, old in zip(values, known, strict=True)])
