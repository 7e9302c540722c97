"""Who may merge into a table: Snowflake enforces no key and has no lock on a row, so merges are counted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from airflow_etl_sync.errors import DestinationError
from airflow_etl_sync.systems.base import Mark, Merged
from airflow_etl_sync.systems.columnar.memory import Memory
from airflow_etl_sync.systems.snowflake import sql
from airflow_etl_sync.systems.snowflake.session import Session


@dataclass(slots=True)
class Turn:
    """A merge's place among those into its table.

    A merge reads the number of merges first, merges, and only then raises the number, which keeps all others of the
    table waiting until it ends. Where the number is not what it was, another has committed in between, of whose rows
    this one may know nothing: it is undone.
    """

    session: Session
    memory: Memory
    mark: Mark
    before: int = 0

    def enter(self) -> None:
        """Note that the sync loads the table, outside of any transaction.

        :raises StateError: where the chunk has landed, or a newer run of the sync has
        """
        for statement in sql.CREATE_MEMORY:
            self.session.execute(statement)
        self.memory.refuse_landed(self.mark)
        self.session.run(sql.ENTER_SYNC, self.memory.target, self.mark.sync_key)

    def begin(self) -> None:
        """Remember the number of merges, in the transaction and before its merge."""
        self.before = self._merges()

    def end(self, merged: Merged) -> None:
        """Write down what the merge came to, unless another has been faster.

        :raises StateError: where the chunk has landed, or a newer run of the sync has
        :raises DestinationError: (retryable) where any other merge has been committed meanwhile
        """
        raised = self.session.run(sql.HOLD_TARGET, self.memory.target)
        self.memory.refuse_landed(self.mark)
        if self._merges() - raised != self.before:
            raise DestinationError(
                f"Another load of {self.memory.name!r} has been committed while this one merged: a retry merges anew."
            )
        self.memory.note(self.mark, merged)

    def _merges(self) -> int:
        found: Any = self.session.execute(sql.COUNT_MERGES, [self.memory.target]).fetchone()
        return int(found[0] or 0)
