"""Which system keeps which promise, as the tests of a session have found it; pages in docs show the same."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from tests.contract.exceptions import (
    DESTINATION_EXCEPTIONS,
    DESTINATION_PROMISES,
    SOURCE_EXCEPTIONS,
    SOURCE_PROMISES,
)
from tests.contract.systems import DESTINATIONS, SOURCES

_WORDS = {"passed": "yes", "failed": "NO", "skipped": "not run"}
_WORST_FIRST = ("failed", "skipped", "passed")
_ROLES = {"system": ("source", SOURCES), "destination_system": ("destination", DESTINATIONS)}
_PROMISES = {"source": SOURCE_PROMISES, "destination": DESTINATION_PROMISES}
_EXCEPTIONS = {"source": SOURCE_EXCEPTIONS, "destination": DESTINATION_EXCEPTIONS}
_TITLES = {
    "postgres": "PostgreSQL",
    "mariadb": "MySQL, MariaDB",
    "sqlite": "SQLite",
    "sqlalchemy": "others by SQLAlchemy",
    "http": "JSON APIs",
    "delta": "Delta Lake",
    "duckdb": "DuckDB",
    "snowflake": "Snowflake (emulated)",
    "bigquery": "BigQuery (emulated)",
    "parquet": "Parquet files",
    "files": "files",
}


@dataclass
class Matrix:
    """What became of the tests, by role, promise and system."""

    outcomes: dict[tuple[str, str, str], set[str]] = field(default_factory=dict)

    def note(self, fixture: str, promise: str, system: str, outcome: str) -> None:
        role, _ = _ROLES[fixture]
        if promise not in _PROMISES[role]:
            raise KeyError(f"{promise!r} is no promise of a {role}: exceptions.py lists them")
        self.outcomes.setdefault((role, promise, system), set()).add(outcome)

    def lines(self) -> Iterable[str]:
        """Both tables, one line a promise, and what holds in the place of a promise that is kept otherwise."""
        for role, systems in _ROLES.values():
            if role not in {known for known, _, _ in self.outcomes}:
                continue
            yield f"{role:22}" + "".join(f"{system:12}" for system in systems)
            for promise in _PROMISES[role]:
                yield f"{promise:22}" + "".join(f"{self._word(role, promise, each):12}" for each in systems)
            for (system, promise), holds in _EXCEPTIONS[role].items():
                yield f"* {system}, {promise}: {holds}"

    def _word(self, role: str, promise: str, system: str) -> str:
        found = self.outcomes.get((role, promise, system), set())
        worst = next((each for each in _WORST_FIRST if each in found), "")
        star = "*" if (system, promise) in _EXCEPTIONS[role] else ""
        if star and worst == "skipped":
            return "otherwise*"
        return _WORDS[worst] + star if worst else "-"


def as_markdown(role: str) -> str:
    """The table of a role as its page in docs shows it."""
    return "\n".join(line for known, systems in _ROLES.values() if known == role for line in _table(role, systems))


def as_summary(role: str) -> str:
    """The table of a role as README shows it: what is kept otherwise, its page says."""
    (systems,) = (list(systems) for known, systems in _ROLES.values() if known == role)
    rows = [(f"a {role} promises", *(_TITLES[system] for system in systems)), ("---",) * (len(systems) + 1)]
    for promise in _PROMISES[role]:
        holds = ("otherwise" if (each, promise) in _EXCEPTIONS[role] else "yes" for each in systems)
        rows.append((promise, *holds))
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _table(role: str, systems: Iterable[str]) -> Iterable[str]:
    columns = [*systems]
    yield f"| a {role} promises | " + " | ".join(_TITLES[system] for system in columns) + " |"
    yield "|---" * (len(columns) + 1) + "|"
    for promise, meaning in _PROMISES[role].items():
        holds = [_EXCEPTIONS[role].get((each, promise), "yes") for each in columns]
        yield f"| {promise}: {meaning} | " + " | ".join(holds) + " |"
