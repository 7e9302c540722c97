"""Pages of APIs whose lists move while they are read, end where they should not, or do not end at all."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import count
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, reject, settings
from hypothesis import strategies as st

from airflow_etl_sync.core.endpoint import Endpoint
from airflow_etl_sync.core.model import CursorValue, Stream, Window, WindowRules
from airflow_etl_sync.errors import ConfigurationError, SourceError
from airflow_etl_sync.state.watermarks import Watermark
from airflow_etl_sync.systems.base import Position
from airflow_etl_sync.systems.http.positions import page_that_reaches
from airflow_etl_sync.systems.http.source import HttpSource
from tests.http_api import Api, Asked, Reply, new_api, paged

COUNTED = [
    {"type": "page_number", "size": "20", "size_param": "per_page"},
    {"type": "offset", "limit": 20},
]
FOLLOWED = ["cursor", "json_link", "header_link"]
ALL_PAGES = [*COUNTED, *FOLLOWED]


def records(number: int, first: int = 0) -> list[dict[str, Any]]:
    return [{"id": n, "c": n} for n in range(first, first + number)]


@pytest.fixture(scope="module")
def api() -> Iterator[Api]:
    with new_api(lambda _: Reply([])) as api:
        yield api


def source(api: Api, pages: Any, **endpoint: Any) -> HttpSource:
    api.asked.clear()
    given = {"path": "/t", "records": "data", "pages": pages, **endpoint}
    stream = Stream(sync_key="s", cursor_field="c", primary_key=("id",), endpoint=Endpoint.parse(given))
    return HttpSource(api.access(patience_seconds=0.1), stream)


def read(source: HttpSource, after: Position | None = None, window: Window | None = None) -> list[int]:
    return [row["id"] for batch in source.read(window or Window(), after) for row in batch.to_pylist()]


@pytest.mark.parametrize("pages", ALL_PAGES, ids=str)
@pytest.mark.parametrize("number", [0, 1, 2, 19, 20, 21, 40, 250])
def test_each_record_comes_once(api: Api, pages: Any, number: int) -> None:
    api.respond = lambda asked: paged(records(number), asked, size=20)
    assert read(source(api, pages)) == list(range(number))


def test_an_api_that_gives_fewer_records_than_asked_for(api: Api) -> None:
    """An offset does not mind; a number means another place then."""

    def capped(asked: Asked) -> Reply:
        query = {**asked.query, **{name: "23" for name in ("limit", "per_page") if int(asked.query.get(name, 0)) > 23}}
        return paged(records(130), Asked(asked.path, query, asked.headers))

    api.respond = capped
    assert read(source(api, {"type": "offset", "limit": 100})) == list(range(130))
    with pytest.raises(ConfigurationError, match=r"gives 23 records a page, and endpoint\.pages asks for 100: ask for"):
        read(source(api, {"type": "page_number", "size": 100, "size_param": "per_page"}))


@pytest.mark.parametrize("beyond", [Reply({}, 404), Reply({"data": records(7)}), Reply({"data": []})])
def test_how_an_api_answers_behind_the_last_page_does_not_matter(api: Api, beyond: Reply) -> None:
    api.respond = lambda asked: beyond if asked.query.get("page") == "2" else paged(records(7), asked)
    assert read(source(api, COUNTED[0])) == list(range(7))


class Moving:
    """A list that changes before each request."""

    def __init__(self, number: int, deeds: Sequence[tuple[str, int]]) -> None:
        self.records = records(number)
        self.untouched = {record["id"] for record in self.records}
        self._deeds = iter(deeds)
        self._next = count(number)

    def respond(self, asked: Asked) -> Reply:
        for deed, where in self._deeds:
            if deed == "answer":
                break
            self._do(deed, where)
        return paged(self.records, asked, size=20)

    def _do(self, deed: str, where: int) -> None:
        place = where % (len(self.records) or 1)
        new = next(self._next)
        if deed == "insert":
            self.records.insert(place, {"id": new, "c": new})
        elif self.records:
            gone = self.records.pop(place)
            self.untouched.discard(gone["id"])
            if deed == "change":
                self.records.append({"id": gone["id"], "c": new})


DEEDS = st.tuples(st.sampled_from(["answer", "answer", "delete", "change", "insert"]), st.integers(0, 300))


@pytest.mark.parametrize("pages", COUNTED, ids=str)
@settings(
    max_examples=60,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(number=st.integers(0, 150), deeds=st.lists(DEEDS, max_size=60))
def test_no_record_is_passed_over_while_others_move(
    api: Api, pages: Any, number: int, deeds: list[tuple[str, int]]
) -> None:
    """Those that stay where they are arrive, whatever is deleted, changed and inserted between any two requests."""
    moving = Moving(number, deeds)
    api.respond = moving.respond
    try:
        assert moving.untouched <= set(read(source(api, pages)))
    except SourceError:
        reject()


@pytest.mark.parametrize("pages", COUNTED, ids=str)
@pytest.mark.parametrize("gone", [1, 25, 45])
def test_reading_goes_back_to_what_is_known(api: Api, pages: Any, gone: int) -> None:
    shop = records(120)
    asks = count()

    def shrinking(asked: Asked) -> Reply:
        if next(asks) == 4:  # the look, and three pages
            del shop[:gone]
        return paged(shop, asked, size=20)

    api.respond = shrinking
    assert set(read(source(api, pages))) == set(range(120))


def test_a_list_that_never_stands_still_is_given_up(api: Api) -> None:
    fresh = count()
    api.respond = lambda asked: Reply({"data": records(20, next(fresh) * 20)})
    with pytest.raises(SourceError, match="The list of '/t' moves faster than it is read"):
        read(source(api, COUNTED[1]))


@settings(deadline=None)
@given(row=st.integers(1, 10**7), most=st.integers(20, 200))
def test_a_numbered_page_holds_the_row_and_reaches_behind_it(row: int, most: int) -> None:
    page, size = page_that_reaches(row, most)
    assert size <= most and page * size <= row and row + 1 < (page + 1) * size


@pytest.mark.parametrize("pages", [*COUNTED, {"type": "page_number", "overlap": False}], ids=str)
def test_an_api_that_does_not_know_the_parameter_is_found_out(api: Api, pages: Any) -> None:
    api.respond = lambda asked: Reply({"data": records(20)})
    with pytest.raises(ConfigurationError, match=r"gives the same page whatever '(page|offset)' says"):
        read(source(api, pages))


def test_lists_in_which_nothing_moves_need_no_overlap(api: Api) -> None:
    api.respond = lambda asked: paged(records(45), asked, size=20)
    assert read(source(api, {"type": "page_number", "overlap": "false"})) == list(range(45))
    assert [asked.query.get("page") for asked in api.asked] == [None, "1", "2", "3", "4"]


def endless(body: Callable[[int], Any]) -> Callable[[Asked], Reply]:
    def respond(asked: Asked) -> Reply:
        number = int(asked.query.get("cursor", 0))
        return Reply({"data": body(number), "next_cursor": str(number + 1), "next": f"/t?cursor={number + 1}"})

    return respond


@pytest.mark.parametrize("pages", ["cursor", "json_link"])
@pytest.mark.parametrize(
    ("respond", "said"),
    [
        (endless(lambda _: []), r"gives page after page \(100 by now\) without a record"),
        (endless(lambda _: records(3)), "gives the same page again and again"),
        (lambda _: Reply({"data": records(3), "next_cursor": "x", "next": "/t?a=b"}), "leads back to pages that it"),
    ],
)
def test_pages_without_an_end_are_stopped(api: Api, pages: str, respond: Any, said: str) -> None:
    api.respond = respond
    with pytest.raises(SourceError, match=said) as stopped:
        read(source(api, pages))
    assert not stopped.value.is_retryable


def test_a_token_that_stays_at_the_end_is_the_end(api: Api) -> None:
    def respond(asked: Asked) -> Reply:
        return Reply({"data": [] if asked.query.get("cursor") == "9" else records(3), "next_cursor": "9"})

    api.respond = respond
    assert read(source(api, "cursor")) == [0, 1, 2]


def test_a_token_may_be_the_last_record_s_key(api: Api) -> None:
    """As Stripe pages: ``starting_after`` the last id, while ``has_more``."""

    def respond(asked: Asked) -> Reply:
        after = int(asked.query.get("starting_after", -1)) + 1
        return Reply({"data": records(20, after)[: max(0, 50 - after)], "has_more": after + 20 < 50})

    api.respond = respond
    pages = {"type": "cursor", "cursor_param": "starting_after", "cursor_path": "data.-1.id", "more_path": "has_more"}
    assert read(source(api, pages)) == list(range(50))


@pytest.mark.parametrize("key", ["next", "has_more"])
def test_paging_that_nobody_has_described_is_not_passed_over(api: Api, key: str) -> None:
    api.respond = lambda asked: Reply({"data": records(3), "meta": {key: True}})
    with pytest.raises(ConfigurationError, match=f"tells of more pages in 'meta.{key}': say in endpoint.pages how"):
        read(source(api, None))
    assert read(source(api, "single_page")) == [0, 1, 2]


def test_links_that_count_pages_are_told_of(api: Api, caplog: pytest.LogCaptureFixture) -> None:
    def respond(asked: Asked) -> Reply:
        reply = paged(records(45), asked, size=20)
        number = int(asked.query.get("page", 1))
        return Reply({**reply.body, "next": f"/t?page={number + 1}" if number < 3 else None})

    api.respond = respond
    assert read(source(api, "json_link")) == list(range(45))
    assert caplog.text.count("The links of '/t' count pages (page)") == 1


def chunks(source: HttpSource, window: Window | None = None) -> list[tuple[list[int], Position]]:
    """The batches of a source, cut in two, each with the position behind it."""
    cuts = [(batch, batch.num_rows // 2) for batch in source.read(window or Window(), None)]
    halves = [half for batch, cut in cuts for half in (batch.slice(0, cut), batch.slice(cut))]
    return [(half.column("id").to_pylist(), source.position(half)) for half in halves if half.num_rows]


@pytest.mark.parametrize("pages", [*ALL_PAGES, {"type": "offset", "limit": 20, "overlap": False}], ids=str)
def test_a_retry_goes_on_with_the_page_that_was_not_whole(api: Api, pages: Any, monkeypatch: Any) -> None:
    """Where that is safe; links may hold credentials, so they are kept nowhere, and reading begins anew."""
    monkeypatch.setattr("airflow_etl_sync.systems.http.source._BATCH_RECORDS", 40)
    api.respond = lambda asked: paged(records(200), asked, size=20)
    whole = chunks(source(api, pages))
    assert len(whole) >= 8
    for number, (ids, position) in enumerate(whole):
        seen = {each for before, _ in whole[: number + 1] for each in before}
        rest = read(retry := source(api, pages), after=position)
        assert seen | set(rest) == set(range(200))
        if pages in ("json_link", "header_link"):
            assert len(rest) == 200
        else:
            assert ids[0] - 60 < rest[0] <= ids[0]
        assert retry.reached(Window(), WindowRules(lag=1)) == CursorValue("integer", "198")


@pytest.mark.parametrize("pages", COUNTED, ids=str)
def test_a_retry_goes_back_where_the_list_has_moved_meanwhile(api: Api, pages: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr("airflow_etl_sync.systems.http.source._BATCH_RECORDS", 40)
    shop = records(200)
    api.respond = lambda asked: paged(shop, asked, size=20)
    whole = chunks(source(api, pages))
    _, position = whole[5]
    seen = {each for before, _ in whole[:6] for each in before}
    del shop[:30]
    assert seen | set(read(source(api, pages), after=position)) >= set(range(200))


def test_a_token_that_has_expired_begins_the_list_anew(api: Api, monkeypatch: Any) -> None:
    monkeypatch.setattr("airflow_etl_sync.systems.http.source._BATCH_RECORDS", 40)
    api.respond = lambda asked: paged(records(100), asked, size=20)
    _, position = chunks(source(api, "cursor"))[2]
    expired = {position["page"]["token"]}
    api.respond = lambda asked: (
        Reply({}, 410) if asked.query.get("cursor") in expired else paged(records(100), asked, size=30)
    )
    assert read(source(api, "cursor"), after=position) == list(range(100))


def test_no_link_is_kept_for_a_retry(api: Api) -> None:
    api.respond = lambda asked: Reply({"data": records(3), "next": None if asked.query else "/t?access_token=secret"})
    assert all("secret" not in str(position) for _, position in chunks(source(api, "json_link")))


def test_what_changes_behind_the_reader_is_read_by_the_next_run(api: Api) -> None:
    """A list in the order of its keys: a record that was read changes, and then one with a higher cursor is read."""
    shop = [{"id": n, "c": 100 - n} for n in range(60)]
    asks = count()

    def respond(asked: Asked) -> Reply:
        if next(asks) == 3:
            shop[0]["c"], shop[59]["c"] = 1_000, 2_000
        return paged(sorted(shop, key=lambda record: record["id"]), asked, size=20)

    api.respond = respond
    first = source(api, "cursor")
    window = first.open_window(Watermark(), WindowRules(lag=1)).window
    assert len(read(first, window=window)) == 60
    high = first.reached(window, WindowRules(lag=1))
    assert high == CursorValue("integer", "99")
