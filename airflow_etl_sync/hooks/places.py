"""Where a lake is: a directory, or a prefix of a bucket with the connection that opens it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from airflow_etl_sync.errors import ConfigurationError
from airflow_etl_sync.hooks.connections import require_connection

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class Place:
    """A root under which tables lie.

    :param uri: an absolute path, or ``s3://bucket/prefix``
    :param aws_conn_id: the connection that opens the bucket; None leaves it to what the worker itself may
    """

    uri: str
    aws_conn_id: str | None = None

    @property
    def is_local(self) -> bool:
        return not self.uri.startswith("s3://")


def place_of(conn_id: str, connection: Any) -> Place:
    """Read the root that a connection of a lake has as its host: a path, or ``s3://CONN_ID@BUCKET/PREFIX``.

    :raises ConfigurationError: where it has none, or one that cannot be used, or that holds a secret
    """
    root = str(connection.host or "").strip()
    parts = urlsplit(root)
    if parts.scheme in ("", "file") and parts.path.startswith("/") and not parts.netloc:
        return Place(parts.path)
    aws_conn_id, _, bucket = parts.netloc.rpartition("@")
    if parts.scheme not in ("s3", "s3a") or not bucket or ":" in parts.netloc or parts.query:
        raise ConfigurationError(
            f"The connection {conn_id!r} names no place for tables: give as its host an absolute path, or "
            "s3://CONN_ID@BUCKET/PREFIX with the id of a connection of type 'aws'."
        )
    if aws_conn_id:
        require_connection(aws_conn_id)
    return Place(f"s3://{bucket}{parts.path}".rstrip("/"), aws_conn_id or None)


def s3_options(place: Place) -> dict[str, str]:
    """What opens the bucket, in the words of the storage's library: keys as Airflow's own hook has them at this time.

    :raises ConfigurationError: where Amazon's provider is not installed, or there are no keys
    """
    try:
        from airflow.providers.amazon.aws.hooks.base_aws import AwsBaseHook
    except ImportError:
        raise ConfigurationError("A place in s3:// needs Amazon's provider: install airflow-etl-sync[s3].") from None
    hook: Any = AwsBaseHook(aws_conn_id=place.aws_conn_id, client_type="s3")
    session = hook.get_session()
    if session.get_credentials() is None:
        raise ConfigurationError(f"There are no keys for {place.uri}: name a connection of type 'aws' in front of it.")
    keys = hook.get_credentials()
    endpoint = hook.conn_config.get_service_endpoint_url("s3")
    options = {
        "aws_access_key_id": keys.access_key,
        "aws_secret_access_key": keys.secret_key,
        "aws_session_token": keys.token,
        "aws_region": hook.region_name or session.region_name or "us-east-1",
        "aws_endpoint_url": endpoint,
        "aws_allow_http": "true" if str(endpoint).startswith("http://") else None,
        "aws_conditional_put": "etag",  # only one of two writers makes a version of the table
        "aws_s3_allow_unsafe_rename": "false",
    }
    return {name: value for name, value in options.items() if value is not None}


def partitions_of(conn_id: str, connection: Any) -> Mapping[str, tuple[str, ...]]:
    """By table, the columns by which a new one is partitioned: ``partition_by`` among the connection's extras.

    :raises ConfigurationError: where that is no mapping of tables to lists of columns
    """
    given = connection.extra_dejson.get("partition_by") or {}
    is_mapping = isinstance(given, dict) and all(isinstance(columns, list) for columns in given.values())
    if not is_mapping or not all(isinstance(name, str) for columns in given.values() for name in columns):
        raise ConfigurationError(
            f"The extra 'partition_by' of the connection {conn_id!r} must be of the form "
            '{"schema.table": ["column"]}.'
        )
    return {table: tuple(columns) for table, columns in given.items()}
