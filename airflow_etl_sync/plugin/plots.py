"""Small plots as the outlines of SVG paths: numbers in, numbers out, no text that could do harm."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

BAR, GAP, LOWEST = 4, 2, 1
"""Widths of a bar and of the gap behind it, and the height of the smallest bar."""


@dataclass(frozen=True, slots=True)
class Bars:
    """Bars of one colour.

    :param path: their outline, for a path's ``d``
    :param missing: the outline of marks where a run has no value, since it has not ended
    """

    width: int
    height: int
    path: str
    missing: str


@dataclass(frozen=True, slots=True)
class Piece:
    """A rectangle of a stacked bar, and which of the stacked values it stands for."""

    x: int
    y: float
    width: int
    height: float
    kind: int


def bars(values: Sequence[float | None], height: int) -> Bars:
    """One bar a value, from the left, the tallest as high as the plot."""
    highest = max((value for value in values if value is not None), default=0.0)
    drawn, missing = [], []
    for place, value in enumerate(values):
        x = place * (BAR + GAP)
        if value is None:
            missing.append(_box(x, height - LOWEST, LOWEST))
        else:
            tall = max(LOWEST, round(height * value / highest)) if highest else LOWEST
            drawn.append(_box(x, height - tall, tall))
    return Bars(max(len(values) * (BAR + GAP) - GAP, 0), height, "".join(drawn), "".join(missing))


def stacks(values: Sequence[Sequence[float]], height: int, bar: int, gap: int) -> list[list[Piece]]:
    """A stacked bar for each sequence of values, the first value at the bottom; empty pieces are left out."""
    highest = max((sum(each) for each in values), default=0)
    if not highest:
        return [[] for _ in values]
    scale = height / highest
    return [_stack(each, place * (bar + gap), height, bar, scale) for place, each in enumerate(values)]


def _stack(values: Sequence[float], x: int, height: int, bar: int, scale: float) -> list[Piece]:
    tops = accumulate(value * scale for value in values)
    return [
        Piece(x, round(height - top, 2), bar, round(value * scale, 2), kind)
        for kind, (top, value) in enumerate(zip(tops, values, strict=True))
        if value
    ]


def _box(x: int, y: int, tall: int) -> str:
    return f"M{x} {y}h{BAR}v{tall}h-{BAR}z"
