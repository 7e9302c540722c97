"""S06, S07: cursor values keep every digit, and mean the same in every session and zone."""

from __future__ import annotations

import psycopg
import pytest

from airflow_etl_sync.core.model import Counts, WindowRules
from airflow_etl_sync.systems.postgres import sql
from tests.scenarios.world import World, rows, scalar, transaction, watermark

# type, three neighbouring values
VALUES = {
    "timestamptz": ["2024-05-06 07:08:09.123455+00", "2024-05-06 07:08:09.123456+00", "2024-05-06 07:08:09.123457+00"],
    "timestamp": ["1969-12-31 23:59:59.999998", "1969-12-31 23:59:59.999999", "1970-01-01 00:00:00"],
    "date": ["0099-12-31", "0100-01-01", "0100-01-02"],
    "bigint": ["9007199254740992", "9007199254740993", "9007199254740994"],
    "numeric": [f"0.{'1' * 40}1", f"0.{'1' * 40}2", f"0.{'1' * 40}3"],
    "text": ['Zu\'rich\\ "a"', "Z\u00fcrich", "Z\u00fcrich\u4e00"],
}
DRAWN = ("bigint", "numeric", "text")


def fill(source: psycopg.Connection, type_: str, values: list[str]) -> None:
    source.execute(f"CREATE TABLE t (id bigint PRIMARY KEY, c {type_} NOT NULL)")
    for place, value in enumerate(values):
        source.execute(f"INSERT INTO t VALUES (%s, %s::{type_})", [place, value])


@pytest.mark.scenario("S06")
@pytest.mark.parametrize("type_", VALUES)
def test_a_bound_takes_exactly_its_own_value_and_those_above(
    type_: str, world: World, source: psycopg.Connection, warehouse: psycopg.Connection
) -> None:
    fill(source, type_, VALUES[type_])
    _, middle, last = VALUES[type_]
    assert world.but(rules=WindowRules(range_start=middle, range_end=last)).run() == Counts(inserted=1)
    assert rows(warehouse) == [row for row in rows(source) if row[0].startswith("(1,")]
    assert world.but(rules=WindowRules(range_start=middle)).run() == Counts(inserted=1, skipped=1)


@pytest.mark.scenario("S06")
@pytest.mark.parametrize("type_", VALUES)
def test_a_watermark_of_every_type_is_read_back_exactly(
    type_: str, world: World, source: psycopg.Connection, warehouse: psycopg.Connection
) -> None:
    fill(source, type_, VALUES[type_][:2])
    world.run("chain")
    if type_ not in DRAWN:  # set by the clock: a person sets it to the middle value here
        warehouse.execute("UPDATE etl_sync.watermark SET cursor_value = %s", [VALUES[type_][1]])
    assert watermark(warehouse)[1] == VALUES[type_][1]  # type: ignore[index]
    source.execute(f"INSERT INTO t VALUES (9, %s::{type_})", [VALUES[type_][2]])
    assert world.run("chain") == Counts(inserted=1, skipped=1)
    assert rows(warehouse) == rows(source)


@pytest.mark.scenario("S06")
@pytest.mark.parametrize("odd", ["NaN", "Infinity"])
def test_a_numeric_cursor_beyond_all_numbers_freezes_nothing(
    odd: str, world: World, source: psycopg.Connection, warehouse: psycopg.Connection
) -> None:
    fill(source, "numeric", ["1", odd])
    world.run()
    source.execute("INSERT INTO t VALUES (7, 2)")
    world.run()
    assert rows(warehouse) == rows(source)


@pytest.mark.scenario("S07")
@pytest.mark.parametrize(
    ("type_", "zone", "style"),
    [
        ("timestamptz", "Asia/Kolkata", "SQL, DMY"),
        ("timestamptz", "America/New_York", "German"),
        ("timestamp", "Pacific/Chatham", "ISO, MDY"),
        ("timestamp", "America/New_York", "Postgres, MDY"),
    ],
)
def test_zone_and_date_style_of_the_sessions_change_nothing(
    type_: str, style: str, zone: str, world: World, source: psycopg.Connection, warehouse: psycopg.Connection
) -> None:
    for connection in (source, warehouse):
        name = scalar(connection, "SELECT quote_ident(current_database())")
        connection.execute(f"ALTER DATABASE {name} SET TimeZone = '{zone}'")
        connection.execute(f"ALTER DATABASE {name} SET DateStyle = '{style}'")
    with psycopg.connect(world.source_db, autocommit=True) as writer:
        writer.execute(f"CREATE TABLE t (id bigint PRIMARY KEY, c {type_} DEFAULT now())")
        writer.execute("INSERT INTO t VALUES (1)")
        with transaction(world.source_db, "INSERT INTO t VALUES (2)") as late:
            writer.execute("SELECT pg_sleep(0.1)")
            writer.execute("INSERT INTO t VALUES (3)")
            assert world.run().inserted == 2
            late.commit()
        writer.execute("INSERT INTO t VALUES (4)")
        assert world.run().inserted == 2
        writer.execute("SELECT pg_sleep(0.1)")
        assert world.run().inserted == 0
        assert world.run() == Counts(), "the watermark follows the clock, whatever the zone"
    assert rows(warehouse) == rows(source)


AUTUMN = [
    # zone, the clock in UTC, the smallest local time that any later instant has
    ("Europe/Berlin", "2024-10-26 23:10:00+00", "2024-10-27 01:10:00"),
    ("Europe/Berlin", "2024-10-27 00:00:00+00", "2024-10-27 02:00:00"),
    ("Europe/Berlin", "2024-10-27 00:59:59.999999+00", "2024-10-27 02:00:00"),
    ("Europe/Berlin", "2024-10-27 01:00:00+00", "2024-10-27 02:00:00"),
    ("Europe/Berlin", "2024-10-27 01:10:00+00", "2024-10-27 02:10:00"),
    ("Europe/Berlin", "2024-03-31 00:59:59+00", "2024-03-31 01:59:59"),
    ("Europe/Berlin", "2024-03-31 01:00:00+00", "2024-03-31 03:00:00"),
    ("Australia/Lord_Howe", "2024-04-06 14:45:00+00", "2024-04-07 01:30:00"),
    ("Pacific/Chatham", "2024-04-06 13:50:00+00", "2024-04-07 02:45:00"),
    ("UTC", "2024-10-27 00:30:00+00", "2024-10-27 00:30:00"),
]


@pytest.mark.scenario("S07")
@pytest.mark.parametrize(("zone", "clock", "smallest"), AUTUMN)
def test_the_cap_of_a_naive_cursor_goes_back_before_the_repeated_hour(
    zone: str, clock: str, smallest: str, source: psycopg.Connection
) -> None:
    source.execute("SELECT set_config('TimeZone', %s, false)", [zone])
    values = {"low": None, "clock": clock, "oldest": None, "margin": "0", "lag": "0"}
    assert source.execute(sql.window.CAP_TIMESTAMP, values).fetchone() == (smallest,)
    assert source.execute(sql.window.cap_date(), values).fetchone() == (smallest[:10],)


@pytest.mark.scenario("S07")
def test_no_later_instant_has_a_local_time_below_the_cap(source: psycopg.Connection) -> None:
    """Every minute of the two days around the change, against every later one: no minute's cap lies above it."""
    source.execute("SET TimeZone = 'Europe/Berlin'")
    minutes = source.execute("""
        SELECT instant::text, (min(instant AT TIME ZONE 'Europe/Berlin') OVER (ORDER BY instant DESC))::text
        FROM generate_series(timestamptz '2024-10-26 12:00+00', '2024-10-28 12:00+00', '7 minutes') AS instant
    """).fetchall()
    for clock, smallest in minutes:
        values = {"low": None, "clock": clock, "oldest": None, "margin": "0", "lag": "0"}
        (cap,) = source.execute(sql.window.CAP_TIMESTAMP, values).fetchone() or ("",)
        assert cap <= smallest


@pytest.mark.scenario("S07")
def test_a_row_of_the_second_repeated_hour_is_read_after_a_watermark_of_the_first(
    world: World, source: psycopg.Connection, warehouse: psycopg.Connection
) -> None:
    """The watermark that 02:59 summer time gives lets in 02:01 winter time, two minutes later."""
    source.execute("SET TimeZone = 'Europe/Berlin'")
    fill(source, "timestamp", ["2024-10-27 02:58:00"])
    world.run()
    values = {"low": None, "clock": "2024-10-27 00:59:00+00", "oldest": None, "margin": "0", "lag": "0"}
    (cap,) = source.execute(sql.window.CAP_TIMESTAMP, values).fetchone() or ("",)
    warehouse.execute("UPDATE etl_sync.watermark SET cursor_value = %s", [cap])
    source.execute("INSERT INTO t VALUES (2, timestamptz '2024-10-27 01:01:00+00' AT TIME ZONE 'Europe/Berlin')")
    assert world.run() == Counts(inserted=1, skipped=1)
