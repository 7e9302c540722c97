"""The table of the soak: every kind of value that travels in a way of its own, and how two of them are compared."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

import psycopg

Key = tuple[Any, ...]

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

    key: Key
    source: str | None
    warehouse: str | None

    def __str__(self) -> str:
        return f"{self.key}\n  source    {self.source}\n  warehouse {self.warehouse}"


@dataclass(frozen=True, slots=True)
class Compared:
    """A table that is to be the same in the source and in the warehouse.

    :param own: columns that the warehouse may have for itself
    :param live: which rows of the warehouse count, in SQL
    """

    name: str = "t"
    key: tuple[str, ...] = ("kind", "id")
    own: frozenset[str] = frozenset()
    live: str = "true"

    def differences(self, source: psycopg.Connection, warehouse: psycopg.Connection) -> list[Difference]:
        """Keys whose rows differ in any character, or all of them where the columns' types do."""
        types = self._types(source)
        found = {name: type_ for name, type_ in self._types(warehouse).items() if name not in self.own}
        assert types == found, f"{self.name}: {types} in the source, {found} in the warehouse"
        columns = list(types)
        here, there = self._digests(source, columns, "true"), self._digests(warehouse, columns, self.live)
        keys = sorted(key for key in here.keys() | there.keys() if here.get(key) != there.get(key))
        return [Difference(key, self._row(source, key, columns), self._row(warehouse, key)) for key in keys]

    def _types(self, connection: psycopg.Connection) -> dict[str, str]:
        return dict(
            connection.execute(
                "SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute"
                " WHERE attrelid = %s::regclass AND attnum > 0 AND NOT attisdropped ORDER BY attnum",
                [self.name],
            ).fetchall()
        )

    def _digests(self, connection: psycopg.Connection, columns: list[str], live: str) -> dict[Key, str]:
        row = f"SELECT {', '.join(columns)} FROM {self.name} WHERE {live}"
        rows = connection.execute(f"SELECT {', '.join(self.key)}, md5(r::text) FROM ({row}) AS r").fetchall()
        return {tuple(key): digest for *key, digest in rows}

    def _row(self, connection: psycopg.Connection, key: Key, columns: list[str] | None = None) -> str | None:
        """A row with all that the warehouse has for itself, too; long values cut."""
        where = " AND ".join(f"{name} = %s" for name in self.key)
        shown = ", ".join(columns or self._types(connection))
        short = "(SELECT string_agg(left(value, 60), ' | ') FROM json_each_text(row_to_json(r)))"
        found = connection.execute(f"SELECT {short} FROM (SELECT {shown} FROM {self.name} WHERE {where}) AS r", key)
        row = found.fetchone()
        return row[0] if row else None
