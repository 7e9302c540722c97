"""Where a query wants its window is found by PostgreSQL's own rules of texts, names and comments."""

from __future__ import annotations

import pytest

from airflow_etl_sync.errors import ConfigurationError
from airflow_etl_sync.systems.postgres.placement import is_placed, place, without_end


def placed(query: str) -> str:
    return place(query, lambda expression: f"<{expression}>")


@pytest.mark.parametrize(
    ("query", "becomes"),
    [
        ("SELECT 1 WHERE :window(o.updated_at)", "SELECT 1 WHERE <(o.updated_at)>"),
        ("WHERE :window ( greatest(o.a, u.b) ) AND x", "WHERE <( greatest(o.a, u.b) )> AND x"),
        ("WHERE :window(a) OR :WINDOW(b)", "WHERE <(a)> OR <(b)>"),
        ("WHERE NOT:window(a)AND(:window(b))", "WHERE NOT<(a)>AND(<(b)>)"),
        (""":window(coalesce("(", ')', $$)$$))""", """<(coalesce("(", ')', $$)$$))>"""),
        (":window(\n  o.updated_at -- the cursor )\n)", "<(\n  o.updated_at -- the cursor )\n)>"),
        (":window(a /* ) */)", "<(a /* ) */)>"),
    ],
)
def test_places(query: str, becomes: str) -> None:
    assert is_placed(query)
    assert placed(query) == becomes


@pytest.mark.parametrize(
    "query",
    [
        "SELECT 1",
        "SELECT ':window(a)'",
        "SELECT E'it\\'s :window(a)'",
        'SELECT ":window(a)"',
        "SELECT $$ :window(a) $$, $x$ :window(b) $x$",
        "SELECT 1 -- :window(a)\n, 2",
        "SELECT /* :window(a) */ 1",
        "SELECT x::window(3)",
        "SELECT :windows(a), :window_1(a), :window$(a)",
    ],
)
def test_no_places(query: str) -> None:
    assert not is_placed(query)
    assert placed(query) == query


TEXTS = [
    r"'C:\'",
    "'it''s :window(x)'",
    r"'\', ':window(x)'",
    r"E'\\'",
    r"E'\' :window(x)'",
    "e'a' -- more\n  'it\\' :window(x)'",
    r"U&'\'",
    r"N'\'",
    "B'0'",
    '"a"":window(x)"',
    r'U&"\0441:window(x)"',
    "$a$ $b$ :window(x) $b$ $$ $a$",
    "$é$ :window(x) $é$",
    "a$b$",
    "$1",
    "/* /* x */ :window(x) */",
    "/* ' */",
    "/* \" */ -- it's :window(x)\r",
    "a # b",
    "a #>> '{x}'",
    "a @> b ? c",
    "a[1:2]",
    "x::window(3)",
    "`",
]
"""Each is left alone, and ends where PostgreSQL ends it, so that a place behind it is found."""


@pytest.mark.parametrize("text", TEXTS)
def test_a_text_ends_where_postgresql_ends_it(text: str) -> None:
    assert placed(f"SELECT {text}, :window(a)") == f"SELECT {text}, <(a)>"
    assert placed(f":window(a),{text}") == f"<(a)>,{text}"


@pytest.mark.parametrize(
    "query", [":window(a", ":window()", ":window a", "WHERE :window", ":window)(", ":window( )", ":window(--a\n)"]
)
def test_a_place_needs_an_expression(query: str) -> None:
    with pytest.raises(ConfigurationError, match=r":window\(orders.updated_at\)"):
        placed(query)


@pytest.mark.parametrize(
    ("query", "becomes"),
    [
        ("SELECT 1;", "SELECT 1"),
        ("SELECT 1 ;\n ; ", "SELECT 1"),
        ("SELECT 1; -- done;\n", "SELECT 1 -- done;"),
        ("SELECT ';'", "SELECT ';'"),
        ("SELECT 1 /* ; */", "SELECT 1 /* ; */"),
        ("SELECT 1; SELECT 2;", "SELECT 1; SELECT 2"),
        ("SELECT a # b;", "SELECT a # b"),
        ("SELECT 1 /* /* ; */ ; */;", "SELECT 1 /* /* ; */ ; */"),
        (r"SELECT E'\\';", r"SELECT E'\\'"),
        (r"SELECT '\';", r"SELECT '\'"),
    ],
)
def test_without_end(query: str, becomes: str) -> None:
    assert without_end(query) == becomes
