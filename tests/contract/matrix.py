"""Which system keeps which promise, as the tests of a session have found it; README's table is the same."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from tests.contract.exceptions import EXCEPTIONS
from tests.contract.systems import DESTINATIONS, SOURCES

_WORDS = {"passed": "yes", "failed": "NO", "skipped": "not run"}
_WORST_FIRST = ("failed", "skipped", "passed")
_ROLES = {"system": ("source", SOURCES), "destination_system": ("destination", DESTINATIONS)}


@dataclass
class Matrix:
    """What became of the tests, by role, promise and system."""

    outcomes: dict[tuple[str, str, str], set[str]] = field(default_factory=dict)

    def note(self, fixture: str, promise: str, system: str, outcome: str) -> None:
        role, _ = _ROLES[fixture]
        self.outcomes.setdefault((role, promise, system), set()).add(outcome)

    def lines(self) -> Iterable[str]:
        """Both tables, one line a promise, and what holds in the place of a promise that is kept otherwise."""
        for role, systems in _ROLES.values():
            promises = dict.fromkeys(promise for known, promise, _ in self.outcomes if known == role)
            if not promises:
                continue
            yield f"{role:22}" + "".join(f"{system:12}" for system in systems)
            for promise in promises:
                yield f"{promise:22}" + "".join(f"{self._word(role, promise, each):12}" for each in systems)
        for (system, promise), holds in EXCEPTIONS.items():
            yield f"* {system}, {promise}: {holds}"

    def _word(self, role: str, promise: str, system: str) -> str:
        found = self.outcomes.get((role, promise, system), set())
        worst = next((each for each in _WORST_FIRST if each in found), "")
        star = "*" if role == "source" and (system, promise) in EXCEPTIONS else ""
        return _WORDS.get(worst, "-") + star
