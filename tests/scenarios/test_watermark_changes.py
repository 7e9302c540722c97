"""S22: a watermark set, rewound or reset by a person: the next run starts there, and it is known who did it and why."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import psycopg
import pytest

from airflow_etl_sync.core.model import CursorValue, WindowRules
from airflow_etl_sync.core.watermark_change import ChangeRequest, Signature, WatermarkChange
from airflow_etl_sync.errors import ConfigurationError, EtlSyncError, StateError
from airflow_etl_sync.journey import watermark as tools
from airflow_etl_sync.systems.postgres.source import PostgresSource
from tests.scenarios.world import FORMS, Counted, Form, World, rows, scalar, transaction, watermark

pytestmark = pytest.mark.scenario("S22")

WHO = Signature(by="ada", reason="the import of May was wrong")
ROWS = 10


def change(world: World, action: Any, *, signature: Signature = WHO, key: str = "t", **asked: Any) -> WatermarkChange:
    request = ChangeRequest(sync_key=key, action=action, **asked)
    return tools.change(world.destination.engine, request, signature)


def fill(source: psycopg.Connection, cursor: str) -> None:
    """Ten rows whose cursor grows with their id, from 1 to 10."""
    types = {"integer": "bigint", "timestamptz": "timestamptz", "text": "text", "date": "date", "numeric": "numeric"}
    values = {
        "integer": "i",
        "numeric": "i + 0.5",
        "timestamptz": "'2024-05-01 12:00+00'::timestamptz + i * interval '1 day'",
        "date": "'2024-05-01'::date + i",
        "text": "'key ' || to_char(i, 'FM00')",
    }
    source.execute(f"CREATE TABLE t (id bigint PRIMARY KEY, c {types[cursor]}, v text)")
    source.execute(f"INSERT INTO t SELECT i, {values[cursor]}, 'old' FROM generate_series(1, {ROWS}) AS i")


def mend(source: psycopg.Connection) -> None:
    """Change every row behind the cursor's back: only what is read again shows it."""
    source.execute("UPDATE t SET v = 'mended'")


def mended(warehouse: psycopg.Connection) -> list[int]:
    return [row[0] for row in warehouse.execute("SELECT id FROM t WHERE v = 'mended' ORDER BY id")]


def stored_value(warehouse: psycopg.Connection) -> Any:
    return scalar(warehouse, "SELECT cursor_value FROM etl_sync.watermark")


def last_low(warehouse: psycopg.Connection) -> Any:
    return scalar(warehouse, "SELECT low FROM etl_sync.sync_run ORDER BY started_at DESC LIMIT 1")


def changes(warehouse: psycopg.Connection) -> list[tuple[Any, ...]]:
    query = (
        "SELECT action, old_type, old_value, new_type, new_value, changed_by, reason"
        " FROM etl_sync.watermark_change ORDER BY id"
    )
    return warehouse.execute(query).fetchall()


def state(warehouse: psycopg.Connection) -> Any:
    """Everything that a change could touch, byte for byte."""
    return scalar(
        warehouse,
        "SELECT (SELECT array_agg(w::text || xmin || ctid) FROM etl_sync.watermark AS w)::text"
        " || (SELECT count(*) FROM etl_sync.watermark_change)",
    )


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("cursor", "asked", "low", "first"),
    [
        ("integer", {"action": "set", "value": " 4"}, "4", 4),
        ("integer", {"action": "rewind", "value": "0007"}, "7", 7),
        ("integer", {"action": "rewind", "back": 3}, "7", 7),
        ("numeric", {"action": "rewind", "back": 3}, "7.5", 7),
        ("numeric", {"action": "set", "value": "4.50"}, "4.50", 4),
        ("timestamptz", {"action": "set", "value": "2024-05-05T12:00"}, "2024-05-05 12:00:00+00", 4),
        ("timestamptz", {"action": "rewind", "value": "2024-05-05 14:00+02"}, "2024-05-05 12:00:00+00", 4),
        ("date", {"action": "set", "value": "20240505"}, "2024-05-05", 4),
        ("text", {"action": "set", "value": "key 04"}, "key 04", 4),
        ("text", {"action": "rewind", "value": "key 03x"}, "key 03x", 4),
        *((cursor, {"action": "reset"}, None, 1) for cursor in ("integer", "timestamptz", "text")),
    ],
)
def test_the_next_run_starts_exactly_there(
    cursor: str,
    asked: dict[str, Any],
    low: str | None,
    first: int,
    form: Form,
    world: World,
    source: psycopg.Connection,
    warehouse: psycopg.Connection,
) -> None:
    fill(source, cursor)
    world.run(form)
    before = watermark(warehouse)
    assert before is not None
    mend(source)

    made = change(world, **asked)

    after = None if low is None else CursorValue(before[0], low)  # type: ignore[arg-type]
    assert (made.old, made.new) == (CursorValue(*before), after)  # type: ignore[arg-type]
    assert watermark(warehouse) == ((cursor, low) if low else (None, None))
    assert changes(warehouse) == [
        (asked["action"], *before, cursor if low else None, low, "ada", "the import of May was wrong")
    ]
    reader = Counted(world)
    world.run(form, reader=reader)
    assert last_low(warehouse) == low
    assert reader.rows == ROWS + 1 - first
    assert mended(warehouse) == list(range(first, ROWS + 1))


@pytest.mark.parametrize("form", FORMS)
def test_a_duration_goes_back_from_where_the_watermark_is(
    form: Form, world: World, source: psycopg.Connection, warehouse: psycopg.Connection
) -> None:
    fill(source, "timestamptz")
    world.run(form)
    change(world, "set", value="2024-05-10 12:00+00")
    mend(source)
    made = change(world, "rewind", back=timedelta(days=4, hours=12))
    assert made.new == CursorValue("timestamptz", "2024-05-06 00:00:00+00")
    world.run(form)
    assert mended(warehouse) == [5, 6, 7, 8, 9, 10]


def test_a_date_goes_back_by_a_day_rather_than_by_none(world: World, source: psycopg.Connection) -> None:
    fill(source, "date")
    world.run()
    change(world, "set", value="2024-05-05")
    assert change(world, "rewind", back=timedelta(hours=1)).new == CursorValue("date", "2024-05-04")


def test_a_value_means_the_same_whatever_the_session_s_settings(
    world: World, source: psycopg.Connection, warehouse: psycopg.Connection
) -> None:
    fill(source, "timestamptz")
    world.run()
    name = scalar(warehouse, "SELECT current_database()")
    warehouse.execute(f"ALTER DATABASE {name} SET TimeZone = 'Asia/Tokyo'")
    warehouse.execute(f"ALTER DATABASE {name} SET DateStyle = 'German'")
    assert change(world, "set", value="2024-05-05 12:00").new == CursorValue("timestamptz", "2024-05-05 12:00:00+00")
    assert change(world, "rewind", back=timedelta(1)).new == CursorValue("timestamptz", "2024-05-04 12:00:00+00")


@pytest.mark.parametrize("form", FORMS)
def test_a_sync_may_be_given_its_first_watermark(
    form: Form, world: World, source: psycopg.Connection, warehouse: psycopg.Connection
) -> None:
    fill(source, "integer")
    change(world, "set", value="6", cursor_type="integer", allow_skipping=True)
    world.run(form)
    assert [row[0] for row in warehouse.execute("SELECT id FROM t ORDER BY id")] == [6, 7, 8, 9, 10]
    assert changes(warehouse)[0][:5] == ("set", None, None, "integer", "6")


def test_a_reset_sync_starts_as_it_did_at_first(
    world: World, source: psycopg.Connection, warehouse: psycopg.Connection
) -> None:
    fill(source, "integer")
    world = world.but(rules=WindowRules(initial_value="3"))
    world.run()
    change(world, "reset")
    world.run()
    assert last_low(warehouse) == "3"


def test_rows_are_skipped_only_where_somebody_says_so(
    world: World, source: psycopg.Connection, warehouse: psycopg.Connection
) -> None:
    fill(source, "integer")
    world.run()
    with pytest.raises(ConfigurationError, match=r"rows between would never be read.*--skip"):
        change(world, "set", value="20")
    change(world, "set", value="20", allow_skipping=True)
    source.execute("INSERT INTO t VALUES (19, 19, 'skipped'), (20, 20, 'read')")
    world.run()
    assert warehouse.execute("SELECT v FROM t WHERE id > 10").fetchall() == [("read",)]


# -- runs under way ---------------------------------------------------------------------------------------


class Changed(PostgresSource):
    """A source beside which somebody changes the watermark after the window has been chosen."""

    def __init__(self, world: World, act: Callable[[], object]) -> None:
        super().__init__(world.reader.access, world.stream)
        self._act = act

    def read(self, window: Any, after: Any) -> Generator[Any]:
        self._act()
        return super().read(window, after)


ACTIONS: dict[str, dict[str, Any]] = {"set": {"value": "3"}, "rewind": {"back": 5}, "reset": {}}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("action", ACTIONS)
def test_a_run_that_began_before_does_not_move_it(
    action: str, form: Form, world: World, source: psycopg.Connection, warehouse: psycopg.Connection
) -> None:
    fill(source, "integer")
    world.run(form)
    mend(source)
    source.execute("INSERT INTO t VALUES (11, 11, 'new')")
    low = {"set": "3", "rewind": "5", "reset": None}[action]
    with pytest.raises(StateError, match="by a person"):
        world.run(form, run="it", reader=Changed(world, lambda: change(world, action, **ACTIONS[action])))
    assert stored_value(warehouse) == low
    world.run(form, run="it")
    assert last_low(warehouse) == low
    assert mended(warehouse) == list(range(int(low or 1), 11))
    assert watermark(warehouse) == ("integer", "11")


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("action", "asked"), [("set", {"value": "5", "cursor_type": "integer", "allow_skipping": True}), ("reset", {})]
)
def test_nor_does_the_very_first_run(
    action: str,
    asked: dict[str, Any],
    form: Form,
    world: World,
    source: psycopg.Connection,
    warehouse: psycopg.Connection,
) -> None:
    fill(source, "integer")
    with pytest.raises(StateError, match="by a person"):
        world.run(form, reader=Changed(world, lambda: change(world, action, **asked)))
    assert stored_value(warehouse) == asked.get("value")


def test_a_killed_run_is_not_resumed_in_its_old_window(
    world: World, source: psycopg.Connection, warehouse: psycopg.Connection
) -> None:
    source.execute("CREATE TABLE t (id bigint PRIMARY KEY, c bigint, v text)")
    source.execute("INSERT INTO t SELECT i, i, 'old' FROM generate_series(1, 2500) AS i")
    world.run()
    change(world, "rewind", value="500")
    world.run_killed("sync", "after state.ledger:record_extracted 1", "killed")
    mend(source)
    change(world, "rewind", value="10")
    world.run(run="killed")
    assert last_low(warehouse) == "10"
    assert mended(warehouse) == list(range(10, 2501))


# -- maxima that wait for transactions ----------------------------------------------------------------------


@pytest.mark.parametrize("form", FORMS)
def test_a_row_that_commits_late_is_not_lost_by_a_change(
    form: Form, world: World, source: psycopg.Connection, warehouse: psycopg.Connection
) -> None:
    fill(source, "integer")
    world.run(form)
    for action, asked in (("rewind", {"back": 4}), ("set", {"value": "8"}), ("reset", {})):
        taken = scalar(source, "SELECT max(id) FROM t") + 1
        with transaction(world.source_db, f"INSERT INTO t VALUES ({taken}, {taken}, 'late')") as late:
            source.execute("INSERT INTO t VALUES (%s, %s, 'seen')", [taken + 1] * 2)
            world.run(form)
            change(world, action, **asked)
            world.run(form)
            late.commit()
        world.run(form)
        assert rows(warehouse) == rows(source)
        assert watermark(warehouse) == ("integer", str(taken + 1))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("action", "asked"), [("rewind", {"value": "1"}), ("set", {"value": "1"}), ("reset", {})])
def test_a_source_that_was_put_back_is_followed_from_its_own_maximum(
    action: str,
    asked: dict[str, Any],
    form: Form,
    world: World,
    source: psycopg.Connection,
    warehouse: psycopg.Connection,
) -> None:
    """The old maximum waits for a transaction; when that has ended, the watermark must not leap there."""
    fill(source, "integer")
    world.run(form)
    with transaction(world.source_db, "SELECT 1") as older:
        source.execute("INSERT INTO t VALUES (1000, 1000, 'lost with the backup')")
        world.run(form)
        source.execute("DELETE FROM t WHERE id > 5")
        change(world, action, **asked)
        with transaction(world.source_db, "SELECT 1"):
            older.commit()
            world.run(form)
            assert stored_value(warehouse) == asked.get("value")
    world.run(form)
    assert watermark(warehouse) == ("integer", "5")
    source.execute("INSERT INTO t VALUES (6, 6, 'again')")
    world.run(form)
    assert warehouse.execute("SELECT v FROM t WHERE id = 6").fetchall() == [("again",)]


# -- refusals -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"action": "rewind", "value": "10"}, "is not below"),
        ({"action": "rewind", "value": "11"}, "is not below the watermark of 't', which is 10: rewind goes back only"),
        ({"action": "rewind", "value": "x"}, "not one of the cursor's type, integer"),
        ({"action": "rewind", "back": timedelta(1)}, "goes back by a number"),
        ({"action": "rewind", "back": 10**30}, "So far back there is no value"),
        ({"action": "set", "value": "9223372036854775808"}, "not one of the cursor's type"),
        ({"action": "set", "value": "11"}, "would never be read"),
        ({"action": "set", "value": "5", "cursor_type": "text"}, "is of type integer, not text"),
        ({"action": "set", "value": "5", "key": "nobody"}, "has no watermark yet: give the cursor_type"),
        ({"action": "set", "value": "5", "key": "nobody", "cursor_type": "integer"}, "would never be read"),
        ({"action": "rewind", "value": "5", "key": "nobody"}, "'nobody' has no watermark in this database"),
        ({"action": "reset", "key": "nobody"}, "'nobody' has no watermark in this database"),
    ],
)
def test_what_is_refused_changes_and_records_nothing(
    asked: dict[str, Any], said: str, world: World, source: psycopg.Connection, warehouse: psycopg.Connection
) -> None:
    fill(source, "integer")
    world.run()
    before = state(warehouse)
    with pytest.raises(EtlSyncError, match=said) as refused:
        change(world, **asked)
    assert not refused.value.is_retryable
    assert state(warehouse) == before


@pytest.mark.parametrize(
    ("cursor", "asked", "said"),
    [
        ("timestamptz", {"action": "rewind", "value": "31.2.2024"}, "not one of the cursor's type, timestamptz"),
        ("timestamptz", {"action": "rewind", "back": 5}, "goes back by a duration"),
        ("timestamptz", {"action": "rewind", "back": timedelta(days=2_500_000)}, "So far back there is no value"),
        ("timestamptz", {"action": "set", "value": "infinity", "allow_skipping": True}, "not finite"),
        ("numeric", {"action": "set", "value": "NaN", "allow_skipping": True}, "not finite"),
        ("text", {"action": "rewind", "back": 5}, "no distance"),
        ("text", {"action": "rewind", "value": "key 11"}, "is not below"),
        ("text", {"action": "rewind", "value": "KEY 99"}, "is not below"),  # it is, for bytes
        ("text", {"action": "set", "value": "KEY 99"}, "would never be read"),
    ],
)
def test_a_value_is_judged_by_the_cursor_s_type(
    cursor: str,
    asked: dict[str, Any],
    said: str,
    world: World,
    source: psycopg.Connection,
    warehouse: psycopg.Connection,
) -> None:
    fill(source, cursor)
    world.run()
    before = state(warehouse)
    with pytest.raises(ConfigurationError, match=said):
        change(world, **asked)
    assert state(warehouse) == before


def test_the_beginning_has_nothing_before_it(world: World, source: psycopg.Connection) -> None:
    fill(source, "integer")
    world.run()
    change(world, "reset")
    with pytest.raises(StateError, match="starts at the beginning"):
        change(world, "rewind", back=1)


def test_a_database_that_keeps_no_state_is_left_as_it_is(world: World, warehouse: psycopg.Connection) -> None:
    for act in (
        lambda: tools.list_all(world.destination.engine),
        lambda: tools.show(world.destination.engine, "t"),
        lambda: change(world, "rewind", back=1),
        lambda: change(world, "reset"),
    ):
        with pytest.raises(StateError, match="no state tables"):
            act()
    assert scalar(warehouse, "SELECT to_regnamespace('etl_sync')") is None


# -- several hands ------------------------------------------------------------------------------------------


def test_people_at_once_take_turns(world: World, source: psycopg.Connection, warehouse: psycopg.Connection) -> None:
    source.execute("CREATE TABLE t (id bigint PRIMARY KEY, c bigint, v text)")
    source.execute("INSERT INTO t VALUES (1000, 1000, 'old')")
    world.run()
    version = scalar(warehouse, "SELECT version FROM etl_sync.watermark")
    everybody = threading.Barrier(8)

    def rewind(number: int) -> None:
        everybody.wait()
        for _ in range(5):
            change(world, "rewind", back=1, signature=Signature(by=f"person {number}", reason="because"))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(rewind, range(8)))
    assert watermark(warehouse) == ("integer", "960")
    assert scalar(warehouse, "SELECT version FROM etl_sync.watermark") == version + 40
    found = changes(warehouse)
    assert [(row[2], row[4]) for row in found] == [(str(1000 - turn), str(999 - turn)) for turn in range(40)]
    assert sorted(row[5] for row in found) == sorted(f"person {number}" for number in range(8) for _ in range(5))


def test_two_who_name_a_new_sync_at_once_are_both_recorded(world: World, warehouse: psycopg.Connection) -> None:
    both = threading.Barrier(2)

    def first(value: str) -> None:
        both.wait()
        change(world, "set", value=value, cursor_type="integer", allow_skipping=True)

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(first, ["5", "6"]))
    older, newer = changes(warehouse)
    assert (older[2], newer[2]) == (None, older[4])
    assert watermark(warehouse) == ("integer", newer[4])
    assert scalar(warehouse, "SELECT version FROM etl_sync.watermark") == 2


def test_a_task_that_is_tried_again_changes_it_once(
    world: World, source: psycopg.Connection, warehouse: psycopg.Connection
) -> None:
    fill(source, "integer")
    world.run()
    task = Signature(by="ada", reason="because", request="dag run task -1")
    made = change(world, "rewind", back=3, signature=task)
    before = state(warehouse)
    assert change(world, "rewind", back=3, signature=task) == made
    assert state(warehouse) == before
    change(world, "rewind", back=3, signature=Signature(by="ada", reason="because", request="dag run another -1"))
    assert watermark(warehouse) == ("integer", "4")


def test_it_is_shown_with_what_was_done_to_it(world: World, source: psycopg.Connection) -> None:
    fill(source, "integer")
    world.run()
    older = change(world, "rewind", back=3)
    newer = change(world, "set", value="2")
    shown = tools.show(world.destination.engine, "t")
    assert shown.standing.watermark.cursor == CursorValue("integer", "2")
    assert shown.changes == [newer, older]
    assert [standing.sync_key for standing in tools.list_all(world.destination.engine)] == ["t"]
    with pytest.raises(StateError, match="'nobody' has no watermark"):
        tools.show(world.destination.engine, "nobody")
