"""Which tables changes are captured from, where they go, and what came of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import get_args

from airflow_etl_sync.core.history import HISTORY_KEY, ApplyMode
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
    :param apply: ``upsert`` keeps the target equal to the source, ``history`` appends every change to it as a row
    :raises ConfigurationError: where these do not go together
    """

    source: TableName
    target: TableName
    rules: LoadRules
    primary_key: tuple[str, ...] = ()
    delete: DeleteMode = "hard"
    apply: ApplyMode = "upsert"

    def __post_init__(self) -> None:
        refuse_unknown("delete", self.delete, get_args(DeleteMode))
        refuse_unknown("apply", self.apply, get_args(ApplyMode))
        if self.is_history:
            self._refuse_overwriting()
        if self.rules.conflict == "latest_wins" and not self.rules.conflict_field:
            raise ConfigurationError(
                "latest_wins needs conflict_field: changes come in the order of their commits and have no cursor."
            )

    @property
    def key(self) -> tuple[str, ...]:
        return self.primary_key or self.rules.primary_key

    @property
    def is_history(self) -> bool:
        """Whether every change is appended as a row."""
        return self.apply == "history"

    @property
    def landing_rules(self) -> LoadRules:
        """How rows land in the target; a row of a history is named by its place in the log, and never changes."""
        return replace(self.rules, primary_key=HISTORY_KEY, conflict="dest_wins") if self.is_history else self.rules

    def _refuse_overwriting(self) -> None:
        if self.delete != "hard":
            raise ConfigurationError(
                "apply='history' appends deletes as rows and never deletes or flags any: leave out delete."
            )
        if self.rules.conflict != "source_wins" or self.rules.conflict_field:
            raise ConfigurationError(
                "apply='history' appends every change and overwrites none, so there are no conflicts: leave out "
                "conflict and conflict_field."
            )


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
    :param inserted: and ``updated``, ``skipped``, ``errors``: what became of the rows that they left; of a history's
        rows, which are appended or there already, all are inserted, skipped or errors
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
