"""Statements of MySQL and MariaDB, cut into words.

Rules: `Schema Object Names <https://dev.mysql.com/doc/refman/8.4/en/identifiers.html>`__ and `Comments
<https://mariadb.com/kb/en/comment-syntax/>`__.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

_TOKEN = re.compile(
    r"""
    (?: \s+ | --(?=[\s\x00-\x1f]|$)[^\n]* | \#[^\n]* | /\*(?!M?!).*?(?:\*/|$) )  # gaps and comments
    | /\*M?!\d* | \*/                                                            # a comment that servers run
    | '(?:[^'\\]|\\.|'')*'                                                       # a value
    | (?P<quoted> `(?:[^`]|``)*` | "(?:[^"\\]|\\.|"")*" )
    | (?P<plain> [\w$]+ | . )
    """,
    re.VERBOSE | re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class Word:
    """A word, a name or a mark of a statement.

    :param text: a name without its quotes
    """

    text: str
    is_quoted: bool = False

    @property
    def keyword(self) -> str:
        """It in capitals; empty where it is quoted, so that it can only be a name."""
        return "" if self.is_quoted else self.text.upper()


def words_of(statement: str) -> Iterator[Word]:
    """The words of a statement; no comments, no values."""
    for token in _TOKEN.finditer(statement):
        if quoted := token["quoted"]:
            yield Word(quoted[1:-1].replace(quoted[0] * 2, quoted[0]), is_quoted=True)
        elif plain := token["plain"]:
            yield Word(plain)


def names_in(words: Sequence[Word], schema: str) -> Iterator[tuple[str, str]]:
    """What may be a table, with its schema.

    :param schema: that of names without one
    """
    place = 0
    while place < len(words):
        word = words[place]
        if [each.keyword for each in words[place + 1 : place + 2]] == ["."] and place + 2 < len(words):
            yield word.text, words[place + 2].text
            place += 3
        else:
            yield schema, word.text
            place += 1
