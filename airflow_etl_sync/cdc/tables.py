"""Which tables changes are captured from, where they go, and what came of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import get_args

from airflow_etl_sync.core.keys import DeleteMode
from airflow_etl_sync.core.model import Counts, LoadRules, TableName, refuse_unknown
from airflow_etl_sync.errors import ConfigurationError


@dataclass(frozen=True, slots=True, kw_only=True)
class CdcTable:
    """A table and its copy.

    :param source: the table whose changes are captured
    :param target: the table that they are applied to
    :param rules: how rows land there
    :param primary_key: the columns that name a row; empty takes those of the rules, else the source table's own key
    :param delete: ``hard`` deletes rows that are deleted at the source, ``soft`` sets their ``_sync_deleted``
    """

    source: TableName
    target: TableName
    rules: LoadRules
    primary_key: tuple[str, ...] = ()
    delete: DeleteMode = "hard"

    def __post_init__(self) -> None:
        refuse_unknown("delete", self.delete, get_args(DeleteMode))
        if self.rules.conflict == "latest_wins" and not self.rules.conflict_field:
            raise ConfigurationError(
                "latest_wins needs conflict_field: changes come in the order of their commits and have no cursor."
            )

    @property
    def key(self) -> tuple[str, ...]:
        return self.primary_key or self.rules.primary_key


@dataclass(frozen=True, slots=True)
class SourceTable:
    """A table as it was found at the source.

    :param terms: with its key known
    :param name: ``schema.name``, as relations of the log are called
    :param partitions: the names of its partitions, where it is partitioned, quoted where need be
    :param files: in which file each leaf is, by the leaf's oid
    """

    terms: CdcTable
    name: str
    partitions: frozenset[str]
    files: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class CdcCounts:
    """What came of changes.

    :param changes: how many were decoded
    :param inserted: and ``updated``, ``skipped``, ``errors``: what became of the rows that they left
    :param deleted: how many rows of the targets were deleted or flagged
    :param truncated: how many times a target was emptied
    :param transactions: how many were applied to their end
    """

    changes: int = 0
    inserted: int = 0
    updated: int = 0
    skipped: int = 0
    deleted: int = 0
    truncated: int = 0
    errors: int = 0
    transactions: int = 0

    def __add__(self, other: CdcCounts) -> CdcCounts:
        mine, others = asdict(self), asdict(other)
        return CdcCounts(**{name: mine[name] + others[name] for name in mine})

    @property
    def rows(self) -> Counts:
        return Counts(self.inserted, self.updated, self.skipped, self.errors)

    def to_json(self) -> dict[str, int]:
        return asdict(self)

    def __str__(self) -> str:
        return ", ".join(f"{name} {count}" for name, count in self.to_json().items())
