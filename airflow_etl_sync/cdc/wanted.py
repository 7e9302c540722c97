"""Which of a slot's changes belong to the captured tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from airflow_etl_sync.cdc.tables import SourceTable
from airflow_etl_sync.core.changes import Change, Relation, Truncate
from airflow_etl_sync.errors import ConfigurationError, SchemaError


class Wanted:
    """The captured tables, by the names that the log has for them.

    :raises ConfigurationError: where two of them go into one target, since emptying one would empty both
    """

    def __init__(self, tables: Sequence[SourceTable]) -> None:
        self.keys: Mapping[str, tuple[str, ...]] = {table.name: table.terms.key for table in tables}
        self.sources: Mapping[str, str] = {table.name: str(table.terms.source) for table in tables}
        self.histories: Mapping[str, bool] = {
            table.name: bool(table.partitions) for table in tables if table.terms.is_history
        }
        self._partitions = {name: table.name for table in tables for name in table.partitions}
        self._known: dict[int, tuple[Relation, bool]] = {}
        targets = [table.terms.target for table in tables]
        if len(set(targets)) < len(targets) or len(self.keys) < len(tables):
            raise ConfigurationError("Two of the tables are the same, or go into one target: give each its own.")

    def of(self, change: Change) -> Change | None:
        """The change as far as it belongs to captured tables, else None.

        :raises SchemaError: where it belongs to a partition and is not told as one of the partitioned table
        """
        if isinstance(change, Truncate):
            relations = tuple(relation for relation in change.relations if self.has(relation))
            return Truncate(relations) if relations else None
        return change if self.has(change.relation) else None

    def has(self, relation: Relation) -> bool:
        """Whether the table is captured.

        :raises SchemaError: where it is a partition and its changes are not told as those of the partitioned table
        """
        known = self._known.get(id(relation))
        if known is None:
            # the relation is kept with the answer, so that no other one can have its id
            known = self._known[id(relation)] = (relation, self._decide(relation))
        return known[1]

    def _decide(self, relation: Relation) -> bool:
        name = str(relation)
        root = self._partitions.get(name)
        if root is not None and name not in self.keys:
            raise SchemaError(
                f"The publication tells changes of {name} as such, and {root} is captured: set the publication's "
                "publish_via_partition_root, or capture the partitions."
            )
        return name in self.keys
