"""Where the author of a query wants the window: ``:window(expression)`` inside it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from airflow_etl_sync.errors import ConfigurationError

PLACE = ":window"


def is_placed(query: str) -> bool:
    """Whether the query says where the window goes."""
    return PLACE in query and any(isinstance(part, tuple) for part in _parts(query))


def place(query: str, condition: Callable[[str], str]) -> str:
    """The query with each ``:window(expression)`` replaced by a condition on the expression.

    Texts, quoted names, comments and dollar quotes are left as they are, and ``::window(…)`` is a cast.

    :param condition: makes the condition on an expression
    :raises ConfigurationError: where a parenthesis is not closed
    """
    if PLACE not in query:
        return query
    return "".join(part if isinstance(part, str) else condition(part[0]) for part in _parts(query))


def without_end(query: str) -> str:
    """The query without a closing semicolon, since it becomes part of a larger one; comments behind it stay."""
    tokens = list(_tokens(query))
    for number in range(len(tokens) - 1, -1, -1):
        kind, text = tokens[number]
        if text == ";":
            tokens[number] = (kind, "")
        elif text.strip() and not kind.startswith("Token.Comment"):
            break
    return "".join(text for _, text in tokens).strip()


def _parts(query: str) -> Iterator[str | tuple[str]]:
    """The query in pieces: text as it is, and the expressions of places, each alone in a tuple."""
    tokens = _tokens(query)
    for kind, text in tokens:
        if kind == "Token.Name.Placeholder" and text == PLACE:
            yield (_expression(tokens),)
        else:
            yield text


def _expression(tokens: Iterator[tuple[str, str]]) -> str:
    """What stands in the parentheses that follow."""
    depth, found = 0, ""
    for _, text in tokens:
        if not depth and not text.strip():
            continue
        if not depth and text != "(":
            break
        depth += (text == "(") - (text == ")")
        if not depth:
            break
        found += text
    expression = found.removeprefix("(").strip()
    if depth or not expression:
        raise ConfigurationError(
            "sql has a :window that no expression in parentheses follows: write it as in :window(orders.updated_at)."
        )
    return expression


def _tokens(query: str) -> Iterator[tuple[str, str]]:
    from sqlparse.lexer import tokenize

    return ((str(kind), text) for kind, text in tokenize(query))  # type: ignore[no-untyped-call]
