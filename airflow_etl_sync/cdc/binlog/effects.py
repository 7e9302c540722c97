"""What a statement of a binary log means for the tables whose changes are captured.

Where rows are logged as such, statements are still what begins and ends transactions and what defines tables. Some of
the latter change rows of which no event tells, and no rows at all are told of statements that a session has logged as
such.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from itertools import pairwise

from airflow_etl_sync.cdc.binlog.statements import Statement
from airflow_etl_sync.cdc.binlog.words import Word, names_in, words_of


class Meaning(Enum):
    """What becomes of rows by a statement."""

    NOTHING = "nothing"
    COMMIT = "commit"
    ROLLBACK = "rollback"
    """All or some of what the transaction has logged so far is undone."""
    TRUNCATE = "truncate"
    UNTOLD = "untold"
    """Rows come or go, and no event tells which."""
    REWRITTEN = "rewritten"
    """Rows that stay may have other values, and no event tells which."""
    UNLOGGED = "unlogged"
    """Rows were changed, and the log holds the statement in their place."""


@dataclass(frozen=True, slots=True)
class Effect:
    """What a statement does, and to which of the captured tables (``schema.table``)."""

    meaning: Meaning
    tables: tuple[str, ...] = ()


_NONE = Effect(Meaning.NOTHING)
_OF_TRANSACTIONS = {
    "COMMIT": Effect(Meaning.COMMIT),
    "ROLLBACK": Effect(Meaning.ROLLBACK),
    **dict.fromkeys(("BEGIN", "START", "SAVEPOINT", "RELEASE", "XA"), _NONE),
}
"""Of XA, an event of its own tells what is prepared."""

_OF_NO_ROWS = frozenset(
    {"FLUSH", "GRANT", "INSTALL", "OPTIMIZE", "REPAIR", "RESET", "REVOKE", "SET", "UNINSTALL", "USE"}
)
_OF_PARTITIONS = frozenset({"TRUNCATE", "DROP", "EXCHANGE", "CONVERT"})
_NO_COLUMNS = frozenset({
    "INDEX", "KEY", "CONSTRAINT", "UNIQUE", "PRIMARY", "FULLTEXT", "SPATIAL", "FOREIGN", "CHECK", "PARTITION", "PERIOD",
})  # fmt: skip
_OF_THE_SERVER = re.compile(r"DELETE FROM `(?:[^`]|``)+`\.`(?:[^`]|``)+`\s*(?:/\*.*\*/)?")
"""What it writes of a table in memory that is empty after a restart."""


@dataclass(frozen=True, slots=True)
class CapturedNames:
    """The names of captured tables, as statements may spell them.

    :param tables: ``schema.table``
    :param folds_case: whether the server takes names in capitals for the same (``lower_case_table_names``)
    """

    tables: Sequence[str]
    folds_case: bool = False
    _known: dict[str, str] = field(init=False, repr=False, default_factory=dict)

    def __post_init__(self) -> None:
        self._known.update({self._folded(each): each for each in self.tables})

    def effect_of(self, statement: Statement) -> Effect:
        """What a statement does to these tables."""
        words = _behind_settings(list(words_of(statement.text)))
        first = words[0].keyword if words else "SET"  # a comment
        if first in _OF_TRANSACTIONS:
            return _OF_TRANSACTIONS[first]
        if first in _OF_NO_ROWS:
            return _NONE
        effect = _EFFECTS.get(first)
        if effect is not None:
            return effect(self, statement.schema, words)
        is_of_the_server = _OF_THE_SERVER.fullmatch(statement.text.strip()) is not None
        return self._of_rows(statement.schema, words, may_reach_others=not is_of_the_server)

    # -- what it names ------------------------------------------------------------------------------------

    def named(self, schema: str, words: Sequence[Word]) -> tuple[str, ...]:
        """The tables that stand in a statement, whatever it does with them."""
        found = (self._known.get(self._folded(f"{of}.{name}")) for of, name in names_in(words, schema))
        return tuple(dict.fromkeys(each for each in found if each is not None))

    def _folded(self, name: str) -> str:
        return name.lower() if self.folds_case else name

    def _in_schema(self, schema: str) -> tuple[str, ...]:
        begin = self._folded(f"{schema}.")
        return tuple(each for folded, each in self._known.items() if folded.startswith(begin))

    # -- what it does -------------------------------------------------------------------------------------

    def _of_rows(self, schema: str, words: Sequence[Word], *, may_reach_others: bool = True) -> Effect:
        """A statement that changes rows: those of the tables that it names, or by views and triggers of others."""
        tables = self.named(schema, words)
        reaches = tables or (may_reach_others and self._in_schema(schema))
        return Effect(Meaning.UNLOGGED, tables) if reaches else _NONE

    def _truncate(self, schema: str, words: Sequence[Word]) -> Effect:
        return self._if_any(Meaning.TRUNCATE, self.named(schema, words[1:]))

    def _drop(self, schema: str, words: Sequence[Word]) -> Effect:
        kind = words[1].keyword
        if kind in ("DATABASE", "SCHEMA"):
            return self._if_any(Meaning.UNTOLD, self._in_schema(words[-1].text))
        return self._if_any(Meaning.UNTOLD, self.named(schema, words)) if kind in ("TABLE", "TABLES") else _NONE

    def _create(self, schema: str, words: Sequence[Word]) -> Effect:
        """A table that was not there before has no rows; one that is replaced had some."""
        if [each.keyword for each in words[1:4]] != ["OR", "REPLACE", "TABLE"]:
            return _NONE
        return self._if_any(Meaning.UNTOLD, self.named(schema, words[4:])[:1])

    def _rename(self, schema: str, words: Sequence[Word]) -> Effect:
        is_of_tables = words[1].keyword in ("TABLE", "TABLES")
        return self._if_any(Meaning.UNTOLD, self.named(schema, words)) if is_of_tables else _NONE

    def _analyze(self, schema: str, words: Sequence[Word]) -> Effect:
        """MariaDB's ANALYZE of a statement runs it."""
        is_of_tables = any(each.keyword in ("TABLE", "TABLES") for each in words[1:3])
        return _NONE if is_of_tables else self._of_rows(schema, words)

    def _alter(self, schema: str, words: Sequence[Word]) -> Effect:
        told = [each.keyword for each in words]
        if "TABLE" not in told[1:4]:
            return _NONE
        tables = self.named(schema, words)
        if "IGNORE" in told[1:3] or _moves_rows(told):
            return self._if_any(Meaning.UNTOLD, tables)
        return self._if_any(Meaning.REWRITTEN, tables) if _rewrites_rows(told) else _NONE

    def _if_any(self, meaning: Meaning, tables: tuple[str, ...]) -> Effect:
        return Effect(meaning, tables) if tables else _NONE


_EFFECTS: Mapping[str, Callable[[CapturedNames, str, Sequence[Word]], Effect]] = {
    "ALTER": CapturedNames._alter,  # noqa: SLF001 - this is a part of it
    "ANALYZE": CapturedNames._analyze,  # noqa: SLF001
    "CREATE": CapturedNames._create,  # noqa: SLF001
    "DROP": CapturedNames._drop,  # noqa: SLF001
    "RENAME": CapturedNames._rename,  # noqa: SLF001
    "TRUNCATE": CapturedNames._truncate,  # noqa: SLF001
}


def _behind_settings(words: Sequence[Word]) -> Sequence[Word]:
    """A statement without MariaDB's settings for it alone: ``SET STATEMENT name = value FOR``."""
    if [each.keyword for each in words[:2]] != ["SET", "STATEMENT"]:
        return words
    places = [place for place, each in enumerate(words) if each.keyword == "FOR"]
    return words[places[0] + 1 :] if places else words


def _moves_rows(told: Sequence[str]) -> bool:
    """Whether ALTER takes rows away or brings some: by partitions, by a file, by another table's name."""
    pairs = list(pairwise(told))
    return (
        any(first in _OF_PARTITIONS and second == "PARTITION" for first, second in pairs)
        or any(second == "TABLESPACE" for first, second in pairs if first in ("DISCARD", "IMPORT"))
        or any(pair == ("CONVERT", "TABLE") for pair in pairs)
        or any(first == "RENAME" and second not in ("COLUMN", "INDEX", "KEY") for first, second in pairs)
    )


def _rewrites_rows(told: Sequence[str]) -> bool:
    """Whether ALTER may give rows other values: by another type or name of a column, or by a new one with a default."""
    pairs = list(pairwise(told))
    adds_columns = any(first == "ADD" and second not in _NO_COLUMNS for first, second in pairs)
    return (
        any(each in ("MODIFY", "CHANGE") for each in told)
        or any(pair in (("CONVERT", "TO"), ("RENAME", "COLUMN")) for pair in pairs)
        or (adds_columns and any(each in ("DEFAULT", "NOT", "AS") for each in told))
    )
