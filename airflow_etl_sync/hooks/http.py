"""From Airflow's HTTP connection to a way into an API.

The fields mean what they mean to Airflow's own HttpHook. That hook itself is not used: it sends the connection's
headers to whichever host a redirect leads to, knows no Retry-After, and its session asks .netrc for other logins.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from airflow_etl_sync.errors import ConfigurationError

if TYPE_CHECKING:
    from airflow_etl_sync.systems.http.access import HttpAccess

_OF_REQUESTS = {"verify": "verify", "verify_ssl": "verify", "cert": "cert", "trust_env": "trust_env"}
_PROXIES = ("proxies", "proxy")
_NOT_OURS = frozenset({"stream", "allow_redirects", "max_redirects", "check_response"})
"""What the hook takes, and has no meaning here: answers are streamed and checked, and stay on the connection's host."""


def http_access(conn_id: str, connection: Any) -> HttpAccess:
    """Give the way into the API that a connection names.

    Schema, host and port are its address; the host may be a whole URL, with the beginning of all paths. Login and
    password are sent as basic authentication. Of the extras ``verify``, ``cert``, ``proxies``, ``trust_env`` and
    ``timeout`` say how it is reached, ``params`` are query parameters of each request, and all others are headers.

    :raises ConfigurationError: where a field is missing or no extra of this kind
    """
    from airflow_etl_sync.systems.http.access import HttpAccess

    extra = {name: value for name, value in connection.extra_dejson.items() if name not in _NOT_OURS}
    if str(extra.pop("srv_lookup", None) or "false").lower() not in ("false", "0"):
        raise _unfit(conn_id, "srv_lookup is not taken here: give the host itself")
    options = {_OF_REQUESTS[name]: extra.pop(name) for name in [*extra] if name in _OF_REQUESTS}
    for name in _PROXIES:
        options.update({"proxies": extra.pop(name)} if extra.get(name) else {})
    params, timeout = extra.pop("params", None) or {}, extra.pop("timeout", None) or 60
    if isinstance(timeout, bool) or not isinstance(timeout, (int, float)) or timeout <= 0:
        raise _unfit(conn_id, "timeout must be a number of seconds")
    if not isinstance(options.get("proxies", {}), dict):
        raise _unfit(conn_id, "proxies must be a mapping of schemes to addresses")
    return HttpAccess(
        base_url=_base_url(conn_id, connection),
        login=(connection.login, connection.password or "") if connection.login else None,
        headers=_texts(conn_id, "extra", extra),
        params=_texts(conn_id, "params", params),
        timeout=float(timeout),
        options=options,
    )


def _base_url(conn_id: str, connection: Any) -> str:
    host = (connection.host or "").strip()
    scheme = connection.schema or ("https" if connection.conn_type == "https" else "http")
    try:
        parts = urlsplit(host if "://" in host else f"{scheme}://{host}")
        name, port = parts.hostname, parts.port or connection.port
    except ValueError:
        raise _unfit(conn_id, "the host is no address") from None
    if not name or parts.scheme not in ("http", "https") or parts.query or parts.fragment or parts.username:
        raise _unfit(conn_id, "the host must be a name, or a URL without query and login")
    shown = f"[{name}]" if ":" in name else name
    return f"{parts.scheme}://{shown}" + (f":{port}" if port else "") + parts.path.rstrip("/")


def _texts(conn_id: str, name: str, given: Any) -> dict[str, str]:
    if not isinstance(given, dict) or not all(
        isinstance(value, (str, int, float)) and str(value).isprintable() for value in given.values()
    ):
        raise _unfit(conn_id, f"{name} must map names to texts")
    return {key: str(value) for key, value in given.items()}


def _unfit(conn_id: str, why: str) -> ConfigurationError:
    return ConfigurationError(f"The connection {conn_id!r} cannot be used for an API: {why}.")
