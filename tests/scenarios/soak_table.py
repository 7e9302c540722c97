"""The table of the soak: every kind of value that travels in a way of its own, and how two of them are compared."""

from __future__ import annotations

import random
from dataclasses import dataclass

import psycopg

KINDS = ("a", "ä 'b\"")
IDS = 400  # of each kind: few, so that the same keys come, go and come again

TYPES = "CREATE TYPE mood AS ENUM ('happy', '', 'Sad, \"very\"', 'ä')"
TABLE = """
CREATE TABLE t (
    kind text,
    id integer,
    c timestamptz,
    words text,
    exact numeric,
    price numeric(12,3),
    real double precision,
    doc jsonb,
    raw json,
    tags text[],
    grid integer[],
    at timestamptz,
    local timestamp,
    day date,
    span interval,
    range tstzrange,
    bytes bytea,
    uuid uuid,
    yes boolean,
    mood mood,
    place inet,
    PRIMARY KEY (kind, id)
)
"""
GRAVES = "CREATE TABLE grave (kind text, id integer, c timestamptz, PRIMARY KEY (kind, id))"

VALUES: dict[str, tuple[str, ...]] = {
    "words": (
        *("''", "' '", "'NULL'", r"E'\\N'", r"E'\\.'", r"E'\r\n\t\x01\x7f'", "'{}'", "'\"'", "''''", r"E'\\'"),
        *(r"U&'\+01F468\200D\+01F469'", r"U&'\FEFFx'", r"U&'e\0301 \00E9'", r"U&'\202Eabc'", "repeat('ä', 3000)"),
    ),
    "exact": ("'NaN'", "'Infinity'", "'-Infinity'", "1.0", "1.00", "-0.000", "1e-300", f"{'9' * 60}.{'1' * 60}"),
    "price": ("1", "1.5", "'NaN'", "-123456789.123"),
    "real": ("'NaN'", "'-Infinity'", "'-0'", "0", "'5e-324'", "0.1", "9007199254740993"),
    "doc": ("'null'", "'\"\"'", '\'{"b":1.0,"a":[1.00,null,{}]}\'', "'\"äöü😀\"'", "'1e400'", "'-0.0'"),
    "raw": ("'null'", '\' { "b" : 1.0,"b":1.00, "a":[ ] } \'', r"""'"\u0041\ud83d\ude00"'"""),
    "tags": ("'{}'", "ARRAY['', NULL, 'NULL', 'a,b', '\"', '{']", "'[0:1]={a,b}'", "ARRAY[ARRAY['a'], ARRAY[NULL]]"),
    "grid": ("'{}'", "'{{1,2},{3,NULL}}'", "'{{{1}}}'", "'{7}'"),
    "at": ("'infinity'", "'-infinity'", "'4713-01-01 00:00+00 BC'", "'294276-12-31 23:59:59.999999+00'", "now()"),
    "local": ("'infinity'", "'0001-12-31 23:59:59.999999 BC'", "'2020-10-25 02:30'", "'2020-02-29 12:00:00.000001'"),
    "day": ("'infinity'", "'-infinity'", "'4713-01-01 BC'", "'5874897-12-31'", "'2020-02-29'"),
    "span": ("'1 day'", "'24 hours'", "'-1 day -01:00:00'", "'1 mon -2 days +03:00:00.000001'", "'0'"),
    "range": ("'empty'", "'(,)'", "'[\"2020-01-01 00:00:00+05\",infinity]'"),
    "bytes": ("''", r"'\x00'", r"'\x5c78ff00'", "decode(repeat('00ff', 2000), 'hex')"),
    "uuid": ("'00000000-0000-0000-0000-000000000000'", "gen_random_uuid()"),
    "yes": ("true", "false"),
    "mood": ("'happy'", "''", "'Sad, \"very\"'", "'ä'"),
    "place": ("'10.0.0.1/8'", "'::ffff:1.2.3.4'", "'::/0'"),
}


def random_values(chance: random.Random) -> dict[str, str]:
    """A value for each column, in SQL; one in six is NULL."""
    return {name: "NULL" if chance.random() < 1 / 6 else chance.choice(values) for name, values in VALUES.items()}


@dataclass(frozen=True, slots=True)
class Difference:
    """A key whose rows are not the same; None is a row that is not there."""

    key: tuple[str, int]
    source: str | None
    warehouse: str | None

    def __str__(self) -> str:
        return f"{self.key}\n  source    {self.source}\n  warehouse {self.warehouse}"


def differences(source: psycopg.Connection, warehouse: psycopg.Connection) -> list[Difference]:
    """Keys whose rows differ in any character, or all of them where the columns' types do."""
    assert _types(source) == _types(warehouse), f"{_types(source)} in the source, {_types(warehouse)} in the warehouse"
    here, there = _digests(source), _digests(warehouse)
    keys = sorted(key for key in here.keys() | there.keys() if here.get(key) != there.get(key))
    return [Difference(key, _row(source, key), _row(warehouse, key)) for key in keys]


def _types(connection: psycopg.Connection) -> list[tuple[str, str]]:
    return connection.execute(
        "SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute"
        " WHERE attrelid = 't'::regclass AND attnum > 0 AND NOT attisdropped ORDER BY attnum"
    ).fetchall()


def _digests(connection: psycopg.Connection) -> dict[tuple[str, int], str]:
    rows = connection.execute("SELECT kind, id, md5(t::text) FROM t").fetchall()
    return {(kind, id_): digest for kind, id_, digest in rows}


def _row(connection: psycopg.Connection, key: tuple[str, int]) -> str | None:
    row = connection.execute("SELECT left(t::text, 500) FROM t WHERE (kind, id) = (%s, %s)", key).fetchone()
    return row[0] if row else None
