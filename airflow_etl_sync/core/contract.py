"""What changed in the columns of a stream or of its target."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Change = Literal["appeared", "vanished", "retyped", "added", "widened", "left_out"]
SOURCE = "source"


@dataclass(frozen=True, slots=True, kw_only=True)
class SchemaChange:
    """One column that is not as it was.

    :param place: ``"source"``, or the target's name
    :param change: at the source a column ``appeared``, ``vanished`` or was ``retyped``; of the target it was
        ``added`` or ``widened``, or it was ``left_out`` of the load
    """

    place: str
    column: str
    change: Change
    old_type: str | None = None
    new_type: str | None = None

    def __str__(self) -> str:
        types = " → ".join(type_ for type_ in (self.old_type, self.new_type) if type_)
        return f"{self.column} {self.change.replace('_', ' ')} ({types})"


def changes_between(before: Mapping[str, str], now: Mapping[str, str]) -> list[SchemaChange]:
    """How a stream's columns differ from those that its last run read.

    :param before: declared types by column; empty where nothing is known, which is no change
    """
    if not before:
        return []
    return [
        *(_change(name, "appeared", new_type=now[name]) for name in now if name not in before),
        *(_change(name, "vanished", old_type=before[name]) for name in before if name not in now),
        *(
            _change(name, "retyped", before[name], now[name])
            for name in now
            if name in before and before[name] != now[name]
        ),
    ]


def _change(column: str, change: Change, old_type: str | None = None, new_type: str | None = None) -> SchemaChange:
    return SchemaChange(place=SOURCE, column=column, change=change, old_type=old_type, new_type=new_type)
