"""From a URI that names an Airflow connection to a path on the storage behind it."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from airflow_etl_sync.errors import ConfigurationError
from airflow_etl_sync.hooks.connections import require_connection

if TYPE_CHECKING:
    from airflow.sdk import ObjectStoragePath

_LOCAL_SCHEMES = ("", "file", "local")


def storage_path(name: str, uri: str, conn_id: str | None = None) -> ObjectStoragePath:
    """Give the path that a URI names, logged in.

    :param name: of the argument that the URI is the value of
    :param uri: a path or any URI that ``ObjectStoragePath`` knows; a connection id goes before an ``@``
    :param conn_id: the connection where the URI names none
    :raises ConfigurationError: where the URI holds a secret, or its connection or the library for it is absent
    """
    from airflow.sdk import ObjectStoragePath
    from airflow.sdk.io import has_fs

    scheme, named = _scheme_and_connection(name, uri)
    if named and conn_id:
        raise ConfigurationError(f"{name} names the connection {named!r}, and source_conn_id another: name it once.")
    if named or conn_id:
        require_connection(named or str(conn_id))
    try:
        if scheme and not has_fs(scheme):
            raise ImportError
        path = ObjectStoragePath(uri, **({"conn_id": conn_id} if conn_id else {}))
        path.fs  # noqa: B018 - logs in, for which a library may be absent
    except ImportError as error:
        raise ConfigurationError(
            f"{name} {uri!r} needs a library that is not installed: for s3:// install airflow-etl-sync[s3], "
            "for others Airflow's provider of that storage."
        ) from error
    return path


def _scheme_and_connection(name: str, uri: str) -> tuple[str, str]:
    """What a URI names; it travels through XCom and stands in logs, so it may hold no more than that.

    :raises ConfigurationError: where it does, or names no bucket
    """
    parts = urlsplit(uri)
    conn_id, _, bucket = parts.netloc.rpartition("@")
    if ":" in conn_id or (bucket and parts.query):
        raise ConfigurationError(
            f"{name} must be of the form {parts.scheme}://CONN_ID@BUCKET/PREFIX: put keys, tokens and options "
            "into the Airflow connection."
        )
    if parts.scheme not in _LOCAL_SCHEMES and not bucket:
        raise ConfigurationError(f"{name} {uri!r} names no bucket: {parts.scheme}://CONN_ID@BUCKET/PREFIX.")
    return parts.scheme, conn_id
