"""From a connection in Airflow's UI to a project of BigQuery."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow_etl_sync.errors import ConfigurationError
from airflow_etl_sync.hooks.extras import known_extras

if TYPE_CHECKING:
    from google.auth.credentials import Credentials
    from sqlalchemy import Engine

    from airflow_etl_sync.core.model import TableName
    from airflow_etl_sync.systems.bigquery.access import BigQueryAccess
    from airflow_etl_sync.systems.bigquery.destination import BigQueryDestination

_TAKEN = frozenset(
    {
        "api_endpoint", "dataset", "is_anonymous", "key_path", "keyfile_dict", "location", "num_retries", "project",
        "scope",
    }
)  # fmt: skip
"""The fields of Airflow's provider and three more, which it does not look at: api_endpoint, dataset and location."""
_PREFIX = "extra__google_cloud_platform__"
_SCOPES = ("https://www.googleapis.com/auth/cloud-platform",)


def bigquery_access(conn_id: str, connection: Any) -> BigQueryAccess:
    """Give the way into the project that a connection of type ``google_cloud_platform`` names.

    :raises ConfigurationError: where it cannot be used, or the library is not installed
    """
    try:
        import google.cloud.bigquery  # noqa: F401
    except ImportError:
        raise ConfigurationError("BigQuery needs a library: install airflow-etl-sync[bigquery].") from None
    from airflow_etl_sync.systems.bigquery.access import BigQueryAccess

    extras = known_extras(conn_id, connection, _PREFIX, _TAKEN)
    credentials, own_project = _credentials(conn_id, extras)
    project = extras.get("project") or own_project
    if not project:
        raise ConfigurationError(f"The connection {conn_id!r} names no project: give project among its extras.")
    return BigQueryAccess(
        project=str(project),
        credentials=credentials,
        dataset=extras.get("dataset") or connection.schema or None,
        location=extras.get("location"),
        endpoint=extras.get("api_endpoint"),
    )


def bigquery_destination(conn_id: str, connection: Any, table: TableName, state: Engine) -> BigQueryDestination:
    """Give the destination of a table in the project of a connection.

    :raises ConfigurationError: where the connection cannot be used, or nothing names the table's dataset
    """
    from airflow_etl_sync.systems.bigquery.destination import BigQueryDestination

    access = bigquery_access(conn_id, connection)
    if table.schema is None and not access.dataset:
        raise ConfigurationError(
            f"The connection {conn_id!r} names no dataset, nor does the table {str(table)!r}: write dataset.table."
        )
    return BigQueryDestination(access, table, state)


def _credentials(conn_id: str, extras: Mapping[str, Any]) -> tuple[Credentials, str | None]:
    """What lets in, and the project that it belongs to: a service account's key, or what the machine is set up with."""
    if str(extras.get("is_anonymous", "")).lower() == "true":
        from google.auth.credentials import AnonymousCredentials

        return AnonymousCredentials(), None  # type: ignore[no-untyped-call]
    if "keyfile_dict" in extras and "key_path" in extras:
        raise ConfigurationError(f"The connection {conn_id!r} has a keyfile_dict and a key_path: leave one.")
    scopes = _scopes(extras)
    if "keyfile_dict" in extras or "key_path" in extras:
        return _from_key(conn_id, extras, scopes)
    return _from_machine(conn_id, scopes)


def _scopes(extras: Mapping[str, Any]) -> Sequence[str]:
    asked = [scope.strip() for scope in str(extras.get("scope", "")).split(",")]
    return [scope for scope in asked if scope] or _SCOPES


def _from_key(conn_id: str, extras: Mapping[str, Any], scopes: Sequence[str]) -> tuple[Credentials, str | None]:
    from google.oauth2.service_account import Credentials

    try:
        if "key_path" in extras:
            found = Credentials.from_service_account_file(extras["key_path"], scopes=scopes)  # type: ignore[no-untyped-call]
        else:
            key = extras["keyfile_dict"]
            known = json.loads(key) if isinstance(key, str) else key
            found = Credentials.from_service_account_info(known, scopes=scopes)  # type: ignore[no-untyped-call]
    except (AttributeError, OSError, TypeError, ValueError):  # their texts may quote the key
        raise ConfigurationError(
            f"The key of the connection {conn_id!r} cannot be read: give the JSON of a service account's key as "
            "keyfile_dict, or the path of its file, on every worker, as key_path."
        ) from None
    return found, found.project_id


def _from_machine(conn_id: str, scopes: Sequence[str]) -> tuple[Credentials, str | None]:
    import google.auth
    from google.auth.exceptions import GoogleAuthError

    try:
        found, project = google.auth.default(scopes=scopes)
    except GoogleAuthError:
        raise ConfigurationError(
            f"The connection {conn_id!r} has no key, and this machine no default credentials of Google's: give "
            "keyfile_dict or key_path, or set up Application Default Credentials."
        ) from None
    return found, project
