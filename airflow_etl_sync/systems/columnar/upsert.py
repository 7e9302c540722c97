"""The MERGE of a warehouse: rows that are not there are inserted, those that are and differ are changed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from airflow_etl_sync.core.model import LoadRules


def itself(name: str, value: str) -> Sequence[str]:  # noqa: ARG001
    """What is compared of a key whose values equal themselves."""
    return (value,)


@dataclass(frozen=True, slots=True, kw_only=True)
class Upsert:
    """A MERGE of staged rows, each key once, into a table.

    :param table: the target, quoted
    :param staged: where the rows are, quoted
    :param values: by the table's name of a column the staged value, as an expression of the table's type
    :param key: the table's names of the columns that name a record
    :param rules: its columns are named as the stream has them
    :param named: the table's name of a column of the stream
    :param quoted: how a name is taken literally
    :param compared: what of a key's value, an expression, is compared by ``=``
    """

    table: str
    staged: str
    values: Mapping[str, str]
    key: Sequence[str]
    rules: LoadRules
    named: Callable[[str], str]
    quoted: Callable[[str], str]
    compared: Callable[[str, str], Sequence[str]] = itself

    @property
    def statement(self) -> str:
        """Names are quoted, types are the warehouse's own."""
        staged = ",\n    ".join(f"{value} AS {self.quoted(name)}" for name, value in self.values.items())
        listed, values = ", ".join(map(self.quoted, self.values)), ", ".join(map(self._here, self.values))
        return (
            f"MERGE INTO {self.table} AS target\n"
            f"USING (SELECT\n    {staged}\nFROM {self.staged}) AS source\n"
            f"ON {self._same_key()}\n{self._when_matched()}"
            f"WHEN NOT MATCHED THEN INSERT ({listed})\nVALUES ({values})"
        )

    def _same_key(self) -> str:
        there = [each for name in self.key for each in self.compared(name, self._there(name))]
        here = [each for name in self.key for each in self.compared(name, self._here(name))]
        return " AND ".join(f"{one} = {other}" for one, other in zip(there, here, strict=True))

    def _when_matched(self) -> str:
        changing = [name for name in self.values if name not in self.key]
        synced_at = self.rules.synced_at_column and self.named(self.rules.synced_at_column)
        compared = [name for name in changing if name != synced_at]
        if self.rules.conflict == "dest_wins" or not compared:
            return ""
        changes = ",\n    ".join(f"{self.quoted(name)} = {self._new(name)}" for name in changing)
        differs = "\n    OR ".join(f"{self._new(name)} IS DISTINCT FROM {self._there(name)}" for name in compared)
        newer = ""
        if self.rules.conflict == "latest_wins" and self.rules.conflict_field:
            field = self.named(self.rules.conflict_field)
            newer = f"({self._there(field)} IS NULL OR {self._here(field)} >= {self._there(field)})\n    AND "
        return f"WHEN MATCHED AND {newer}({differs}) THEN UPDATE SET\n    {changes}\n"

    def _new(self, name: str) -> str:
        incoming = self._here(name)
        return f"COALESCE({incoming}, {self._there(name)})" if self.rules.conflict == "merge_non_null" else incoming

    def _here(self, name: str) -> str:
        return f"source.{self.quoted(name)}"

    def _there(self, name: str) -> str:
        return f"target.{self.quoted(name)}"
