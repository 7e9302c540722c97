"""Columns as BigQuery's client describes them, told as a statement has them."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_etl_sync.systems.bigquery.session import _column

bigquery = pytest.importorskip("google.cloud.bigquery")


@pytest.mark.parametrize(
    ("field", "declared"),
    [
        ({"type": "INTEGER"}, "INT64"),
        ({"type": "FLOAT"}, "FLOAT64"),
        ({"type": "BOOLEAN"}, "BOOL"),
        ({"type": "NUMERIC"}, "NUMERIC"),
        ({"type": "NUMERIC", "precision": "5"}, "NUMERIC(5)"),
        ({"type": "BIGNUMERIC", "precision": "40", "scale": "2"}, "BIGNUMERIC(40,2)"),
        ({"type": "STRING", "maxLength": "3"}, "STRING(3)"),
        ({"type": "STRING", "collation": "und:ci"}, "STRING COLLATE und:ci"),
        ({"type": "STRING", "mode": "REPEATED"}, "ARRAY<STRING>"),
        ({"type": "RECORD", "fields": [{"name": "f", "type": "DATE"}]}, "STRUCT"),
    ],
)
def test_types(field: dict[str, Any], declared: str) -> None:
    assert _column(bigquery.SchemaField.from_api_repr({"name": "V", **field})).declared == declared


def test_what_must_be_given() -> None:
    required = {"name": "V", "type": "DATE", "mode": "REQUIRED", "defaultValueExpression": "CURRENT_DATE()"}
    found = _column(bigquery.SchemaField.from_api_repr(required))
    assert (found.name, found.takes_null, found.has_default) == ("V", False, True)
    plain = _column(bigquery.SchemaField.from_api_repr({"name": "V", "type": "DATE"}))
    assert (plain.takes_null, plain.has_default) == (True, False)
