"""What a shop has changed: what must arrive, no more and no less."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

ChangeKind = Literal["inserted", "updated", "deleted", "emptied"]


@dataclass(frozen=True, slots=True)
class Changes:
    """The keys of one table's rows that were added, changed or removed; a key is never given to a second row.

    A row whose key changes is deleted under the old one and inserted under the new one. Of two that are added up, the
    second came later: a row that came and went in between has not changed anything.

    :param emptied: rows that went by TRUNCATE, before all else; whoever applies that does not count them
    """

    inserted: frozenset[int] = frozenset()
    updated: frozenset[int] = frozenset()
    deleted: frozenset[int] = frozenset()
    emptied: frozenset[int] = frozenset()

    def __add__(self, other: Changes) -> Changes:
        if other.emptied:
            gone = self.emptied | self.deleted | (other.emptied - self.inserted)
            return Changes(other.inserted, other.updated, other.deleted, gone)
        inserted = (self.inserted | other.inserted) - other.deleted
        deleted = self.deleted | (other.deleted - self.inserted)
        updated = (self.updated | other.updated) - self.inserted - other.inserted - deleted
        return Changes(inserted, updated, deleted, self.emptied)


@dataclass(frozen=True, slots=True)
class TradingDay:
    """What a day did to the tables whose changes are captured.

    :param tables: the changes by the table's name
    :param renumbered: how many rows got another key
    :param lean: how many rows were updated of which the log leaves out a long value
    """

    tables: Mapping[str, Changes] = field(default_factory=dict)
    renumbered: int = 0
    lean: int = 0

    def __add__(self, other: TradingDay) -> TradingDay:
        none = Changes()
        return TradingDay(
            {
                name: self.tables.get(name, none) + other.tables.get(name, none)
                for name in dict.fromkeys([*self.tables, *other.tables])
            },
            self.renumbered + other.renumbered,
            self.lean + other.lean,
        )

    @property
    def truncated(self) -> int:
        """How many tables were emptied by TRUNCATE."""
        return sum(bool(changes.emptied) for changes in self.tables.values())

    def count(self, kind: ChangeKind) -> int:
        """How many rows were changed in this way, in all tables."""
        return sum(len(getattr(changes, kind)) for changes in self.tables.values())
