"""Masks for personal data: what they leave of a value, what they refuse, and where their secret is not shown."""

from __future__ import annotations

import hmac
from typing import Any

import polars as pl
import pyarrow as pa
import pytest

from airflow_etl_sync.core.columns import ColumnTypes, noted, types_of
from airflow_etl_sync.errors import ConfigurationError
from airflow_etl_sync.transforms import mask

SECRET = "a secret of the tests alone"
TEXT = ColumnTypes("character varying(30)", "character varying(30)")


@pytest.fixture(autouse=True)
def airflow_s_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_VAR_PII_SECRET", SECRET)
    monkeypatch.setenv("AIRFLOW_CONN_PII", f'{{"conn_type": "generic", "password": "{SECRET}"}}')


def people(**columns: list[Any]) -> pa.Table:
    arrays = {name: pa.array(values) for name, values in columns.items()}
    schema = pa.schema([noted(name, array.type, TEXT) for name, array in arrays.items()])
    return pa.Table.from_arrays([*arrays.values()], schema=schema)


@pytest.mark.parametrize(
    ("value", "left"),
    [
        ("alice@example.com", "a***@example.com"),
        ("ab@example.com", "a***@example.com"),
        ("a@example.com", "***@example.com"),
        ("@example.com", "***@example.com"),
        ('"odd@name"@example.com', '"***@example.com'),
        ("über@beispiel.de", "ü***@beispiel.de"),
        ("two\nlines@x.de", "t***@x.de"),
        ("Smith", "S***"),
        ("Li", "***"),
        ("X", "***"),
        ("a\nb\nc", "a***"),
        ("😀😀😀", "😀***"),
        ("", ""),
        (None, None),
    ],
)
def test_a_part_of_a_text(value: str | None, left: str | None) -> None:
    rows = people(email=["x@y.de", value])
    assert mask(partial="email")(rows).column("email").to_pylist() == ["***@y.de", left]


def test_a_hash_is_keyed_and_equal_for_equal_values() -> None:
    rows = pa.table({"id": pa.array([5, None, 5], pa.int64()), "name": ["5", "x", None]})
    for place in ({"secret_variable": "pii_secret"}, {"secret_conn_id": "pii"}):
        made = mask(hash=["id", "name"], **place)(rows)
        five, x = (hmac.digest(SECRET.encode(), text, "sha256").hex() for text in (b"5", b"x"))
        assert made.column("id").to_pylist() == [five, None, five]
        assert made.column("name").to_pylist() == [five, x, None]


def test_what_is_null_keeps_its_type_and_what_is_made_anew_is_text() -> None:
    made = mask(null="phone", partial="email", hash="name", secret_conn_id="pii")(
        people(phone=["1"], email=["a@b.de"], name=["n"])
    )
    assert {field.name: types_of(field).declared for field in made.schema} == {
        "phone": "character varying(30)", "email": "text", "name": "text",
    }  # fmt: skip
    assert made.column("phone").to_pylist() == [None]


def test_rows_that_come_from_polars_are_masked_too() -> None:
    rows = pl.DataFrame({"email": ["alice@example.com"]}).to_arrow()
    assert mask(partial="email")(rows).column("email").to_pylist() == ["a***@example.com"]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "names no column"),
        ({"null": "a", "partial": "a"}, "names the column 'a' twice"),
        ({"hash": "a"}, "exactly one of secret_variable and secret_conn_id"),
        ({"hash": "a", "secret_variable": "x", "secret_conn_id": "y"}, "exactly one of"),
    ],
)
def test_a_mask_that_says_too_little_is_refused(given: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        mask(**given)


def test_a_column_that_is_not_there_is_refused_and_never_passed_over() -> None:
    with pytest.raises(ConfigurationError, match="'Email', which the rows do not have"):
        mask(null="Email")(people(email=["a@b.de"]))


@pytest.mark.parametrize("type_", [ColumnTypes("jsonb", "jsonb"), ColumnTypes("numeric(5,2)", "numeric(5,2)")])
def test_a_part_of_what_is_no_text_is_refused(type_: ColumnTypes) -> None:
    rows = pa.table([pa.array(["{}"])], schema=pa.schema([noted("likes", pa.string(), type_)]))
    with pytest.raises(ConfigurationError, match="column 'likes' is none"):
        mask(partial="likes")(rows)


@pytest.mark.parametrize("secret", [None, "", "fifteen letters"])
def test_a_secret_that_is_none_is_refused(secret: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AIRFLOW_VAR_PII_SECRET")
    if secret is not None:
        monkeypatch.setenv("AIRFLOW_VAR_PII_SECRET", secret)
    with pytest.raises(ConfigurationError, match="at least 16 characters in the variable 'pii_secret'"):
        mask(hash="a", secret_variable="pii_secret").get_ready()


def test_a_mask_shows_no_secret() -> None:
    ready = mask(hash="a", secret_variable="pii_secret")
    ready.get_ready()
    assert SECRET not in repr(ready)
