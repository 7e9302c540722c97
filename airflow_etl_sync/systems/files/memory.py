"""Which files have been loaded: what the watermark alone does not tell.

A file may show up late with a time or name below the watermark: an object is listed under the time at which its upload
began, a moved file keeps its time. So the watermark's fences remember every file that is there, by a digest of its name
and version, and what is not remembered is new. Files that are gone are forgotten. Of more than :data:`MOST` files the
last ones are remembered, and what comes before them is passed over.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

MOST = 2_000
"""So many files are remembered: 16 kB beside the watermark."""

_WIDTH = 8
Order = tuple[str, str]
"""A cursor's text and a name: files are in the order of these."""


@dataclass(frozen=True, slots=True)
class Memory:
    """The files that are loaded.

    :param versions: of files that are loaded
    :param unsure: of files that are loaded, and may have been written once more in the same moment
    :param floor: what comes before it is taken for loaded; None where everything is remembered
    """

    versions: frozenset[str] = frozenset()
    unsure: frozenset[str] = frozenset()
    floor: Order | None = None

    @classmethod
    def of(cls, fences: Iterable[dict[str, Any]]) -> Memory | None:
        """What a watermark remembers; None where nothing does, as after a person has moved it."""
        found = next((fence for fence in fences if "files" in fence), None)
        if found is None:
            return None
        floor = found.get("floor")
        versions, unsure = (_cut(found.get(name, "")) for name in ("files", "unsure"))
        return cls(versions, unsure, (floor[0], floor[1]) if floor else None)

    def to_fences(self) -> list[dict[str, Any]]:
        """As a watermark keeps it."""
        floor = list(self.floor) if self.floor else None
        return [{"files": "".join(sorted(self.versions)), "unsure": "".join(sorted(self.unsure)), "floor": floor}]

    def has(self, version: str, order: Order) -> bool:
        """Whether a file is loaded, once and for all."""
        return version in self.versions or (self.floor is not None and order < self.floor)

    def includes(self, version: str, order: Order) -> bool:
        """Whether a file was there when this was noted, be it sure or not."""
        return version in self.unsure or self.has(version, order)


def remember(files: Sequence[tuple[Order, str, bool]]) -> Memory:
    """The memory of files that are loaded.

    :param files: the order, version and sureness of each, in their order
    """
    kept = files[-MOST:]
    return Memory(
        versions=frozenset(version for _, version, is_sure in kept if is_sure),
        unsure=frozenset(version for _, version, is_sure in kept if not is_sure),
        floor=kept[0][0] if len(kept) < len(files) else None,
    )


def _cut(text: str) -> frozenset[str]:
    return frozenset(text[place : place + _WIDTH] for place in range(0, len(text), _WIDTH))
