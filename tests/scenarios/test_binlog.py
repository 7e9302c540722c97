"""C01 to C15, as far as they apply: changes of MariaDB, told by its binary log, make the destination equal to it."""

from __future__ import annotations

import psycopg

from tests.mariadb import MariaDb
from tests.scenarios.binlog_world import BinlogCapture, copied, told


def test_a_copy_then_inserts_updates_deletes_and_what_came_of_them(
    logged: BinlogCapture, shop: MariaDb, warehouse: psycopg.Connection
) -> None:
    shop.execute("CREATE TABLE t (id bigint PRIMARY KEY, v varchar(20), n decimal(12, 2))")
    shop.execute("INSERT INTO t SELECT seq, 'new', seq FROM seq_1_to_100")
    first = logged.run()
    assert (first.counts.changes, first.batches) == (0, 1)
    assert copied(warehouse) == told(shop)
    shop.execute("UPDATE t SET v = 'changed' WHERE id <= 10")
    shop.execute("DELETE FROM t WHERE id > 95")
    shop.execute("INSERT INTO t VALUES (200, NULL, 2)")
    counts = logged.run().counts
    assert (counts.changes, counts.inserted, counts.updated, counts.deleted, counts.transactions) == (16, 1, 10, 5, 3)
    assert copied(warehouse) == told(shop)
    assert logged.run().counts.changes == 0


VALUES_OF_TYPES = {
    "tinyint": ["-128", "127"],
    "tinyint unsigned": ["0", "255"],
    "smallint": ["-32768", "32767"],
    "smallint unsigned": ["65535"],
    "mediumint": ["-8388608", "8388607"],
    "mediumint unsigned": ["16777215"],
    "int": ["-2147483648", "2147483647"],
    "int unsigned": ["4294967295"],
    "bigint": ["-9223372036854775808", "9223372036854775807"],
    "bigint unsigned": ["18446744073709551615"],
    "float": ["0.1", "-1.5", "3.4028234e38", "1e-38"],
    "double": ["0.1", "1e-300", "3.141592653589793", "-0.0"],
    "decimal(20, 6)": ["-12345678901234.567891", "0", "0.000001", "-0.5"],
    "decimal(65, 30)": ["-12345678901234567890123456789012345.123456789012345678901234567890", "1e-30"],
    "decimal(9, 0)": ["999999999", "-7"],
    "decimal(3, 3)": ["0.999", "-0.001"],
    "year": ["1901", "2155", "0"],
    "date": ["'1000-01-01'", "'9999-12-31'"],
    "datetime": ["'9999-12-31 23:59:59'", "'1000-01-01'"],
    "datetime(1)": ["'2026-01-02 03:04:05.6'"],
    "datetime(3)": ["'2026-01-02 03:04:05.678'"],
    "datetime(6)": ["'2026-01-02 03:04:05.678901'", "'2026-01-02 03:04:05.000001'"],
    "timestamp": ["'1970-01-01 00:00:01'", "'2038-01-19 03:14:07'", "'2026-10-25 00:30:00'", "'2026-10-25 01:30:00'"],
    "timestamp(5)": ["'2026-01-01 00:00:00.00123'"],
    "time": ["'-838:59:59'", "'00:00:00'"],
    "time(1)": ["'-00:00:00.5'", "'12:34:56.7'"],
    "time(3)": ["'-12:34:56.789'", "'00:00:00.001'"],
    "time(6)": ["'838:59:58.999999'", "'-00:00:00.000001'", "'-01:00:00.000000'"],
    "bit(10)": ["b'1000000001'", "0"],
    "bit(1)": ["1"],
    "bit(64)": ["18446744073709551615"],
    "char(5)": ["'ab'", "''", "'x y'"],
    "char(200) CHARACTER SET utf8mb4": ["repeat('é', 200)", "'a'"],
    "varchar(300)": ["repeat('é', 300)", "''", "'a''b '"],
    "varchar(10) CHARACTER SET latin1": ["'Grüße €'", "_latin1 x'818d8f909dff'"],
    "varchar(10) CHARACTER SET ucs2": ["'Ж'"],
    "varchar(10) CHARACTER SET utf16": ["'a😀'"],
    "varchar(10) CHARACTER SET utf16le": ["'a😀'"],
    "varchar(10) CHARACTER SET utf32": ["'a😀'"],
    "varchar(10) CHARACTER SET sjis": ["'テスト'"],
    "varchar(10) CHARACTER SET koi8r": ["'Ж'"],
    "varchar(10) COLLATE utf8mb4_uca1400_ai_ci": ["'ü😀'"],
    "text": ["repeat('x', 60000)", "'\\n\\t\\\\'"],
    "longtext": ["repeat('x', 70000)"],
    "binary(5)": ["'ab'", "x'0000000001'", "''"],
    "binary(0)": ["''"],
    "varbinary(5)": ["'ab'", "x'00'", "''"],
    "varbinary(300)": ["x'5c7800'"],
    "blob": ["x'00ff00'", "''"],
    "longblob": ["repeat('y', 70000)"],
    "enum('a', 'ü', 'it''s')": ["'ü'", "'it''s'"],
    "enum('a', 'b') CHARACTER SET latin1": ["'b'"],
    "set('x', 'ý', 'z')": ["'x,z'", "''", "'ý'"],
    "json": ["'{\"a\": [1, 2.50, \"ü\"]}'", "'[]'"],
    "uuid": [
        "'407e1fb8-eae5-11f1-a325-02fc00000001'", "'00000000-0000-0000-0000-000000000000'",
        "'9f8b6c1e-3d4a-4f5b-8c7d-1e2f3a4b5c00'", "'018f3a4b-5c6d-7e8f-9a0b-1c2d3e4f5a6b'",
    ],
    "point": ["point(1.5, -2)"],
}  # fmt: skip


def test_every_type_arrives_by_the_log_as_by_a_copy(
    logged: BinlogCapture, shop: MariaDb, warehouse: psycopg.Connection
) -> None:
    columns = [f"c{place} {type_} NULL" for place, type_ in enumerate(VALUES_OF_TYPES)]
    shop.execute(f"CREATE TABLE t (id int PRIMARY KEY, {', '.join(columns)})")
    longest = max(map(len, VALUES_OF_TYPES.values()))
    rows = [
        [each[number] if number < len(each) else "NULL" for each in VALUES_OF_TYPES.values()]
        for number in range(longest)
    ]
    inserts = [f"INSERT INTO t VALUES ({number}, {', '.join(row)})" for number, row in enumerate(rows)]
    shop.execute("SET time_zone = '+00:00'", *inserts)
    logged.run()
    by_copy, types = _as_they_are(warehouse)
    assert len(by_copy) == longest
    shop.execute("SET time_zone = '+00:00'", "DELETE FROM t", *inserts)
    counts = logged.run().counts
    assert (counts.changes, counts.errors, counts.skipped) == (2 * longest, 0, longest)
    shop.execute("UPDATE t SET id = id + 100")
    counts = logged.run().counts
    assert (counts.inserted, counts.deleted, counts.errors) == (longest, longest, 0)
    for number, (copy, row) in enumerate(zip(by_copy, _as_they_are(warehouse)[0], strict=True)):
        assert {**copy, "id": number + 100} == row
    assert _as_they_are(warehouse)[1] == types


def _as_they_are(warehouse: psycopg.Connection) -> tuple[list[dict[str, str]], list[tuple[str, str]]]:
    rows = warehouse.execute("SELECT to_jsonb(t) FROM t ORDER BY id").fetchall()
    types = warehouse.execute(
        "SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute"
        " WHERE attrelid = 't'::regclass AND attnum > 0 ORDER BY attnum"
    ).fetchall()
    return [row for (row,) in rows], types
