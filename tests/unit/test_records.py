"""Records → batches: what other libraries write, and what is remembered from one piece to the next."""

from __future__ import annotations

from datetime import date, datetime, timezone
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from airflow_etl_sync.core.columns import types_of
from airflow_etl_sync.errors import DataError
from airflow_etl_sync.systems.records.pieces import pieces
from airflow_etl_sync.systems.records.shaping import Shaper

MOMENT = datetime(2026, 1, 1, tzinfo=timezone.utc)


def shaped(given: Any, most_rows: int = 1_000, types: dict[str, str] | None = None) -> list[pa.RecordBatch]:
    shaper = Shaper((), {}, lambda: types or {})
    return [shaper.batch(piece) for piece in pieces(given, most_rows)]


def told(batch: pa.RecordBatch) -> dict[str, str]:
    return {field.name: types_of(field).declared for field in batch.schema}


def test_polars() -> None:
    frame = pl.DataFrame(
        {
            "id": [1, 2],
            "name": ["a", None],
            "at": [MOMENT, MOMENT],
            "items": [[1], [2]],
            "sort": pl.Series(["x", "y"], dtype=pl.Categorical),
            "price": [Decimal("1.5"), None],
        }
    )
    [batch] = shaped(frame)
    assert told(batch) == {
        "id": "bigint", "name": "text", "at": "timestamp with time zone", "items": "jsonb", "sort": "text",
        "price": "numeric",
    }  # fmt: skip
    assert batch.to_pylist()[0] | {"at": None} == {
        "id": 1, "name": "a", "at": None, "items": "[1]", "sort": "x", "price": "1.5",
    }  # fmt: skip


def test_pandas() -> None:
    frame = pd.DataFrame({"id": pd.array([1, None], dtype="Int64"), "at": pd.to_datetime([MOMENT, None])})
    [batch] = shaped(frame)
    assert told(batch) == {"id": "bigint", "at": "timestamp with time zone"}
    assert [row["id"] for row in batch.to_pylist()] == [1, None]
    with pytest.raises(DataError, match="index without a name"):
        shaped(pd.DataFrame({"id": [1]}, index=["a"]))
    [records] = shaped([{"at": pd.Timestamp("2026-01-01"), "none": pd.NaT, "na": pd.NA}])
    assert told(records) == {"at": "timestamp without time zone"}
    with pytest.raises(DataError, match="finer than a microsecond"):
        shaped([{"at": pd.Timestamp(1)}])


def test_numpy_scalars() -> None:
    given = {
        "id": np.int64(5),
        "single": np.float32(1.5),
        "yes": np.bool_(True),
        "day": np.datetime64("2026-01-31"),
    }
    [batch] = shaped([given])
    assert batch.to_pylist() == [{"id": 5, "single": 1.5, "yes": True, "day": date(2026, 1, 31)}]
    with pytest.raises(DataError, match="finer than a microsecond"):
        shaped([{"at": np.datetime64("2026-01-31", "ns")}])


def test_what_speaks_the_dataframe_protocol_alone() -> None:
    class Frame:
        def __dataframe__(self, **options: Any) -> Any:
            return pa.table({"id": [1, 2]}).__dataframe__(**options)

    [batch] = shaped(Frame())
    assert batch.to_pylist() == [{"id": 1}, {"id": 2}]


def test_a_column_keeps_its_kind_over_pieces_that_have_no_value_for_it() -> None:
    records = [{"a": 1}, {"a": None}, {"a": 2}]
    assert [told(batch) for batch in shaped(records, most_rows=1)] == [{"a": "bigint"}] * 3


def test_whole_numbers_after_floats_stay_floats_as_long_as_they_are_exact() -> None:
    records = [{"a": 1.5}, {"a": 2**53}, {"a": 2**53 + 1}]
    batches = shaped(records, most_rows=1)
    assert [told(batch)["a"] for batch in batches] == ["double precision", "double precision", "numeric"]
    assert [batch.column(0)[0].as_py() for batch in batches] == [1.5, 2.0**53, str(2**53 + 1)]


def test_an_error_shows_no_value() -> None:
    for bad in ({"a": ["s3cret", object()]}, {"a": "s3cret\0"}, {"a": b"s3cret"}):
        with pytest.raises(DataError) as refused:
            shaped([bad], types={"a": "text"})
        assert "s3cret" not in str(refused.value)
        assert refused.value.__cause__ is None
