"""Which type holds which, and what a column becomes to hold more."""

from __future__ import annotations

import pytest

from airflow_etl_sync.systems.postgres.widening import holds, may_bend, wider


@pytest.mark.parametrize(
    ("target", "source", "does"),
    [
        ("integer", "integer", True),
        ("bigint", "integer", True),
        ("integer", "bigint", False),
        ("numeric", "bigint", True),
        ("numeric(19,0)", "bigint", True),
        ("numeric(18,0)", "bigint", False),
        ("numeric(12,2)", "integer", True),
        ("numeric(12,2)", "numeric(10,2)", True),
        ("numeric(12,4)", "numeric(10,2)", True),
        ("numeric(12,4)", "numeric(12,2)", False),
        ("numeric(12,2)", "numeric", False),
        ("numeric(5)", "smallint", True),
        ("double precision", "integer", True),
        ("double precision", "bigint", False),
        ("real", "integer", False),
        ("numeric", "double precision", False),
        ("text", "jsonb", True),
        ("character varying", "integer[]", True),
        ("character varying(10)", "character varying(5)", True),
        ("character varying(5)", "character varying(10)", False),
        ("character varying(5)", "text", False),
        ("character varying(63)", "name", True),
        ("character(3)", "character(3)", True),
        ("character(5)", "character(3)", False),
        ("bit(5)", "bit(4)", False),
        ("bit varying(5)", "bit varying(4)", True),
        ("timestamp without time zone", "date", True),
        ("date", "timestamp without time zone", False),
        ("timestamp without time zone", "timestamp(3) without time zone", True),
        ("timestamp(3) without time zone", "timestamp without time zone", False),
        ("timestamp(3) without time zone", "date", False),
        ("timestamp with time zone", "timestamp without time zone", False),
        ("interval(0)", "interval", False),
        ("inet", "cidr", True),
        ("uuid", "text", False),
        ("integer[]", "bigint[]", False),
    ],
)
def test_holds(target: str, source: str, *, does: bool) -> None:
    assert holds(target, source) is does


@pytest.mark.parametrize(
    ("target", "source", "becomes"),
    [
        ("integer", "bigint", "bigint"),
        ("smallint", "numeric(10,2)", "numeric(10,2)"),
        ("bigint", "numeric(10,2)", "numeric"),
        ("numeric(10,2)", "numeric(8,6)", "numeric"),
        ("numeric(10,2)", "numeric", "numeric"),
        ("real", "double precision", "double precision"),
        ("integer", "double precision", "double precision"),
        ("bigint", "double precision", None),
        ("character varying(5)", "character varying(10)", "character varying(10)"),
        ("character varying(5)", "text", "text"),
        ("character(5)", "name", None),
        ("character(3)", "text", None),
        ("bit(4)", "bit(5)", None),
        ("bit varying(4)", "bit varying", "bit varying"),
        ("date", "timestamp without time zone", "timestamp without time zone"),
        ("timestamp without time zone", "timestamp with time zone", None),
        ("integer", "text", None),
        ("uuid", "text", None),
        ("interval(0)", "interval", "interval"),
    ],
)
def test_wider(target: str, source: str, becomes: str | None) -> None:
    assert wider(target, source) == becomes


def test_what_may_bend_stays_in_its_family() -> None:
    assert may_bend("numeric(10,2)", "integer")
    assert may_bend("interval day to second(3)", "interval")
    assert not may_bend("text", "integer")
    assert not may_bend("jsonb", "jsonb")
