"""From an operator's arguments to the transform that rows go through."""

from __future__ import annotations

from importlib import import_module
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, Protocol

from airflow_etl_sync.core.model import TableName
from airflow_etl_sync.errors import ConfigurationError
from airflow_etl_sync.hooks.connections import require_connection
from airflow_etl_sync.operators import _arguments as arguments
from airflow_etl_sync.transforms import Mask

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pyarrow as pa

    from airflow_etl_sync.core.transform import Transform
    from airflow_etl_sync.systems.postgres.access import PostgresAccess

    TransformGiven = Transform | str | Sequence[Transform | str] | None


class TransformArguments(Protocol):
    """What says what rows become between staging and destination."""

    transform: Any
    transform_sql: Any
    lookups: Any


def transform_of(given: TransformArguments, destination: PostgresAccess) -> Transform | None:
    """Give the transform that the arguments describe: first the query, then each function.

    :param destination: where lookups that are tables are read
    :raises ConfigurationError: naming the argument that is wrong
    """
    from airflow_etl_sync.core.transform import chained

    check_transform(given)
    functions = [_imported(each) if isinstance(each, str) else each for each in _listed(given.transform)]
    query = arguments.as_optional_text("transform_sql", given.transform_sql)
    if query is not None:
        from airflow_etl_sync.core.transform_sql import SqlTransform

        places = arguments.as_text_map("lookups", given.lookups)
        lookups = {name: _lookup(name, place, destination) for name, place in places.items()}
        functions.insert(0, SqlTransform(query, lookups))
    for each in functions:
        if isinstance(each, Mask):
            each.get_ready()
    return chained(functions) if functions else None


def check_transform(given: TransformArguments) -> None:
    """Look at the arguments as far as that needs neither database nor file.

    :raises ConfigurationError: naming the one that is wrong
    """
    for each in _listed(given.transform):
        if not callable(each) and not (isinstance(each, str) and "." in each):
            raise ConfigurationError(
                "transform must be a function, the path that it is imported by (package.module.function), or a list "
                f"of these, not a {type(each).__name__}."
            )
    lookups = arguments.as_text_map("lookups", given.lookups)
    if lookups and arguments.is_absent(given.transform_sql):
        raise ConfigurationError("lookups are joined by transform_sql, which is missing: give it, or leave them out.")


def _listed(value: Any) -> list[Any]:
    if arguments.is_absent(value):
        return []
    return list(value) if isinstance(value, (list, tuple)) else [value]


def _imported(path: str) -> Transform:
    module, _, name = path.rpartition(".")
    try:
        found: Transform = getattr(import_module(module), name)
    except (ImportError, AttributeError):
        raise ConfigurationError(f"transform {path!r} cannot be imported: correct the path, or install it.") from None
    return found


def _lookup(name: str, place: str, destination: PostgresAccess) -> pa.Table:
    from airflow_etl_sync.core.lookups import is_file, read_lookup_file
    from airflow_etl_sync.systems.postgres.lookup import read_lookup_table

    if not is_file(place):
        return read_lookup_table(destination, name, TableName.parse(place))
    return read_lookup_file(name, _path(name, place))


def _path(name: str, place: str) -> Any:
    from airflow.sdk import ObjectStoragePath

    if "://" not in place and not PurePosixPath(place).is_absolute():
        raise ConfigurationError(f"The lookup {name!r} is a file: give its whole path, or a URI such as s3://….")
    conn_id = place.partition("://")[2].partition("/")[0].rpartition("@")[0]
    if ":" in conn_id:
        raise ConfigurationError(f"The lookup {name!r} must not hold a secret: put it into an Airflow connection.")
    if conn_id:
        require_connection(conn_id)
    return ObjectStoragePath(place)
