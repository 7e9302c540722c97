"""What a reconcile is asked for, and when it refuses."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_etl_sync.core.keys import KeyStream, ReconcileRules, Settled
from airflow_etl_sync.core.model import TableName
from airflow_etl_sync.errors import ConfigurationError, DataError

TABLE = TableName("t")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"table": TABLE, "sql": "SELECT 1"}, "exactly one of table and sql"),
        ({}, "exactly one of table and sql"),
        ({"table": TABLE, "where": "\0"}, "no database can store"),
        ({"table": TABLE, "primary_key": ("\0",)}, "no database can store"),
    ],
)
def test_a_key_stream_is_checked_like_any_other(given: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        KeyStream(sync_key="t", **given)


def test_a_keyed_stream_reads_the_key_alone_and_leaves_nothing_out() -> None:
    stream = KeyStream(sync_key="t", table=TABLE, where="x").keyed(("a", "b"))
    assert (stream.columns, stream.primary_key, stream.where) == (("a", "b"), ("a", "b"), "x")
    assert stream.on_cursor_null == "include"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"delete": "softly"}, "'softly' is not known: use one of hard, soft"),
        ({"max_delete_percent": 101}, "between 0 and 100"),
        ({"max_delete_percent": float("nan")}, "between 0 and 100"),
        ({"where": "\0"}, "destination_where"),
        ({"synced_at_column": "\0"}, "synced_at_column"),
    ],
)
def test_bad_rules_are_refused(given: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        ReconcileRules(**given)


@pytest.mark.parametrize(
    ("percent", "compared", "absent", "is_refused"),
    [
        (10, 100, 10, False),
        (10, 100, 11, True),
        (0, 100, 1, True),
        (0, 100, 0, False),
        (0.1, 1000, 1, False),
        (99.99, 5, 5, True),
        (100, 5, 5, False),
        (10, 0, 0, False),
    ],
)
def test_the_guard(percent: float, compared: int, absent: int, is_refused: bool) -> None:
    rules = ReconcileRules(max_delete_percent=percent)
    if not is_refused:
        rules.refuse_too_many("t", compared, absent)
        return
    with pytest.raises(DataError, match=f"{absent} of {compared} rows of 't' are not at the source"):
        rules.refuse_too_many("t", compared, absent)


def test_settled_adds_up() -> None:
    assert sum([Settled(1, 2), Settled(3, 0)], Settled()) == Settled(4, 2)
