"""Small tables that ``transform_sql`` joins, kept in files."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_etl_sync.errors import ConfigurationError

if TYPE_CHECKING:
    import pyarrow as pa

LARGEST_BYTES = 64 * 1024 * 1024
"""A lookup is held in memory, beside the rows."""

_FORMATS = (".csv", ".parquet")


def is_file(place: str) -> bool:
    """Whether a lookup's place is a file, and no table."""
    return place.lower().endswith(_FORMATS) and "/" in place


def read_lookup_file(name: str, path: Any) -> pa.Table:
    """Read a CSV or Parquet file. All columns of a CSV are texts, so that ``007`` stays what it is.

    :param path: a ``pathlib.Path``, or Airflow's ``ObjectStoragePath``
    :raises ConfigurationError: where it cannot be read, or is too large
    """
    import pyarrow as pa

    try:
        with path.open("rb") as file:
            table: pa.Table = (_read_csv if path.name.lower().endswith(".csv") else _read_parquet)(file)
    except (OSError, pa.ArrowInvalid) as error:
        raise ConfigurationError(
            f"The lookup {name!r} cannot be read from its file ({type(error).__name__}): see whether it is there, and "
            "is what its name says."
        ) from None
    refuse_large(name, table.nbytes)
    return table


def refuse_large(name: str, size: int) -> None:
    """Keep out what does not belong into memory.

    :raises ConfigurationError: where the lookup is larger than a lookup may be
    """
    if size > LARGEST_BYTES:
        raise ConfigurationError(
            f"The lookup {name!r} is larger than {LARGEST_BYTES // 2**20} MB: join it in the query that is read (sql), "
            "or after the load."
        )


def _read_csv(file: Any) -> pa.Table:
    import pyarrow as pa
    from pyarrow import csv

    names = csv.open_csv(file).schema.names
    file.seek(0)
    as_texts = csv.ConvertOptions(
        column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=True, null_values=[""],
        quoted_strings_can_be_null=False,
    )  # fmt: skip
    return csv.read_csv(file, convert_options=as_texts)


def _read_parquet(file: Any) -> pa.Table:
    import pyarrow.parquet as pq

    return pq.read_table(file, use_threads=False)
