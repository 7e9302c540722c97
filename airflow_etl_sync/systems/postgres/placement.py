"""Where the author of a query wants the window: ``:window(expression)`` inside it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from airflow_etl_sync.errors import ConfigurationError

_LETTER = r"A-Za-z_\x80-\U0010ffff"
_ESCAPED = r"'(?:[^'\\]|\\.|'')*'"
_TOKEN = re.compile(
    rf"""
    (?P<blank> [\ \t\r\n\f\v]+ | --[^\r\n]* | (?P<opening>/\*) )
    | (?P<text>
        [eE]{_ESCAPED} (?: (?:[\ \t\f\v]|--[^\r\n]*)* [\r\n] (?:[\ \t\r\n\f\v]|--[^\r\n]*[\r\n])* {_ESCAPED} )*
        | '(?:[^']|'')*'
        | "(?:[^"]|"")*"
        | (?P<quote> \$ (?:[{_LETTER}][{_LETTER}0-9]*)? \$ ) .*? (?P=quote)
        | [{_LETTER}][{_LETTER}0-9$]*
    )
    | (?P<place> (?<!:) :[wW][iI][nN][dD][oO][wW] (?![{_LETTER}0-9$]) )
    | (?P<sign> . )
    """,
    re.VERBOSE | re.DOTALL,
)
"""PostgreSQL's own tokens, as far as they tell where code ends: texts, names, comments, which nest, and all else.

A text without E takes a backslash as it is, as it does unless somebody turns ``standard_conforming_strings`` off
(`manual <https://www.postgresql.org/docs/current/sql-syntax-lexical.html>`__).
"""
_COMMENT_EDGE = re.compile(r"/\*|\*/")


def is_placed(query: str) -> bool:
    """Whether the query says where the window goes."""
    return any(kind == "place" for kind, _ in _tokens(query))


def place(query: str, condition: Callable[[str], str]) -> str:
    """The query with each ``:window(expression)`` replaced by a condition on the expression.

    Texts, quoted names, comments and dollar quotes are left as they are, and so is ``::window``. Nothing else that
    PostgreSQL takes reads ``:window``, which is a reserved word.

    :param condition: makes the condition on an expression, which comes in its parentheses
    :raises ConfigurationError: where a parenthesis is not closed
    """
    tokens = _tokens(query)
    return "".join(condition(_expression(tokens)) if kind == "place" else text for kind, text in tokens)


def without_end(query: str) -> str:
    """The query without a closing semicolon, since it becomes part of a larger one; comments behind it stay."""
    tokens = list(_tokens(query))
    for number in range(len(tokens) - 1, -1, -1):
        kind, text = tokens[number]
        if text == ";":
            tokens[number] = (kind, "")
        elif kind != "blank":
            break
    return "".join(text for _, text in tokens).strip()


def _expression(tokens: Iterator[tuple[str, str]]) -> str:
    """The parentheses that follow, with what stands in them: a comment in them may need the line's end."""
    depth, found, is_empty = 0, "", True
    for kind, text in tokens:
        if not depth and kind == "blank":
            continue
        depth += (text == "(") - (text == ")")
        found += text
        if depth <= 0:
            break
        is_empty = is_empty and (kind == "blank" or found == "(")
    if depth or is_empty or not found.startswith("("):
        raise ConfigurationError(
            "sql has a :window that no expression in parentheses follows: write it as in :window(orders.updated_at)."
        )
    return found


def _tokens(query: str) -> Iterator[tuple[str, str]]:
    """The query in pieces, which joined give it again: blanks, texts and names, places, single signs."""
    end = 0
    while match := _TOKEN.match(query, end):
        start, end = match.span()
        if match["opening"]:
            end = _end_of_comment(query, end)
        yield str(match.lastgroup), query[start:end]


def _end_of_comment(query: str, start: int) -> int:
    depth = 1
    for edge in _COMMENT_EDGE.finditer(query, start):
        depth += 1 if edge[0] == "/*" else -1
        if not depth:
            return edge.end()
    return len(query)
