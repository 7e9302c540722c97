"""An HTTP server of the tests' own, on loopback, that answers as it is told, and misbehaves as it is told."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from airflow_etl_sync.systems.http.access import HttpAccess


@dataclass(frozen=True, slots=True)
class Asked:
    """A request, as the server saw it."""

    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]


@dataclass(slots=True)
class Reply:
    """What to answer.

    :param body: sent as JSON, but for bytes
    :param cut_after: so many bytes are sent, and the connection is closed
    :param drip_seconds: between its bytes
    :param has_date: whether the server tells its time
    """

    body: Any = None
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    cut_after: int | None = None
    drip_seconds: float = 0
    has_date: bool = True


Respond = Callable[[Asked], Reply]


@dataclass(slots=True)
class Api:
    """The server.

    :param respond: gives the answers; may be replaced at any time
    :param asked: all requests so far
    """

    port: int
    respond: Respond
    asked: list[Asked] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def access(self, **changes: Any) -> HttpAccess:
        return HttpAccess(**{"base_url": self.url, "patience_seconds": 5, "timeout": 2, **changes})


@contextmanager
def new_api(respond: Respond) -> Iterator[Api]:
    """A server that runs as long as the block."""
    server = _Server(("127.0.0.1", 0), _Handler)
    api = Api(server.server_address[1], respond)
    server.api = api  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield api
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def paged(records: Sequence[Any], asked: Asked, *, size: int = 100, key: str = "data") -> Reply:
    """A page of records as most APIs give it: by number, by offset, or by a token, whichever is asked for."""
    size = int(asked.query.get("limit", asked.query.get("per_page", size)))
    start = int(asked.query.get("offset", asked.query.get("cursor", 0)))
    if "page" in asked.query:
        start = (int(asked.query["page"]) - 1) * size
    body: dict[str, Any] = {key: list(records[start : start + size])}
    is_more = start + size < len(records)
    body["next_cursor"] = str(start + size) if is_more else None
    link = f"{asked.path}?cursor={start + size}&limit={size}"
    body["next"] = link if is_more else None
    return Reply(body, headers={"Link": f'<{link}>; rel="next"'} if is_more else {})


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that has gone is no error here."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        api: Api = self.server.api  # type: ignore[attr-defined]
        parts = urlsplit(self.path)
        asked = Asked(parts.path, dict(parse_qsl(parts.query, keep_blank_values=True)), dict(self.headers.items()))
        api.asked.append(asked)
        reply = api.respond(asked)
        content = reply.body if isinstance(reply.body, bytes) else json.dumps(reply.body).encode()
        self.send_response_only(reply.status)
        given = {"Content-Type": "application/json", "Content-Length": str(len(content)), **reply.headers}
        if reply.has_date:
            given.setdefault("Date", self.date_time_string())
        for name, value in given.items():
            self.send_header(name, value)
        self.end_headers()
        self._send(content, reply)

    def _send(self, content: bytes, reply: Reply) -> None:
        if reply.cut_after is not None:
            self.wfile.write(content[: reply.cut_after])
            self.close_connection = True
            return
        try:
            for byte in content if reply.drip_seconds else ():
                self.wfile.write(bytes([byte]))
                time.sleep(reply.drip_seconds)
            if not reply.drip_seconds:
                self.wfile.write(content)
        except ConnectionError:
            self.close_connection = True

    def log_message(self, *_: Any) -> None:
        """Nothing is told."""
