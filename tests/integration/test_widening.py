"""Columns of destinations elsewhere that are too narrow for what a source's column has become."""

from __future__ import annotations

import logging
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError

from airflow_etl_sync.core.model import Counts, LoadRules
from airflow_etl_sync.errors import DataError
from tests.contract.systems import DeltaSystem, MariaDbSystem, SqlAlchemySystem, SqliteSystem
from tests.contract.test_destinations import batch_of, merge
from tests.mariadb import new_mariadb

TEXT, DAY = pa.string(), datetime.fromisoformat("2026-01-02 03:04:05")


@pytest.fixture
def mariadb(new_database: Any) -> Any:
    with new_mariadb() as database:
        yield MariaDbSystem(database, new_database("state"))


CASES: list[tuple[str, str, pa.DataType, str, Any, Any]] = [
    # the column's type, what it becomes, how the values come, a value that it holds, and one that it does not
    ("int(11)", "bigint(20)", pa.int64(), "bigint", 2**31 - 1, 2**31),
    ("tinyint(4)", "smallint(6)", pa.int16(), "smallint", -128, -129),
    ("int(10) unsigned", "bigint(20)", pa.int64(), "bigint", 2**32 - 1, -1),
    ("int(11)", "decimal(12,2)", TEXT, "numeric(10,2)", "7.00", "7.25"),
    ("decimal(5,2)", "decimal(12,2)", TEXT, "numeric(12,2)", "999.99", "1000.00"),
    ("decimal(5,0)", "decimal(7,2)", TEXT, "numeric(5,2)", "1.00", "0.01"),
    ("decimal(5,2)", "decimal(65,30)", TEXT, "numeric", "1.25", "1.125"),
    ("float", "double", pa.float64(), "double precision", 0.5, 0.1),
    ("datetime", "datetime(6)", pa.timestamp("us"), "timestamp without time zone", DAY, DAY.replace(microsecond=1)),
    ("varchar(3)", "varchar(50)", TEXT, "character varying(50)", "höl", "höl "),
    ("varchar(3)", "longtext", TEXT, "text", "abc", "abcd"),
    ("tinytext", "longtext", TEXT, "text", "a" * 255, "ü" * 128),
    ("varbinary(2)", "longblob", pa.binary(), "bytea", b"\x00\xff", b"\x00\xff "),
]


@pytest.mark.parametrize("case", CASES, ids=[f"{old} to {new}" for old, new, *_ in CASES])
def test_mariadb_widens_a_column_when_the_first_value_comes_that_does_not_fit(
    mariadb: MariaDbSystem, case: tuple[str, str, pa.DataType, str, Any, Any]
) -> None:
    old, new, arrow, declared, fitting, larger = case
    mariadb.execute(f"CREATE TABLE t (id int PRIMARY KEY, c bigint, v {old})")
    small, large = (batch_of({"id": n, "c": n, "v": v}, v=(arrow, declared)) for n, v in enumerate((fitting, larger)))
    assert merge(mariadb, small).changes == () and _type(mariadb) == old
    [change] = merge(mariadb, large).changes
    assert (change.column, change.change, change.old_type) == ("v", "widened", old)
    assert _type(mariadb) == new
    assert merge(mariadb, small).counts == merge(mariadb, large).counts == Counts(skipped=1)


def _type(mariadb: MariaDbSystem, column: str = "v") -> str:
    query = "SELECT column_type FROM information_schema.columns WHERE table_schema = database() AND column_name = '{}'"
    return str(mariadb.database.execute(query.format(column))[0][0])


def test_all_else_that_was_said_of_a_column_stays(mariadb: MariaDbSystem) -> None:
    said = "CHARACTER SET latin1 COLLATE latin1_swedish_ci NOT NULL DEFAULT 'a,\\n''b' COMMENT '100 % of :it, ''so'''"
    mariadb.execute(
        f"CREATE TABLE t (id int PRIMARY KEY, c bigint, v varchar(9) {said} CHECK (v <> 'x,'), `w%s,` int(11) DEFAULT 7"
        " COMMENT 'w', KEY (v))"
    )
    before = mariadb.database.execute("SHOW CREATE TABLE t")[0][1]
    row = {"id": 1, "c": 1, "v": "0123456789", "w%s,": 2**40}
    types = {"v": (TEXT, "character varying(50)"), "w%s,": (pa.int64(), "bigint")}
    assert [change.column for change in merge(mariadb, batch_of(row, **types)).changes] == ["v", "w%s,"]
    after = mariadb.database.execute("SHOW CREATE TABLE t")[0][1]
    assert after == before.replace("varchar(9)", "varchar(50)").replace("int(11) DEFAULT 7", "bigint(20) DEFAULT 7")
    assert mariadb.rows("t") == [(1, 1, "0123456789", 2**40)]


def test_a_column_of_the_key_is_widened_too(mariadb: MariaDbSystem) -> None:
    mariadb.execute("CREATE TABLE t (id int AUTO_INCREMENT PRIMARY KEY, c bigint)")
    merge(mariadb, batch_of({"id": 2**40, "c": 1}, id=(pa.int64(), "bigint")))
    assert _type(mariadb, "id") == "bigint(20)" and mariadb.rows("t") == [(2**40, 1)]


def test_what_the_server_does_not_let_be_widened_stays_and_the_row_is_refused(
    mariadb: MariaDbSystem, caplog: pytest.LogCaptureFixture
) -> None:
    mariadb.execute(
        "CREATE TABLE other (v int PRIMARY KEY)",
        "CREATE TABLE t (id int PRIMARY KEY, c bigint, v int(11), FOREIGN KEY (v) REFERENCES other (v))",
    )
    large = batch_of({"id": 1, "c": 1, "v": 2**40}, v=(pa.int64(), "bigint"))
    with caplog.at_level(logging.WARNING), pytest.raises(DataError):
        merge(mariadb, large)
    assert "Column v of t stays int(11), as it cannot become bigint" in caplog.text and str(2**40) not in caplog.text
    assert _type(mariadb) == "int(11)"


@pytest.mark.parametrize("contract", ["freeze", "discard_column"])
def test_other_contracts_widen_nothing(mariadb: MariaDbSystem, contract: Any) -> None:
    mariadb.execute("CREATE TABLE t (id int PRIMARY KEY, c bigint, v int(11))")
    large = batch_of({"id": 1, "c": 1, "v": 2**40}, v=(pa.int64(), "bigint"))
    with pytest.raises(DataError):
        merge(mariadb, large, LoadRules(schema_contract=contract))
    assert _type(mariadb) == "int(11)"


def test_sqlite_has_nothing_to_widen(new_database: Any, tmp_path: Path) -> None:
    """A column holds values of any length and size that its affinity takes; a numeric is a text there."""
    sqlite = SqliteSystem(tmp_path / "warehouse.db", new_database("state"))
    narrow = {"n": (pa.int16(), "smallint"), "s": (TEXT, "character varying(3)"), "d": (TEXT, "numeric(5,2)")}
    wide = {"n": (pa.int64(), "bigint"), "s": (TEXT, "text"), "d": (TEXT, "numeric")}
    merge(sqlite, batch_of({"id": 1, "c": 1, "n": 1, "s": "a", "d": "1.25"}, **narrow))
    merged = merge(sqlite, batch_of({"id": 2, "c": 2, "n": -(2**63), "s": "a" * 999, "d": "0." + "1" * 99}, **wide))
    assert merged.counts == Counts(inserted=1) and merged.changes == ()
    assert sqlite.rows("t")[1][2:] == (-(2**63), "a" * 999, "0." + "1" * 99)


def test_a_database_that_is_known_by_nothing_but_sqlalchemy_refuses_the_row(new_database: Any) -> None:
    other = SqlAlchemySystem(new_database("warehouse"), new_database("state"))
    other.execute("CREATE TABLE t (id integer PRIMARY KEY, c bigint, v integer)")
    with pytest.raises(DataError):
        merge(other, batch_of({"id": 1, "c": 1, "v": 2**40}, v=(pa.int64(), "bigint")))
    assert other.rows("t") == []


@pytest.mark.parametrize(
    ("narrow", "wide"),
    [
        ((pa.int32(), "integer", 1), (pa.int64(), "bigint", 2**40)),
        ((TEXT, "numeric(5,2)", "1.25"), (TEXT, "numeric(12,2)", "12345.67")),
    ],
)
def test_delta_refuses_the_row_whose_value_its_column_does_not_hold(
    new_database: Any, tmp_path: Path, narrow: Any, wide: Any
) -> None:
    lake = DeltaSystem(tmp_path / "lake", new_database("state"))
    merge(lake, batch_of({"id": 1, "c": 1, "v": narrow[2]}, v=narrow[:2]))
    with pytest.raises(DataError, match="column v: the value is not the same as"):
        merge(lake, batch_of({"id": 2, "c": 2, "v": wide[2]}, v=wide[:2]))
    text = {"v": (TEXT, "character varying(50)")}
    assert merge(lake, batch_of({"id": 1, "c": 2, "v": str(narrow[2])}, **text)).counts == Counts(updated=1)


def test_deltas_library_does_not_know_wider_types_of_a_column(tmp_path: Path) -> None:
    """Where it learns them, ``evolve`` can widen columns there too."""
    with pytest.raises(DeltaError, match="enableTypeWidening"):
        DeltaTable.create(
            tmp_path / "t", pa.schema([("id", pa.int32())]), configuration={"delta.enableTypeWidening": "true"}
        )
