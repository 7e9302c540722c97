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

from airflow_etl_sync.errors import ConfigurationError
from airflow_etl_sync.hooks.storage import storage_path

if TYPE_CHECKING:
    from airflow_etl_sync.core.staging import Staging

SETTING = "[etl_sync] staging_uri (environment: AIRFLOW__ETL_SYNC__STAGING_URI)"


def open_staging(uri: str | None = None) -> Staging:
    """Open the staging at a URI, by default the deployment's.

    :param uri: a path or any URI that ``ObjectStoragePath`` knows; a connection id goes before an ``@``
        (``s3://aws_default@bucket/staging``)
    :raises ConfigurationError: where the URI holds a secret, its connection or the library for it is absent, or
        the default directory cannot be made
    """
    from airflow_etl_sync.core.staging import Staging

    place = uri or _configured_uri() or _private_directory()
    return Staging(storage_path("staging_uri", place), place)


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
