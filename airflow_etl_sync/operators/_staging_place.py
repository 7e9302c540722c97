"""Where an extract writes its chunks, and where the other tasks find them.

Without a setting that is ``etl_sync_staging`` in ``AIRFLOW_HOME``. The system's temporary directory would
be the wrong place: it is often held in memory, it is cleared by age and at a restart (a load that is tried
again hours later would miss its chunks), and a guessable name in a directory that everybody may write to
can be taken by somebody else first. ``AIRFLOW_HOME`` is private to the deployment and the same for all its
tasks on one machine. Deployments of several machines set ``[etl_sync] staging_uri`` to object storage.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from airflow_etl_sync.errors import ConfigurationError
from airflow_etl_sync.hooks.connections import require_connection

if TYPE_CHECKING:
    from airflow.sdk import ObjectStoragePath

    from airflow_etl_sync.core.staging import Staging

SETTING = "[etl_sync] staging_uri (environment: AIRFLOW__ETL_SYNC__STAGING_URI)"
_LOCAL_SCHEMES = ("", "file", "local")


def open_staging(uri: str | None = None) -> Staging:
    """Open the staging at a URI, by default the deployment's.

    :param uri: a path or any URI that ``ObjectStoragePath`` knows; a connection id goes before an ``@``
        (``s3://aws_default@bucket/staging``)
    :raises ConfigurationError: where the URI holds a secret, its connection or the library for it is absent, or
        the default directory cannot be made
    """
    from airflow_etl_sync.core.staging import Staging

    place = uri or _configured_uri() or _private_directory()
    return Staging(_path_of(place), place)


def _path_of(place: str) -> ObjectStoragePath:
    from airflow.sdk import ObjectStoragePath
    from airflow.sdk.io import has_fs

    scheme, conn_id = _scheme_and_connection(place)
    if conn_id:
        require_connection(conn_id)
    try:
        if scheme and not has_fs(scheme):
            raise ImportError
        path = ObjectStoragePath(place)
        path.fs  # noqa: B018 - logs in, for which a library may be absent
    except ImportError as error:
        raise ConfigurationError(
            f"staging_uri {place!r} needs a library that is not installed: for s3:// install airflow-etl-sync[s3], "
            "for others Airflow's provider of that storage."
        ) from error
    return path


def _scheme_and_connection(place: str) -> tuple[str, str]:
    """What a URI names; it travels through XCom and stands in logs, so it may hold no more than that.

    :raises ConfigurationError: where it does, or names no bucket
    """
    parts = urlsplit(place)
    conn_id, _, bucket = parts.netloc.rpartition("@")
    if ":" in conn_id or (bucket and parts.query):
        raise ConfigurationError(
            f"staging_uri must be of the form {parts.scheme}://CONN_ID@BUCKET/PREFIX: put keys, tokens and options "
            "into the Airflow connection."
        )
    if parts.scheme not in _LOCAL_SCHEMES and not bucket:
        raise ConfigurationError(f"staging_uri {place!r} names no bucket: {parts.scheme}://CONN_ID@BUCKET/PREFIX.")
    return parts.scheme, conn_id


def _configured_uri() -> str | None:
    from airflow.providers.common.compat.sdk import conf

    return conf.get("etl_sync", "staging_uri", fallback=None) or None


def _private_directory() -> str:
    directory = Path(os.path.expandvars(os.environ.get("AIRFLOW_HOME") or "~/airflow")).expanduser()
    directory = directory.absolute() / "etl_sync_staging"
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        directory.chmod(0o700)
    except OSError as error:
        raise ConfigurationError(
            f"The staging directory in AIRFLOW_HOME cannot be used ({error.strerror}): set {SETTING}."
        ) from error
    return str(directory)
