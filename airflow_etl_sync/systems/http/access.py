"""How an API is reached: its address, and what is sent to it and to nobody else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from requests import PreparedRequest, Session

ANSWER_SECONDS = 600.0
"""An answer takes no longer, however steadily it drips."""

MOST_BYTES = 256 * 1024 * 1024
"""Nor is it larger: it is held in memory while it is read."""


class Origin(NamedTuple):
    """Who answers at an address. What is the connection's is sent to its own origin only."""

    scheme: str
    host: str
    port: int

    @classmethod
    def of(cls, url: str) -> Origin:
        """Read an address as the library that sends the request does, so that none is taken for another host's."""
        from urllib3.util import parse_url

        parsed = parse_url(url)
        scheme = (parsed.scheme or "http").lower()
        return cls(scheme, (parsed.host or "").lower(), parsed.port or (443 if scheme == "https" else 80))

    def __str__(self) -> str:
        return f"{self.scheme}://{self.host}:{self.port}"


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpAccess:
    """One API and the login to it.

    :param base_url: scheme, host and port, and the beginning of all paths where there is one
    :param login: name and password of basic authentication
    :param headers: sent with each request
    :param params: query parameters of each request, such as a key
    :param timeout: how many seconds may pass without a byte
    :param patience_seconds: for so long a request that failed for now is made again
    :param options: ``verify``, ``cert``, ``proxies`` and ``trust_env``, as a session of *requests* has them
    """

    base_url: str
    login: tuple[str, str] | None = field(default=None, repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    params: Mapping[str, str] = field(default_factory=dict, repr=False)
    timeout: float = 60
    patience_seconds: float = 300
    answer_seconds: float = ANSWER_SECONDS
    most_bytes: int = MOST_BYTES
    options: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @property
    def origin(self) -> Origin:
        return Origin.of(self.base_url)

    def url_of(self, path: str) -> str:
        return f"{self.base_url.rstrip('/')}/{path.lstrip('/')}"

    def session(self) -> Session:
        """A session that sends the connection's headers and login, and no others that this machine may know."""
        from requests import Session

        session = Session()
        session.headers.update({"Accept": "application/json", "User-Agent": "airflow-etl-sync", **self.headers})
        session.auth = self._authenticate  # given in any case, so that no .netrc is asked
        for name, value in self.options.items():
            setattr(session, name, value)
        return session

    def _authenticate(self, request: PreparedRequest) -> PreparedRequest:
        from requests.auth import HTTPBasicAuth

        return request if self.login is None else HTTPBasicAuth(*self.login)(request)
