"""Values that a warehouse would cut, or take for others."""

from __future__ import annotations

from datetime import date, datetime, timezone
from typing import Any

import pyarrow as pa
import pytest

from airflow_etl_sync.systems.columnar.limits import misfits
from airflow_etl_sync.systems.columnar.table import TableColumn

YEAR_10000 = 253_402_300_800
DAYS = YEAR_10000 // 86_400


@pytest.mark.parametrize(
    ("declared", "values", "which"),
    [
        ("VARCHAR(3)", pa.array(["äöü", "äöüß", None, ""]), [False, True, False, False]),
        ("VARCHAR", pa.array(["x" * 100_000]), [False]),
        ("BINARY(2)", pa.array([b"ab", b"abc", None]), [False, True, False]),
        ("STRING(3)", pa.array(["äöü", "äöüß", None]), [False, True, False]),
        ("BYTES(2)", pa.array([b"ab", b"abc"]), [False, True]),
        ("NUMERIC(1)", pa.array([1]), [False]),
        ("DATE", pa.array([date.min, date.max, None]), [False] * 3),
        ("DATE", pa.array([DAYS - 1, DAYS, -800_000], pa.date32()), [False, True, True]),
        ("TIMESTAMP_NTZ(9)", pa.array([datetime.max, None]), [False, False]),  # noqa: DTZ901
        ("TIMESTAMP_LTZ(9)", pa.array([datetime.max.replace(tzinfo=timezone.utc)]), [False]),
        ("TIMESTAMP_TZ(9)", pa.array([YEAR_10000 * 10**6], pa.timestamp("us", "UTC")), [True]),
        ("NUMBER(38,0)", pa.array([1]), [False]),
    ],
)
def test_what_does_not_fit(declared: str, values: pa.Array, which: list[Any]) -> None:
    found = [False] * len(values)
    for _, each in misfits(TableColumn("V", declared, takes_null=True, has_default=False), values):
        found = [one or other for one, other in zip(found, each.to_pylist(), strict=True)]
    assert found == which
