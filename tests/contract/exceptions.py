"""Where a system cannot do what the contract asks of all: the one table of it, which README's shows as well."""

from __future__ import annotations

EXCEPTIONS: dict[tuple[str, str], str] = {
    ("mariadb", "late commits"): "protected by a fixed distance (`lag`; 5 minutes, or 1,000 numbers, by default)",
    ("sqlite", "late commits"): "protected by a fixed distance (`lag`; 5 minutes by default); whole numbers need none",
    ("sqlite", "types of a query"): "told from its first 1,000 rows",
    ("sqlalchemy", "late commits"): "protected by a fixed distance (`lag`; 5 minutes, or 1,000 numbers, by default)",
    ("sqlalchemy", "types of a query"): "told from its first 1,000 rows",
}
"""By system and promise, what holds in its place. All that is not named here holds everywhere."""
