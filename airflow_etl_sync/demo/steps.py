"""The demonstration's progress, one line a step."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rich.console import Console


class Steps:
    """Shows what is being done, and how long it took when it is done."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._began = time.monotonic()

    @property
    def seconds(self) -> float:
        """The time since the first step."""
        return time.monotonic() - self._began

    @contextmanager
    def step(self, title: str) -> Iterator[Callable[[str], None]]:
        """Show a step while its block runs; yields what takes a word on its progress."""
        began = time.monotonic()
        with self.console.status(title) as status:
            if self.console.is_terminal:
                yield lambda detail: status.update(f"{title}: {detail}")
            else:
                yield self._each_once()
        self.console.print(
            f"[green]done[/] {time.monotonic() - began:6.1f} s  {title}", highlight=False, soft_wrap=True
        )

    def _each_once(self) -> Callable[[str], None]:
        """Return what prints a word on progress as a line, unless it was the last one too."""
        last = ""

        def show(detail: str) -> None:
            nonlocal last
            if detail != last:
                self.console.print(
                    f"     {self.seconds:6.1f} s  ... {detail}", markup=False, highlight=False, soft_wrap=True
                )
            last = detail

        return show
