"""What a system remembers of the chunks that have landed in a table, beside its rows and in the same transaction."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from airflow_etl_sync.systems import remembered
from airflow_etl_sync.systems.base import Landed, Mark, Merged


class Session(Protocol):
    """A connection, or a cursor of one, in the midst of a merge."""

    def execute(self, statement: str, parameters: Sequence[Any], /) -> Any:
        """Run a statement; what it gives has ``fetchall``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryStatements:
    """How a system writes down and forgets; values are bound in the order given here.

    :param find_landed: the numbers and contents, by target and run
    :param find_turn: the highest turn, by target and sync
    :param note_landed: target, run, number, sync, turn, yields, content
    :param raise_turn: one after another, each with turn, target, sync
    :param forget_landed: what yields to a turn, and what is older than another, by target, sync and both turns
    """

    find_landed: str
    find_turn: str
    note_landed: str
    raise_turn: tuple[str, ...]
    forget_landed: str


@dataclass(frozen=True, slots=True)
class Memory:
    """What is remembered of one target.

    :param name: the target as it is called in messages
    """

    session: Session
    statements: MemoryStatements
    target: str
    name: str

    def landed(self, extraction_id: str) -> Mapping[int, Landed]:
        """What has landed of a run, by the number of the chunk."""
        found = self._rows(self.statements.find_landed, self.target, extraction_id)
        return {int(number): remembered.from_json(json.loads(content)) for number, content in found}

    def refuse_landed(self, mark: Mark) -> None:
        """:raises StateError: where the chunk has landed, or a newer run of the sync has"""
        numbers = [int(row[0]) for row in self._rows(self.statements.find_landed, self.target, mark.extraction_id)]
        if mark.number in numbers:
            raise remembered.has_landed(mark)
        if mark.yields and self._turn(mark) > mark.turn:
            raise remembered.newer_has_landed(mark, self.name)

    def note(self, mark: Mark, merged: Merged) -> None:
        """Write down, in the merge's transaction, what it came to, and forget what nobody will ask for."""
        content = json.dumps(remembered.to_json(merged, mark.position))
        entry = (mark.extraction_id, mark.number, mark.sync_key, mark.turn, mark.yields, content)
        self._run(self.statements.note_landed, self.target, *entry)
        if mark.overtakes:
            turn = max(mark.turn, self._turn(mark))
            for statement in self.statements.raise_turn:
                self._run(statement, turn, self.target, mark.sync_key)
            oldest = turn - remembered.WEEK
            self._run(self.statements.forget_landed, self.target, mark.sync_key, turn, oldest)

    def _turn(self, mark: Mark) -> int:
        found = self._rows(self.statements.find_turn, self.target, mark.sync_key)
        return int(found[0][0] or 0) if found else 0

    def _run(self, statement: str, *values: Any) -> None:
        self.session.execute(statement, list(values))

    def _rows(self, statement: str, *values: Any) -> list[Any]:
        rows: list[Any] = self.session.execute(statement, list(values)).fetchall()
        return rows
