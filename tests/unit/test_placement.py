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
        ("SELECT 1 WHERE :window(o.updated_at)", "SELECT 1 WHERE <o.updated_at>"),
        ("WHERE :window ( greatest(o.a, u.b) ) AND x", "WHERE <greatest(o.a, u.b)> AND x"),
        ("WHERE :window(a) OR :window(b)", "WHERE <a> OR <b>"),
        (""":window(coalesce("(", ')'))""", """<coalesce("(", ')')>"""),
        (":window(\n  o.updated_at -- the cursor )\n)", "<o.updated_at -- the cursor )>"),
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
        "SELECT a[1:window(x)]",
        "SELECT :windows(a)",
    ],
)
def test_no_places(query: str) -> None:
    assert not is_placed(query)
    assert placed(query) == query


@pytest.mark.parametrize("query", [":window(a", ":window()", ":window a", "WHERE :window", ":window)(", ":window( )"])
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
    ],
)
def test_without_end(query: str, becomes: str) -> None:
    assert without_end(query) == becomes
