"""A row that never came to the database, as texts of its values: as the database would write them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from airflow_etl_sync.core.columns import types_of
from airflow_etl_sync.core.failed_record import FailedRecord
from airflow_etl_sync.core.transform import RowFailure
from airflow_etl_sync.systems.postgres.types import ENCODING, position_text

if TYPE_CHECKING:
    import pyarrow as pa


def failed_in_transform(failure: RowFailure, key: Sequence[str]) -> FailedRecord:
    """The failed record of a row that a transform failed on.

    :param key: the columns that name a record, of which the row may lack some
    """
    schema = failure.row.schema
    payload = {field.name: text_of_value(field, failure.row.column(field.name)[0]) for field in schema}
    return FailedRecord(
        key=tuple(payload.get(name) for name in key),
        payload=payload,
        error=failure.error,
        types={field.name: types_of(field) for field in schema},
        is_untransformed=True,
    )


def text_of_value(field: pa.Field, value: pa.Scalar) -> str | None:
    """A value as PostgreSQL writes it; a date that Python cannot write, as Arrow does."""
    import pyarrow as pa

    encoding = (field.metadata or {}).get(ENCODING)
    text = position_text(value, encoding)
    if text is None:
        return value.cast(pa.string()).as_py() if value.is_valid else None
    kind = value.type
    if pa.types.is_boolean(kind):
        return text.lower()
    if pa.types.is_time(kind):
        return text.rstrip("0") if "." in text else text
    if pa.types.is_timestamp(kind) or encoding is not None:
        return _moment(text)
    return text.removesuffix(".0") if pa.types.is_floating(kind) else text


def _moment(text: str) -> str:
    day, _, time = text.partition("T")
    if not time:  # a date, or infinity
        return text
    clock, zone = (time.removesuffix("+00:00"), "+00") if time.endswith("+00:00") else (time, "")
    return f"{day} {clock.rstrip('0') if '.' in clock else clock}{zone}"
