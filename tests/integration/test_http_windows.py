"""Which records an API is asked for, which are kept, and how far the watermark goes."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from airflow_etl_sync.core.endpoint import Endpoint
from airflow_etl_sync.core.model import CursorValue, Stream, WindowRules
from airflow_etl_sync.errors import ConfigurationError, DataError, SchemaError
from airflow_etl_sync.state.watermarks import Watermark
from airflow_etl_sync.systems.http.source import HttpSource
from tests.http_api import Api, Reply, new_api

CLOCK = datetime(2026, 6, 1, 12, tzinfo=timezone.utc)
DATE = {"Date": "Mon, 01 Jun 2026 12:00:00 GMT"}


@pytest.fixture(scope="module")
def server() -> Iterator[Api]:
    with new_api(lambda _: Reply([])) as api:
        yield api


@pytest.fixture
def api(server: Api) -> Api:
    server.asked.clear()
    return server


def give(api: Api, *cursors: Any, **more: Any) -> None:
    records = [{"id": number, "at": cursor, **more} for number, cursor in enumerate(cursors)]
    api.respond = lambda _: Reply(records, headers=DATE)


def source(api: Api, on_cursor_null: Any = "include", columns: tuple[str, ...] = (), **endpoint: Any) -> HttpSource:
    given = Endpoint.parse({"path": "/t", **endpoint})
    stream = Stream(
        sync_key="s", cursor_field="at", primary_key=("id",), endpoint=given, on_cursor_null=on_cursor_null,
        columns=columns,
    )  # fmt: skip
    return HttpSource(api.access(patience_seconds=0.1), stream)


def run(source: HttpSource, low: CursorValue | None = None, **rules: Any) -> tuple[list[int], CursorValue | None]:
    """The keys that a run reads, and where the next one starts."""
    asked = WindowRules(**rules)
    source.describe()
    window = source.open_window(Watermark(cursor=low), asked).window
    ids = [row["id"] for batch in source.read(window, None) for row in batch.to_pylist()]
    return ids, source.reached(window, asked)


def at(text: str, type_: Any = "timestamptz") -> CursorValue:
    return CursorValue(type_, text)


@pytest.mark.parametrize(
    ("cursors", "rules", "high"),
    [
        (["2026-06-01T11:00:00Z", "2026-06-01T10:00:00Z"], {"lag": timedelta(minutes=1)}, at("2026-06-01 10:59:00+00")),
        (["2026-06-01T11:00:00.123456Z"], {}, at("2026-06-01 10:55:00.123456+00")),
        (["2026-06-01T13:00:00+02:00"], {}, at("2026-06-01 10:55:00+00")),
        (["2099-01-01T00:00:00Z", "2026-06-01T11:00:00Z"], {}, at("2026-06-01 11:55:00+00")),
        (["2026-06-01T11:00:00"], {}, at("2026-06-01 10:55:00", "timestamp")),
        (["2099-01-01T00:00:00"], {}, at("2026-06-02 01:55:00", "timestamp")),
        (["2026-05-30"], {}, at("2026-05-29", "date")),
        ([5_000, 7_000], {}, at("6000", "integer")),
        ([5_000, 7_000], {"lag": 10}, at("6990", "integer")),
        ([7_000, 5_000], {"lag": 10}, at("6990", "integer")),
        ([5.5, 7.25], {"lag": 1}, at("6.25", "numeric")),
        (["a", "b"], {}, at("b", "text")),
        ([None, None], {}, None),
        ([], {}, None),
    ],
)
def test_the_watermark_keeps_its_distance_and_is_not_ahead_of_the_api_s_clock(
    api: Api, cursors: list[Any], rules: dict[str, Any], high: CursorValue | None
) -> None:
    give(api, *cursors)
    ids, reached = run(source(api), **rules)
    assert sorted(ids) == list(range(len(cursors))) and reached == high


def test_a_watermark_never_moves_backwards_nor_without_records(api: Api) -> None:
    low = at("2026-06-01 11:00:00+00")
    give(api, "2026-06-01T11:01:00Z")
    assert run(source(api), low, lag=timedelta(hours=1)) == ([0], low)
    give(api)
    assert run(source(api), low) == ([], low)


def test_what_is_below_the_window_is_left_out_though_the_api_gives_it(api: Api) -> None:
    give(api, "2026-06-01T10:59:59Z", "2026-06-01T11:00:00Z", "2026-06-01T12:00:00+01:00", None)
    assert run(source(api), at("2026-06-01 11:00:00+00"))[0] == [1, 2, 3]


@pytest.mark.parametrize(
    ("wanted", "low", "shown"),
    [
        ("iso", at("2026-06-01 11:00:00.5+00"), "2026-06-01T10:59:59Z"),
        ("date", at("2026-06-01 11:00:00+00"), "2026-05-31"),
        ("epoch", at("2026-06-01 11:00:00.9+00"), "1780311599"),
        ("epoch_ms", at("2026-06-01 11:00:00.9+00"), "1780311599900"),
        ("%Y%m%d", at("2026-06-01 11:00:00+00"), "20260531"),
        ("%d.%m.%Y %H:%M:%S", at("2026-06-01 11:00:00+00"), "01.06.2026 10:59:59"),
        ("iso", at("2026-06-01 11:00:00", "timestamp"), "2026-06-01T10:59:59"),
        ("iso", at("2026-06-01", "date"), "2026-05-31"),
        ("iso", at("7", "integer"), "6"),
        ("iso", at("m", "text"), "m"),
    ],
)
def test_an_api_is_asked_for_one_step_more(api: Api, wanted: str, low: CursorValue, shown: str) -> None:
    """So that it does not matter whether it counts the bound in."""
    give(api)
    run(source(api, start_param="since", cursor_format=wanted, params={"since": "1", "a": "b"}), low)
    assert api.asked[-1].query == {"since": shown, "a": "b"}


def test_a_first_run_and_a_full_refresh_ask_for_everything(api: Api) -> None:
    give(api, 5)
    run(source(api, start_param="since"))
    run(source(api, start_param="since"), at("7000", "integer"), full_refresh=True)
    assert all(asked.query == {} for asked in api.asked)
    assert run(source(api, start_param="since"), at("7000", "integer"), full_refresh=True) == (
        [0],
        at("7000", "integer"),
    )


def test_a_backfill_takes_its_first_value_and_leaves_its_last(api: Api) -> None:
    give(api, 4, 5, 6, 7, None)
    backfill = source(api, start_param="since", end_param="until")
    assert run(backfill, range_start="5", range_end="7")[0] == [1, 2, 4]
    assert api.asked[-1].query == {"since": "4", "until": "8"}
    give(api, "a", "b", "c")
    assert run(source(api), range_start="b", range_end="c")[0] == [1]


def test_texts_are_in_the_api_s_order(api: Api) -> None:
    give(api, "B", "a")
    assert run(source(api, start_param="since"), at("a", "text"))[0] == [0, 1]


def test_records_without_a_cursor(api: Api) -> None:
    give(api, 1, None)
    assert run(source(api))[0] == [0, 1]
    assert run(source(api, on_cursor_null="exclude"))[0] == [0]
    with pytest.raises(DataError, match="have no value in 'at' and on_cursor_null is 'raise'"):
        source(api, on_cursor_null="raise").describe()


def test_an_api_without_a_clock_lets_no_time_be_a_watermark(api: Api) -> None:
    api.respond = lambda _: Reply([{"id": 1, "at": "2026-06-01T11:00:00Z"}], has_date=False)
    with pytest.raises(ConfigurationError, match=r"The API does not tell its time \(no header Date\)"):
        run(source(api))
    api.respond = lambda _: Reply([{"id": 1, "at": 5_000}], has_date=False)
    assert run(source(api))[1] == at("4000", "integer")


def test_the_clock_is_the_one_before_the_first_record_was_read(api: Api) -> None:
    """What changes after it, behind the reader, is above the watermark: also in a retry that goes on."""
    clocks = iter(["12:00", "12:10", "12:20", "12:30", "12:40"])

    def respond(_: Any) -> Reply:
        records = [{"id": 1, "at": "2026-06-01T12:05:00Z"}]
        return Reply(records, headers={"Date": f"Mon, 01 Jun 2026 {next(clocks)}:00 GMT"})

    api.respond = respond
    rules = WindowRules(lag=timedelta(minutes=1))
    first = source(api, pages={"type": "page_number", "size": 20, "size_param": "n"})
    window = first.open_window(Watermark(), rules).window
    [position] = [first.position(batch) for batch in first.read(window, None) if batch.num_rows]
    assert first.reached(window, rules) == at("2026-06-01 11:59:00+00")
    clocks = iter(["13:00"] * 9)
    retry = source(api, pages={"type": "page_number", "size": 20, "size_param": "n"})
    assert len(list(retry.read(window, position))) == 1
    assert retry.reached(window, rules) == at("2026-06-01 11:59:00+00")


@pytest.mark.parametrize(
    ("records", "endpoint", "said"),
    [
        (
            {"data": [], "meta": 1},
            {},
            "The answer of '/t' is no list, it has the keys data, meta: say in endpoint.records",
        ),
        ({"data": []}, {"records": "items"}, "has no list at 'items', it has the keys data"),
        ({"data": {"items": 5}}, {"records": "data.items"}, "has no list at 'data.items'"),
        ([], {"records": "data"}, "has no list at 'data', it has a list"),
    ],
)
def test_a_list_that_is_elsewhere_is_told_by_its_keys(api: Api, records: Any, endpoint: Any, said: str) -> None:
    api.respond = lambda _: Reply(records)
    with pytest.raises(ConfigurationError) as refused:
        source(api, **endpoint).describe()
    assert said in str(refused.value)


def test_nothing_in_the_place_of_a_list_is_an_empty_one(api: Api) -> None:
    api.respond = lambda _: Reply({"data": None})
    assert run(source(api, records="data")) == ([], None)
    api.respond = lambda _: Reply({"data": None, "errors": ["secret"]})
    with pytest.raises(Exception, match="has no records, and tells of an error") as refused:
        source(api, records="data").describe()
    assert "secret" not in str(refused.value)


def test_a_list_of_what_is_no_record(api: Api) -> None:
    api.respond = lambda _: Reply([1, 2])
    with pytest.raises(DataError, match="holds what is no record"):
        source(api).describe()


def test_an_empty_list_has_no_types_to_read_a_range_by(api: Api) -> None:
    give(api)
    assert run(source(api)) == ([], None)
    asked: list[dict[str, Any]] = [{"range_start": "5"}, {"initial_value": "5"}]
    for rules in asked:
        with pytest.raises(ConfigurationError, match=r"give it in endpoint\.column_types"):
            run(source(api), **rules)
    assert run(source(api, column_types={"at": "bigint"}), initial_value="5") == ([], at("5", "integer"))


def test_a_list_that_is_empty_no_more_when_it_is_read(api: Api) -> None:
    replies = iter([[], [{"id": 1, "at": "2026-06-01T11:00:00Z"}]])
    api.respond = lambda _: Reply(next(replies), headers=DATE)
    assert run(source(api)) == ([1], at("2026-06-01 10:55:00+00"))


@pytest.mark.parametrize("name", ["at", "id", "note"])
def test_a_field_that_no_record_has(api: Api, name: str) -> None:
    api.respond = lambda _: Reply([{key: 1 for key in ("at", "id", "note") if key != name}])
    with pytest.raises(SchemaError, match=f"'s' has no column '{name}' to use as cursor or key"):
        source(api, columns=("note",)).describe()
    described = source(api, columns=("note",), column_types={name: "bigint"}).describe()
    assert sorted(column for column, _ in described.columns) == ["at", "id", "note"]


def test_a_cursor_that_is_no_time_and_no_number(api: Api) -> None:
    give(api, True)
    with pytest.raises(ConfigurationError, match="The cursor 'at' has type boolean, which cannot be a cursor"):
        run(source(api))
    give(api, "2026-06-01T11:00:00Z")
    with pytest.raises(ConfigurationError, match="is of type integer, its cursor 'at' of type timestamptz"):
        run(source(api), at("5", "integer"))
