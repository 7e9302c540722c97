"""The page's routes: each asks Airflow who it is that asks, reads or acts, and fills in a template."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import cache
from http import HTTPStatus
from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import Depends, FastAPI, Form, HTTPException, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, RedirectResponse
from starlette.exceptions import HTTPException as AnyHTTPException

from airflow_etl_sync.core.watermark_change import Signature
from airflow_etl_sync.errors import EtlSyncError
from airflow_etl_sync.plugin import actions, audit
from airflow_etl_sync.plugin.board import RUNS_IN_LIST, Entry, find_entry, read_board
from airflow_etl_sync.plugin.detail import read_detail, read_records
from airflow_etl_sync.plugin.forms import refuse_forged, token_for
from airflow_etl_sync.plugin.pages import render, static_file
from airflow_etl_sync.plugin.visitor import Visitor, VisitorDep, signed_in
from airflow_etl_sync.state.loaded_places import LoadedPlace

SECURITY_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' data:; "
        "form-action 'self'; frame-ancestors 'self'; base-uri 'none'"
    ),
    "X-Frame-Options": "SAMEORIGIN",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cache-Control": "no-store",
}

_NOBODY = "You are not signed in to Airflow, or your session has ended."
_UNKNOWN = "There is no sync of this name here, or you may not see it."
_NOT_ALLOWED = "You may look at this sync but not change it: that takes the permission to edit its DAGs."
_NOT_THERE = (
    "These records are loaded by the connection {}: that takes the permission to edit it, or the DAG that loads by it."
)
_NOT_VALUES = "Row values are shown to those who may read the connection of their database."


def entry_of(visitor: VisitorDep, conn_id: str, sync_key: str) -> Entry:
    """The sync that a request names, if the visitor may see it."""
    entry = find_entry(visitor, conn_id, sync_key)
    if entry is None:
        raise HTTPException(HTTPStatus.NOT_FOUND, _UNKNOWN)
    return entry


EntryDep = Annotated[Entry, Depends(entry_of)]


def changeable(visitor: VisitorDep, entry: EntryDep) -> Entry:
    """The sync that a request names, if the visitor may change it."""
    if not visitor.may_change(entry.dag_ids, entry.conn_id):
        raise HTTPException(HTTPStatus.FORBIDDEN, _NOT_ALLOWED)
    return entry


def from_own_form(request: Request, visitor: VisitorDep, token: Annotated[str, Form()] = "") -> None:
    """Let only forms of this page through."""
    refuse_forged(request, visitor.user_id, token)


ChangeableDep = Annotated[Entry, Depends(changeable)]
OwnForm = Depends(from_own_form)
Reason = Annotated[str, Form()]


@cache
def the_app() -> FastAPI:
    """The app, for Airflow's API server to mount."""
    # Without its own pages of documentation: those ask nobody who they are.
    app = FastAPI(title="ETL Sync", dependencies=[Depends(signed_in)], docs_url=None, redoc_url=None, openapi_url=None)
    app.middleware("http")(_secured)
    app.exception_handler(AnyHTTPException)(_http_trouble)
    app.exception_handler(RequestValidationError)(_wrong_request)
    app.exception_handler(EtlSyncError)(_refused)
    _add_routes(app)
    return app


def _add_routes(app: FastAPI) -> None:
    page: dict[str, Any] = {"response_class": HTMLResponse}
    app.get("/", **page)(show_list)
    app.get("/sync", **page)(show_sync)
    app.get("/failed", **page)(show_failed)
    app.post("/failed", dependencies=[OwnForm], **page)(show_values)
    app.get("/rewind", **page)(ask_rewind)
    app.post("/rewind", dependencies=[OwnForm])(do_rewind)
    app.get("/reset", **page)(ask_reset)
    app.post("/reset", dependencies=[OwnForm])(do_reset)
    app.get("/replay", **page)(ask_replay)
    app.post("/replay", dependencies=[OwnForm])(do_replay)
    app.get("/static/{name}")(static)
    app.get("/{rest:path}")(nothing_here)


def show_list(request: Request, visitor: VisitorDep, q: str = "") -> HTMLResponse:
    """All syncs, what needs a person first."""
    board = read_board(visitor)
    found = [entry for entry in board.entries if q.casefold() in entry.state.sync_key.casefold()]
    return render(request, "list.html", board=board, entries=found, q=q, runs=RUNS_IN_LIST)


def show_sync(request: Request, visitor: VisitorDep, entry: EntryDep, done: str = "") -> HTMLResponse:
    """One sync."""
    detail, capture = read_detail(entry.conn_id, entry.state.sync_key), entry.capture
    return render(
        request, "sync.html", entry=entry, detail=detail, done=done,
        trouble=visitor.told(entry.conn_id, detail.trouble) if detail.trouble else None,
        capture_trouble=visitor.told(entry.source_conn_id or "", (capture and capture.trouble) or ""),
        may_change=visitor.may_change(entry.dag_ids, entry.conn_id),
    )  # fmt: skip


def show_failed(request: Request, visitor: VisitorDep, entry: EntryDep) -> HTMLResponse:
    """The failed records of a sync, without their values."""
    return _records_page(request, visitor, entry, with_values=False)


def show_values(request: Request, visitor: VisitorDep, entry: EntryDep) -> HTMLResponse:
    """The same with values, in answer to a form only, so that no address can be passed on that shows them."""
    if not visitor.may_see_values(entry.conn_id):
        raise HTTPException(HTTPStatus.FORBIDDEN, _NOT_VALUES)
    audit.note("show_values", visitor.name, conn_id=entry.conn_id, sync_key=entry.state.sync_key)
    return _records_page(request, visitor, entry, with_values=True)


def ask_rewind(
    request: Request, visitor: VisitorDep, entry: ChangeableDep, back: str = "", value: str = ""
) -> HTMLResponse:
    """How far back, and when that is said, whether it shall be so."""
    asked: dict[str, Any] = {"back": back, "value": value, "old": None, "new": None, "refusal": None}
    if back.strip() or value.strip():
        try:
            old, new = actions.preview_rewind(entry.conn_id, entry.state.sync_key, back, value)
            asked |= {"old": old, "new": new}
        except EtlSyncError as error:
            asked |= {"refusal": str(error)}
    return _form(request, visitor, entry, "rewind.html", **asked)


def do_rewind(visitor: VisitorDep, entry: ChangeableDep, to: Annotated[str, Form()], reason: Reason) -> Response:
    """Rewind, and go back to the sync."""
    actions.rewind(entry.conn_id, entry.state.sync_key, to, Signature(by=visitor.name, reason=reason))
    return _back_to(entry, "rewind")


def ask_reset(request: Request, visitor: VisitorDep, entry: ChangeableDep) -> HTMLResponse:
    """Whether it shall be so."""
    return _form(request, visitor, entry, "reset.html")


def do_reset(visitor: VisitorDep, entry: ChangeableDep, reason: Reason) -> Response:
    """Reset, and go back to the sync."""
    actions.reset(entry.conn_id, entry.state.sync_key, Signature(by=visitor.name, reason=reason))
    return _back_to(entry, "reset")


def ask_replay(request: Request, visitor: VisitorDep, entry: ChangeableDep) -> HTMLResponse:
    """Whether it shall be so."""
    places = _places_to_load(visitor, entry)
    return _form(request, visitor, entry, "replay.html", most=actions.MOST_RECORDS, places=places.values())


def do_replay(visitor: VisitorDep, entry: ChangeableDep, reason: Reason) -> Response:
    """Replay, and go back to the sync, where the counts are those of its newest run."""
    signature, places = Signature(by=visitor.name, reason=reason), _places_to_load(visitor, entry)
    actions.replay(entry.conn_id, entry.state.sync_key, places, signature)
    return _back_to(entry, "replay")


def static(name: str) -> Response:
    """A style sheet or a script of the page."""
    found = static_file(name)
    if found is None:
        raise HTTPException(HTTPStatus.NOT_FOUND)
    content, media_type = found
    return Response(content, media_type=media_type)


def nothing_here(rest: str) -> None:  # noqa: ARG001 - what was asked for is not repeated
    """Every other address."""
    raise HTTPException(HTTPStatus.NOT_FOUND, "There is no such page.")


def _places_to_load(visitor: Visitor, entry: Entry) -> dict[str, LoadedPlace]:
    """Where failed records are for, if the visitor may load there."""
    places = actions.places_of_records(entry.conn_id, entry.state.sync_key)
    for place in places.values():
        if not visitor.may_load(place.dag_id, place.conn_id):
            raise HTTPException(HTTPStatus.FORBIDDEN, _NOT_THERE.format(place.conn_id))
    return places


def _records_page(request: Request, visitor: Visitor, entry: Entry, *, with_values: bool) -> HTMLResponse:
    try:
        records = read_records(entry.conn_id, entry.state.sync_key)
    except EtlSyncError as error:
        raise HTTPException(HTTPStatus.CONFLICT, visitor.told(entry.conn_id, str(error))) from None
    return _form(
        request, visitor, entry, "failed.html", records=records, with_values=with_values,
        may_see_values=visitor.may_see_values(entry.conn_id),
        may_change=visitor.may_change(entry.dag_ids, entry.conn_id),
    )  # fmt: skip


def _form(request: Request, visitor: Visitor, entry: Entry, template: str, **values: Any) -> HTMLResponse:
    return render(request, template, entry=entry, token=token_for(visitor.user_id), **values)


def _back_to(entry: Entry, done: str) -> Response:
    """To the sync's page, by an address that holds wherever Airflow is served."""
    names = {"conn_id": entry.conn_id, "sync_key": entry.state.sync_key, "done": done}
    return RedirectResponse(f"sync?{urlencode(names)}", HTTPStatus.SEE_OTHER)


async def _secured(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
    response = await call_next(request)
    response.headers.update(SECURITY_HEADERS)
    return response


def _http_trouble(request: Request, error: Exception) -> Response:
    status = getattr(error, "status_code", HTTPStatus.INTERNAL_SERVER_ERROR)
    detail = _NOBODY if status == HTTPStatus.UNAUTHORIZED else str(getattr(error, "detail", ""))
    return _trouble(request, status, detail)


def _wrong_request(request: Request, _: Exception) -> Response:
    return _trouble(request, HTTPStatus.BAD_REQUEST, "Something is missing in this request, or is not what it must be.")


def _refused(request: Request, error: Exception) -> Response:
    return _trouble(request, HTTPStatus.CONFLICT, str(error))


def _trouble(request: Request, status: int, sentence: str) -> Response:
    return render(request, "trouble.html", HTTPStatus(status), sentence=sentence)
