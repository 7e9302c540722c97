"""Every type of PostgreSQL comes over exactly, in both forms, into a new table and into one that is there."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import psycopg
import pytest
from psycopg.sql import SQL, Identifier, Literal

from airflow_etl_sync.core.model import Counts, LoadRules, Stream, TableName
from airflow_etl_sync.demo.postgres import Databases
from airflow_etl_sync.errors import DataError
from airflow_etl_sync.systems.postgres.widening import wider
from tests.carrying import FORMS, Carrier, Form

XML_DECLARATION = '<?xml version="1.0"?>'

# A name, and values in SQL. Each is stored, as an array of two dimensions with a NULL too, and beside a NULL.
BUILT_IN: dict[str, list[str]] = {
    "smallint": ["-32768", "32767", "0"],
    "integer": ["-2147483648", "2147483647"],
    "bigint": ["-9223372036854775808", "9223372036854775807"],
    "real": ["'NaN'", "'Infinity'", "'-Infinity'", "'-0'", "'1e-45'", "3.4028235e38", "0.1", "16777217"],
    "double precision": [
        *("'NaN'", "'Infinity'", "'-Infinity'", "'-0'", "'5e-324'", "'1.7976931348623157e308'"),
        *("0.1", "1.0000000000000002", "9007199254740993"),
    ],
    "numeric": [
        *("'NaN'", "'Infinity'", "'-Infinity'", "0", "1.0", "1.00", "-0.000", "1e-16383", "1e131000"),
        f"{'9' * 1000}.{'1' * 1000}",
    ],
    "numeric(12,3)": ["1", "'NaN'", "-123456789.123"],
    "money": ["'-92233720368547758.08'", "'92233720368547758.07'", "'1234.5'", "'-0.01'"],
    "boolean": ["true", "false"],
    "text": [
        *(
            "''",
            "' '",
            "'NULL'",
            r"E'\\N'",
            r"E'\\.'",
            "'null'",
            r"E'\r\n\t\x01\x7f'",
            "'{}'",
            "'\"'",
            "''''",
            r"E'\\'",
        ),
        *(r"U&'\+01F468\200D\+01F469'", r"U&'\FEFFx'", r"U&'e\0301 \00E9'", r"U&'\202Eabc'", r"U&'\FFFD\FFFF\+10FFFF'"),
        "repeat('ä', 100000)",
    ],
    "character varying": ["''", "'ab  '", "'ä'"],
    "character varying(4)": ["''", "'ab  '", "'äöüß'"],
    "character(4)": ["''", "'ab'", "'äöüß'", "' a'"],
    "bpchar": ["''", "'ab  '", "'äöüß'"],
    '"char"': ["''", "'a'", "'\"'", 'CAST(-61 AS "char")'],
    "name": ["''", "'a b'", "repeat('ä', 31)"],
    "bytea": ["''", r"'\x00'", r"'\x5c78ff00'", r"decode(repeat('00ff', 50000), 'hex')"],
    "uuid": ["'00000000-0000-0000-0000-000000000000'", "'ffffffff-ffff-ffff-ffff-ffffffffffff'"],
    "json": [
        *("'null'", "'\"\"'", '\' { "b" : 1.0,"b":1.00, "a":[ ] } \'', r"""'"\u0041\ud83d\ude00"'""", "'1e400'"),
        "'\"äöü😀\"'",
    ],
    "jsonb": [
        *("'null'", "'\"\"'", '\'{"b":1.0,"a":[1.00,null,{}]}\'', "'\"äöü😀\\u0041\"'", "'1e400'", "'-0.0'"),
        "to_jsonb(repeat('ä', 100000))",
    ],
    "jsonpath": ["'$.a[*] ? (@ > 1.0)'", "'strict $.\"ä b\"'"],
    "date": [
        "'infinity'",
        "'-infinity'",
        "'4713-01-01 BC'",
        "'0001-12-31 BC'",
        "'0001-01-01'",
        "'5874897-12-31'",
        "'290000-01-01'",
    ],
    "time": ["'00:00'", "'24:00'", "'23:59:59.999999'"],
    "time(2)": ["'24:00'", "'23:59:59.99'"],
    "time with time zone": ["'24:00+15:59'", "'00:00-15:59'", "'12:34:56.789012+00:00:07'"],
    "timestamp": [
        *("'infinity'", "'-infinity'", "'4713-01-01 00:00 BC'", "'0001-12-31 23:59:59.999999 BC'", "'0001-01-01'"),
        *("'294276-12-31 23:59:59.999999'", "'290000-01-01 00:00:00.000001'", "'1969-12-31 23:59:59.999999'"),
    ],
    "timestamp(0)": ["'2020-02-29 23:59:59'", "'infinity'"],
    "timestamp with time zone": [
        *("'infinity'", "'-infinity'", "'4713-01-01 00:00+00 BC'", "'0001-12-31 23:59:59.999999+00 BC'"),
        *("'294276-12-31 23:59:59.999999+00'", "'290000-01-01 00:00:00.000001+00'", "'2020-10-25 02:30:00+02'"),
    ],
    "interval": [
        *(
            "'0'",
            "'1 day'",
            "'24 hours'",
            "'-1 day -01:00:00'",
            "'1 mon -2 days +03:00:00.000001'",
            "'-1 year 1 day -00:00:00.000001'",
        ),
        *("'178000000 years'", "'-178000000 years'", "'-2147483648 months'", "'2147483647 days'"),
        "'2562047788:00:54.775807'",
    ],
    "interval day to second(3)": ["'1 day 00:00:00.123'"],
    "inet": ["'::ffff:1.2.3.4/128'", "'10.0.0.1/8'", "'10.0.0.1'", "'::/0'"],
    "cidr": ["'10.0.0.0/8'", "'::/0'", "'1.2.3.4/32'"],
    "macaddr": ["'08:00:2b:01:02:03'"],
    "macaddr8": ["'08:00:2b:01:02:03:04:05'"],
    "bit(5)": ["B'10101'", "B'00000'"],
    "bit varying": ["B''", "B'1'", "repeat('10', 500)::varbit"],
    "bit varying(3)": ["B''", "B'101'"],
    "point": ["'(1.1,-0)'", "'(Infinity,NaN)'", "'(5e-324,0.1)'"],
    "lseg": ["'[(0,0),(0.1,1)]'"],
    "line": ["'{1,-1,0.1}'"],
    "box": ["'(2,2),(0.1,1)'"],
    "path": ["'[(0,0),(1,1)]'", "'((0,0),(1,0.1))'"],
    "polygon": ["'((0,0),(1,1),(2,0.1))'"],
    "circle": ["'<(0.1,0),2>'"],
    "int4range": ["'empty'", "'[1,2]'", "'(,)'", "'(,5)'"],
    "int8range": ["'[1,9223372036854775807)'"],
    "numrange": ["'[1.0,1.00]'", "'(,NaN)'", "'empty'"],
    "daterange": ["'[-infinity,infinity)'", "'[4713-01-01 BC,2020-01-01)'"],
    "tsrange": ["'[\"2020-01-01 00:00:00.000001\",infinity]'"],
    "tstzrange": ["'[\"2020-01-01 00:00:00+05\",)'"],
    "int4multirange": ["'{}'", "'{[1,2),[5,9)}'"],
    "int8multirange": ["'{(,3)}'"],
    "nummultirange": ["'{[1.0,1.00]}'"],
    "datemultirange": ["'{[2020-01-01,2020-02-01)}'"],
    "tsmultirange": ["'{[2020-01-01,infinity]}'"],
    "tstzmultirange": ["'{[2020-01-01 00:00+02,)}'"],
    "tsvector": ["''", r"$$'a b':1A,2 'c''d':3$$", "to_tsvector('simple', 'ä ö ü')"],
    "tsquery": ["''", r"$$'a':*AB & !( 'b c' <2> 'd' )$$"],
    "pg_lsn": ["'0/0'", "'FFFFFFFF/FFFFFFFF'"],
    "oid": ["'4294967295'", "'0'"],
    "xid": ["'4294967295'", "'3'"],
    "xid8": ["'18446744073709551615'"],
    "cid": ["'4294967295'"],
    "tid": ["'(4294967295,65535)'", "'(0,1)'"],
    "regclass": ["'pg_class'", "'-'", "'4294967295'"],
    "regcollation": ["'\"C\"'"],
    "regconfig": ["'simple'"],
    "regdictionary": ["'simple'"],
    "regnamespace": ["'pg_catalog'", "'-'"],
    "regoper": ["'0'", "'||/'"],
    "regoperator": ["'+(integer,integer)'"],
    "regproc": ["'now'", "'-'"],
    "regprocedure": ["'abs(numeric)'"],
    "regrole": ["'pg_monitor'"],
    "regtype": ["'integer'", "'timestamp with time zone'", "'text[]'"],
    "refcursor": ["'a b'", "''"],
    "aclitem": ["'pg_monitor=arw*/pg_monitor'"],
    "int2vector": ["'1 2 3'", "''"],
    "oidvector": ["'1 4294967295'", "''"],
    "pg_snapshot": ["'10:20:10,14'"],
    "txid_snapshot": ["'10:20:10,14'"],
    "xml": ["''", "'<a b=\"ä\">&lt; <c/></a>'", "'text only'", f"'{XML_DECLARATION}<!DOCTYPE a><a/>'"],
}
ONLY_SINCE = {"interval": (17, ["'infinity'", "'-infinity'"])}

OF_USERS: dict[str, list[str]] = {
    "mood": ["'happy'", "''", "'Sad, \"very\"'", "'ä'"],
    '"Odd"."My Mood"': ["'a b'"],
    "positive": ["1", "2147483647"],
    "money_amount": ["1.005", "'NaN'"],
    "nested_domain": ["1", "7"],
    "moods": ["ARRAY['happy', NULL]::mood[]"],
    "mood_domain": ["'happy'"],
    "late": ["'infinity'", "'2020-01-01 00:00:00.000001'"],
    "doc": ["' {\"a\": 1.0}'"],
    "pair": ["ROW(1, NULL)", "ROW(NULL, '')", "ROW(-1, 'a,\"b\"\\')", "ROW(NULL, NULL)"],
    "couple": ["ROW(ROW(1, 'x')::pair, ARRAY[ROW(2, 'y')::pair], 'happy', '[1.0,2.00]')"],
    "floats": ["'[5e-324,0.1]'", "'(-Infinity,Infinity)'"],
    "floatsmulti": ["'{[0.1,0.2]}'"],
}
TYPES_OF_USERS = """
CREATE SCHEMA "Odd";
CREATE TYPE mood AS ENUM ('happy', '', 'Sad, "very"', 'ä');
CREATE TYPE "Odd"."My Mood" AS ENUM ('a b');
CREATE DOMAIN positive AS integer CHECK (VALUE > 0);
CREATE DOMAIN money_amount AS numeric;
CREATE DOMAIN nested_domain AS positive CHECK (VALUE < 10);
CREATE DOMAIN moods AS mood[];
CREATE DOMAIN mood_domain AS mood NOT NULL;
ALTER DOMAIN mood_domain DROP NOT NULL;
CREATE DOMAIN late AS timestamp;
CREATE DOMAIN doc AS json;
CREATE TYPE pair AS (a integer, "B b" text);
CREATE TYPE couple AS (one pair, many pair[], feeling mood, span numrange);
CREATE TYPE floats AS RANGE (subtype = double precision, multirange_type_name = floatsmulti);
"""

EXTENSIONS: dict[str, tuple[str, list[str]]] = {
    "citext": ("citext", ["'AB'", "'ab'", "''"]),
    "hstore": ("hstore", ["''", '\'a=>NULL, "b c"=>"x\\"y"\'']),
    "ltree": ("ltree", ["'a.b.c'", "''"]),
    "cube": ("cube", ["'(0.1,5e-324),(1,2)'"]),
    "seg": ("seg", ["'1.00 .. 2.0'"]),
    "isn": ("isbn13", ["'978-0-11-000533-1'"]),
    "vector": ("vector", ["'[0.1,1e-30]'"]),
}


@dataclass
class Pair:
    """Two databases with the same types."""

    source: psycopg.Connection
    warehouse: psycopg.Connection
    carrier: Carrier


@pytest.fixture(scope="module")
def pair(server: Databases, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    names = ["types_source", "types_warehouse"]
    source_db, warehouse_db = (server.create_database(name) for name in names)
    try:
        with (
            psycopg.connect(source_db, autocommit=True) as source,
            psycopg.connect(warehouse_db, autocommit=True) as warehouse,
        ):
            for connection in (source, warehouse):
                connection.execute(TYPES_OF_USERS)
                create_extensions(connection)
                connection.execute("CREATE SCHEMA expected")
            yield Pair(source, warehouse, Carrier(source_db, warehouse_db, tmp_path_factory.mktemp("staging")))
    finally:
        for name in names:
            server.drop_database(name)


def fill(connection: psycopg.Connection, schema: str, name: str, types: dict[str, list[str]]) -> int:
    """A table with two columns a type, for values and for their arrays, and a row without any; its rows."""
    columns = [f'"{place} {kind}" {type_}' for place, type_, kind, _ in _cells(types, 0)]
    connection.execute(
        SQL("CREATE TABLE {} (id integer PRIMARY KEY, at timestamptz, {})").format(
            Identifier(schema, name), SQL(", ".join(columns))
        )
    )
    rows = max(len(values) for values in types.values())
    for row in range(rows):
        values = ", ".join(value for _, _, _, value in _cells(types, row))
        connection.execute(
            SQL("INSERT INTO {} VALUES ({}, '2020-01-01 00:00+00', {})").format(
                Identifier(schema, name), SQL(str(row)), SQL(values)
            )
        )
    connection.execute(SQL("INSERT INTO {} VALUES (-1), (-2)").format(Identifier(schema, name)))
    return rows + 2


def _cells(types: dict[str, list[str]], row: int) -> Iterator[tuple[int, str, str, str]]:
    """The place of a type, the column's type, what it holds, and its value in a row."""
    for place, (type_, values) in enumerate(types.items()):
        array = type_ if type_.endswith("[]") else f"{type_}[]"
        value = f"CAST({values[row % len(values)]} AS {type_})"
        yield place, type_, "value", value
        value = value.replace(XML_DECLARATION, "")  # PostgreSQL itself does not write it within an array
        yield place, array, "list", f"CAST(ARRAY[ARRAY[{value}, NULL], ARRAY[{value}, {value}]] AS {array})"


def differences(warehouse: psycopg.Connection, name: str) -> list[tuple[object, ...]]:
    """Columns and values that are not the same to the last bit."""
    columns = [column for column, _ in declared_types(warehouse, "expected", name)]
    found = []
    for column in columns:
        rows = warehouse.execute(
            SQL("""
            SELECT id, left(expected.{column}::text, 200), left(arrived.{column}::text, 200)
            FROM expected.{table} AS expected
            FULL JOIN public.{table} AS arrived USING (id)
            WHERE ROW(expected.{column})::record *<> ROW(arrived.{column})::record
                OR pg_typeof(expected.{column}) <> pg_typeof(arrived.{column})
                OR expected.{column}::text IS DISTINCT FROM arrived.{column}::text
            """).format(column=Identifier(column), table=Identifier(name))
        )
        found += [(column, *row) for row in rows]
    return found


def declared_types(warehouse: psycopg.Connection, schema: str, table: str) -> list[tuple[str, str]]:
    return warehouse.execute(
        "SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute"
        " WHERE attrelid = format('%%I.%%I', %s::text, %s::text)::regclass AND attnum > 0 ORDER BY attnum",
        (schema, table),
    ).fetchall()


_tables = count()


def round_trip(pair: Pair, form: Form, types: dict[str, list[str]], *, is_target_there: bool) -> None:
    name = f"values_{next(_tables)}"
    table = TableName(name, "public")
    fill(pair.source, "public", name, types)
    rows = fill(pair.warehouse, "expected", name, types)
    counts = Counts(inserted=rows)
    if is_target_there:
        pair.warehouse.execute(
            SQL("CREATE TABLE public.{0} (LIKE expected.{0} INCLUDING INDEXES)").format(Identifier(name))
        )
        pair.warehouse.execute(SQL("INSERT INTO public.{} VALUES (0), (-1)").format(Identifier(name)))
        counts = Counts(inserted=rows - 2, updated=1, skipped=1)
    stream = Stream(sync_key=name, cursor_field="at", table=table)
    assert pair.carrier.carry(form, stream, table) == counts
    assert differences(pair.warehouse, name) == []
    assert declared_types(pair.warehouse, "public", name) == declared_types(pair.warehouse, "expected", name)
    again = Stream(sync_key=f"{name} again", cursor_field="at", table=table)
    assert pair.carrier.carry(form, again, table) == Counts(skipped=rows)


def all_types(connection: psycopg.Connection) -> dict[str, list[str]]:
    types = {**BUILT_IN, **OF_USERS}
    if not has_xml(connection):
        del types["xml"]
    for type_, (since, values) in ONLY_SINCE.items():
        if connection.info.server_version >= since * 10_000:
            types[type_] = [*types[type_], *values]
    for extension, (type_, values) in EXTENSIONS.items():
        if connection.execute("SELECT FROM pg_available_extensions WHERE name = %s", (extension,)).rowcount:
            types[type_] = values
    return types


def create_extensions(connection: psycopg.Connection) -> None:
    for extension in EXTENSIONS:
        if connection.execute("SELECT FROM pg_available_extensions WHERE name = %s", (extension,)).rowcount:
            connection.execute(SQL("CREATE EXTENSION IF NOT EXISTS {}").format(Identifier(extension)))


def has_xml(connection: psycopg.Connection) -> bool:
    try:
        connection.execute("SELECT xml '<a/>'")
    except psycopg.errors.FeatureNotSupported:
        return False
    return True


@pytest.mark.scenario("S26")
@pytest.mark.parametrize("is_target_there", [False, True], ids=["new", "there"])
@pytest.mark.parametrize("form", FORMS)
def test_every_type_comes_over_exactly(pair: Pair, form: Form, is_target_there: bool) -> None:
    round_trip(pair, form, all_types(pair.source), is_target_there=is_target_there)


# Statistics and the like, which no client can write, and what an index keeps inside.
NOT_FOR_COLUMNS = {
    *("gtsvector", "pg_node_tree", "pg_ndistinct", "pg_dependencies", "pg_mcv_list"),
    *("pg_brin_bloom_summary", "pg_brin_minmax_multi_summary"),
}


def test_no_built_in_type_is_left_out(pair: Pair) -> None:
    rows = pair.source.execute("""
        SELECT typname FROM pg_type
        WHERE typnamespace = 'pg_catalog'::regnamespace AND typtype IN ('b', 'r', 'm') AND typcategory <> 'A'
            OR typname IN ('int2vector', 'oidvector')
    """).fetchall()
    tried = {
        pair.source.execute("SELECT typname FROM pg_type WHERE oid = to_regtype(%s)", (type_,)).fetchone()[0]  # type: ignore[index]
        for type_ in BUILT_IN
    }
    assert {row[0] for row in rows} - tried == NOT_FOR_COLUMNS


HOSTILE_SETTINGS = {
    "DateStyle": "SQL, DMY",
    "IntervalStyle": "sql_standard",
    "TimeZone": "Asia/Kathmandu",
    "extra_float_digits": "-15",
    "bytea_output": "escape",
    "xmloption": "document",
    "array_nulls": "off",
}


@pytest.mark.scenario("S26")
@pytest.mark.parametrize("form", FORMS)
def test_settings_of_the_databases_change_no_value(pair: Pair, form: Form) -> None:
    types = all_types(pair.source)
    for connection in (pair.source, pair.warehouse):
        for name, value in HOSTILE_SETTINGS.items():
            connection.execute(
                SQL("ALTER DATABASE {} SET {} = {}").format(
                    Identifier(connection.info.dbname), Identifier(name), Literal(value)
                )
            )
    database = Identifier(pair.warehouse.info.dbname)  # reads in another style than the source writes
    pair.warehouse.execute(SQL("ALTER DATABASE {} SET IntervalStyle = postgres").format(database))
    try:
        round_trip(pair, form, types, is_target_there=False)
    finally:
        for connection in (pair.source, pair.warehouse):
            connection.execute(SQL("ALTER DATABASE {} RESET ALL").format(Identifier(connection.info.dbname)))


@pytest.fixture
def carrier(source_db: str, warehouse_db: str, tmp_path: Path) -> Carrier:
    return Carrier(source_db, warehouse_db, tmp_path)


EVENTS = TableName("events", "public")
STREAM = Stream(sync_key="events", cursor_field="at", table=EVENTS)


def two_tables(
    source: psycopg.Connection, warehouse: psycopg.Connection, source_type: str, target_type: str, value: str
) -> None:
    for connection, type_ in ((source, source_type), (warehouse, target_type)):
        connection.execute(
            SQL("CREATE TABLE events (id integer PRIMARY KEY, at timestamptz DEFAULT now(), value {})").format(
                SQL(type_)
            )
        )
    source.execute(SQL("INSERT INTO events VALUES (1, DEFAULT, {})").format(SQL(value)))


TOO_NARROW = [
    ("text", "varchar(3)", "'abcd'"),
    ("text", "varchar(3)", "'abc '"),
    ("varchar(4)", "char(3)", "'abcd'"),
    ("text", "integer", "'one'"),
    ("text", "numeric(5,2)", "'1.239'"),
    ("text", "timestamp(0)", "'2020-01-01 12:00:00.5'"),
    ("jsonb", "varchar(3)", "'[1, 2]'"),
    ("numeric[]", "numeric(5,2)[]", "'{1.5,1.239}'"),
    ("text[]", "varchar(3)[]", "'{abcd}'"),
    ("text", "name", "repeat('x', 64)"),
    ("bit(5)", "bit(4)", "B'10101'"),
    ("bit(5)", "varbit(4)", "B'10101'"),
    ("bigint", "integer", "2147483648"),
    ("numeric", "numeric(5,2)", "1.239"),
    ("numeric", "integer", "1.5"),
    ("numeric", "double precision", "0.12345678901234567890"),
    ("double precision", "real", "0.1"),
    ("double precision", "integer", "1.5"),
    ("bigint", "double precision", "9007199254740993"),
    ("timestamptz", "date", "'2020-01-01 12:00+00'"),
    ("timestamp", "timestamp(0)", "'2020-01-01 12:00:00.5'"),
    ("time", "time(0)", "'12:00:00.5'"),
    ("interval", "interval(0)", "'00:00:00.5'"),
    ("inet", "cidr", "'10.0.0.1/8'"),
]


@pytest.mark.scenario("S18")
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("source_type", "target_type", "value"), TOO_NARROW)
def test_a_value_that_does_not_fit_is_set_aside_and_not_bent(
    carrier: Carrier,
    source: psycopg.Connection,
    warehouse: psycopg.Connection,
    form: Form,
    source_type: str,
    target_type: str,
    value: str,
) -> None:
    two_tables(source, warehouse, source_type, target_type, value)
    rules = LoadRules(schema_contract="discard_row", max_errors=1)
    assert carrier.carry(form, STREAM, EVENTS, rules) == Counts(errors=1)
    assert warehouse.execute("SELECT * FROM events").fetchall() == []
    stored = warehouse.execute("SELECT payload ->> 'value' FROM etl_sync.failed_record").fetchall()
    source.execute("SET IntervalStyle = 'iso_8601'")
    assert stored == source.execute("SELECT value::text FROM events").fetchall()


@pytest.mark.scenario("S18")
@pytest.mark.scenario("S19")
@pytest.mark.parametrize(("source_type", "target_type", "value"), TOO_NARROW)
def test_a_column_grows_to_hold_a_value_or_the_run_fails(
    carrier: Carrier,
    source: psycopg.Connection,
    warehouse: psycopg.Connection,
    source_type: str,
    target_type: str,
    value: str,
) -> None:
    two_tables(source, warehouse, source_type, target_type, value)
    types = (
        "SELECT format_type(atttypid, atttypmod) FROM pg_attribute WHERE attrelid = 'events'::regclass AND attnum = 3"
    )
    declared = [connection.execute(types).fetchall()[0][0] for connection in (warehouse, source)]
    if wider(*declared) is None:
        with pytest.raises(DataError):
            carrier.chain(STREAM, EVENTS)
        assert warehouse.execute("SELECT * FROM events").fetchall() == []
        assert warehouse.execute("SELECT * FROM etl_sync.watermark").fetchall() == []
        return
    assert carrier.chain(STREAM, EVENTS) == Counts(inserted=1)
    query = "SELECT value::text FROM events"
    assert warehouse.execute(query).fetchall() == source.execute(query).fetchall()
    assert warehouse.execute(types).fetchall() == [(wider(*declared),)]


@pytest.mark.parametrize(
    ("source_type", "target_type", "value"),
    [
        ("varchar(3)", "text", "'ab '"),
        ("text", "numeric(5,2)", "'1.50'"),
        ("numeric[]", "numeric(5,2)[]", "'{1.50,NaN}'"),
        ("integer", "bigint", "1"),
        ("integer", "numeric(10,2)", "1"),
        ("numeric", "numeric(10,3)", "1.5"),
        ("numeric", "numeric(10,3)", "'NaN'"),
        ("real", "double precision", "0.1"),
        ("double precision", "real", "'NaN'"),
        ("timestamp", "timestamp(0)", "'infinity'"),
        ("date", "timestamp", "'0001-01-01 BC'"),
        ("json", "jsonb", "'{\"a\":  1}'"),
        ("text", "uuid", "'00000000-0000-0000-0000-00000000000a'"),
        ("text", "char(4)", "'ab'"),
        ("uuid", "text", "'00000000-0000-0000-0000-00000000000a'"),
        ("interval", "interval(0)", "'1 day'"),
    ],
)
def test_value_that_fits_goes_into_another_type(
    carrier: Carrier,
    source: psycopg.Connection,
    warehouse: psycopg.Connection,
    source_type: str,
    target_type: str,
    value: str,
) -> None:
    two_tables(source, warehouse, source_type, target_type, value)
    assert carrier.chain(STREAM, EVENTS) == Counts(inserted=1)
    expected = warehouse.execute(
        SQL("SELECT CAST(CAST({} AS {}) AS {})::text").format(SQL(value), SQL(source_type), SQL(target_type))
    ).fetchone()
    assert warehouse.execute("SELECT value::text FROM events").fetchone() == expected


@pytest.mark.scenario("S18")
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("type_", ["json", "jsonb", "text", "bytea"])
def test_ten_megabytes_in_a_value(
    carrier: Carrier, source: psycopg.Connection, warehouse: psycopg.Connection, form: Form, type_: str
) -> None:
    maker = {
        "json": "('[\"' || repeat('ä', 5000000) || '\"]')::json",
        "jsonb": "to_jsonb(repeat('ä', 5000000))",
        "text": "repeat('ä', 5000000)",
        "bytea": "decode(repeat('00ff', 5000000), 'hex')",
    }[type_]
    two_tables(source, warehouse, type_, type_, maker)
    source.execute("INSERT INTO events SELECT 2, now(), value FROM events")
    assert carrier.carry(form, STREAM, EVENTS) == Counts(inserted=2)
    query = "SELECT id, md5(value::text), length(value::text) FROM events ORDER BY id"
    assert warehouse.execute(query).fetchall() == source.execute(query).fetchall()


@pytest.mark.scenario("S26")
def test_types_that_the_destination_lacks_arrive_as_text_or_as_what_they_rest_on(
    carrier: Carrier, source: psycopg.Connection, warehouse: psycopg.Connection
) -> None:
    source.execute("CREATE TYPE mood AS ENUM ('happy'); CREATE DOMAIN price AS numeric(10,2)")
    source.execute("CREATE TYPE pair AS (a integer, b text); CREATE DOMAIN feelings AS mood[]")
    source.execute(
        "CREATE TABLE events (id integer PRIMARY KEY, at timestamptz DEFAULT now(),"
        " mood mood, price price, pair pair, feelings feelings, moods mood[])"
    )
    source.execute("INSERT INTO events VALUES (1, DEFAULT, 'happy', 1.50, (1, 'a,b'), '{happy}', '{happy,NULL}')")
    assert carrier.chain(STREAM, EVENTS) == Counts(inserted=1)
    row = warehouse.execute("SELECT mood, price::text, pair, feelings, moods FROM events").fetchone()
    assert row == ("happy", "1.50", '(1,"a,b")', "{happy}", "{happy,NULL}")
    types = warehouse.execute(
        "SELECT pg_typeof(mood)::text, pg_typeof(price)::text, pg_typeof(pair)::text, pg_typeof(moods)::text"
        " FROM events"
    ).fetchone()
    assert types == ("text", "numeric", "text", "text")


@pytest.mark.scenario("S18")
def test_empty_is_not_null(carrier: Carrier, source: psycopg.Connection, warehouse: psycopg.Connection) -> None:
    two_tables(source, warehouse, "text", "text", "''")
    source.execute("INSERT INTO events VALUES (2, DEFAULT, NULL)")
    carrier.chain(STREAM, EVENTS)
    assert warehouse.execute("SELECT value FROM events ORDER BY id").fetchall() == [("",), (None,)]
