"""What a statement of a binary log means for the tables whose changes are captured.

Where rows are logged as such, statements are still what begins and ends transactions and what defines tables. Some of
the latter change rows of which no event tells, and no rows at all are told of statements that a session has logged as
such. The text is cut into words by sqlparse, which knows comments and quotes.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from enum import Enum
from itertools import pairwise

_DEFINES = frozenset({
    "ALTER", "ANALYZE", "CREATE", "DROP", "FLUSH", "GRANT", "INSTALL", "OPTIMIZE", "RENAME", "REPAIR", "RESET",
    "REVOKE", "SET", "TRUNCATE", "UNINSTALL", "USE",
})  # fmt: skip
_HEAD = 13
"""Of a statement's event: the session, the seconds that it took, lengths of what follows, an error."""
_OF_PARTITIONS = frozenset({"TRUNCATE", "DROP", "EXCHANGE", "CONVERT"})


@dataclass(frozen=True, slots=True)
class Statement:
    """A statement of the log.

    :param schema: the one in which names without schema are
    """

    schema: str
    text: str = field(repr=False)

    @classmethod
    def of(cls, body: bytes) -> Statement:
        """The statement of an event."""
        schema_size = body[8]
        at = _HEAD + int.from_bytes(body[11:_HEAD], "little")
        schema = body[at : at + schema_size].decode()
        return cls(schema, body[at + schema_size + 1 :].decode(errors="backslashreplace"))


class Meaning(Enum):
    """What becomes of rows by a statement."""

    NOTHING = "nothing"
    COMMIT = "commit"
    ROLLBACK = "rollback"
    """All or some of what the transaction has logged so far is undone."""
    TRUNCATE = "truncate"
    UNTOLD = "untold"
    """Rows come, go or are others, and no event tells which."""
    UNLOGGED = "unlogged"
    """Rows were changed, and the log holds the statement in their place."""


_OF_TRANSACTIONS = {
    "COMMIT": Meaning.COMMIT,
    "ROLLBACK": Meaning.ROLLBACK,
    **dict.fromkeys(("BEGIN", "START", "SAVEPOINT", "RELEASE", "XA"), Meaning.NOTHING),
}
"""Of XA, an event of its own tells what is prepared."""


def meaning_of(statement: str, names: Collection[str], schemas: Collection[str] = ()) -> Meaning:
    """What a statement means for some tables.

    :param names: the tables', without schema
    :param schemas: the schemas' in which they are
    """
    words = list(_words(statement))
    first = words[0].upper() if words else "SET"  # a comment
    if first in _OF_TRANSACTIONS:
        return _OF_TRANSACTIONS[first]
    if first not in _DEFINES:
        return Meaning.UNLOGGED
    if [first, *map(str.upper, words[1:2])] in (["DROP", "DATABASE"], ["DROP", "SCHEMA"]):
        return Meaning.UNTOLD if _has(words, schemas) else Meaning.NOTHING
    return _of_definition(words) if _has(words, names) else Meaning.NOTHING


def names_in(statement: str, names: Collection[str]) -> set[str]:
    """Those of the names that stand in a statement, whatever it does with them."""
    words = {word.lower() for word in _words(statement)}
    return {name for name in names if name.lower() in words}


def _has(words: Sequence[str], names: Collection[str]) -> bool:
    wanted = {name.lower() for name in names}
    return any(word.lower() in wanted for word in words)


def _of_definition(words: Sequence[str]) -> Meaning:
    told = [word.upper() for word in words]
    if told[0] == "TRUNCATE":
        return Meaning.TRUNCATE
    if told[0] == "RENAME" or ("TABLE" in told[:4] and told[0] in ("DROP", "CREATE")):
        return Meaning.UNTOLD
    if told[0] == "ALTER" and _changes_rows(told):
        return Meaning.UNTOLD
    return Meaning.NOTHING


def _changes_rows(told: Sequence[str]) -> bool:
    """Whether ALTER takes rows away or brings some: by partitions, by a file, by another table's name."""
    pairs = list(pairwise(told))
    return (
        any(first in _OF_PARTITIONS and second == "PARTITION" for first, second in pairs)
        or any(second == "TABLESPACE" for first, second in pairs if first in ("DISCARD", "IMPORT"))
        or any(first == "RENAME" and second not in ("COLUMN", "INDEX", "KEY") for first, second in pairs)
    )


def _words(statement: str) -> Iterator[str]:
    """Words and names, these without their quotes; no comments, no values."""
    import sqlparse
    from sqlparse import tokens

    for parsed in sqlparse.parse(statement):
        for token in parsed.flatten():  # type: ignore[no-untyped-call]
            if (
                token.ttype in tokens.Keyword
                or token.ttype in tokens.Name
                or token.ttype in tokens.Literal.String.Symbol
            ):
                yield from token.value.split() if token.ttype in tokens.Keyword else [_unquoted(token.value)]


def _unquoted(name: str) -> str:
    quote = name[:1]
    return name[1:-1].replace(quote * 2, quote) if quote in ("`", '"') else name
