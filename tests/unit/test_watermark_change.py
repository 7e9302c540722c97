"""What a change of a watermark may ask for, what it is taken from, and who is recorded for it."""

from __future__ import annotations

from datetime import timedelta
from types import SimpleNamespace
from typing import Any, cast, get_args

import pytest

from airflow_etl_sync import ConfigurationError, WatermarkSetOperator
from airflow_etl_sync.core.model import CursorType
from airflow_etl_sync.core.watermark_change import ChangeRequest, Signature
from airflow_etl_sync.operators._watermark_terms import change_request_of
from airflow_etl_sync.state import cursor_values

GIVEN: dict[str, Any] = {
    "sync_key": "orders",
    "action": "set",
    "value": "5",
    "back": None,
    "cursor_type": None,
    "allow_skipping": False,
}


@pytest.mark.parametrize(
    ("given", "asked"),
    [
        ({}, {"action": "set", "value": "5"}),
        ({"back": "None", "cursor_type": "", "allow_skipping": "False"}, {"action": "set", "value": "5"}),
        (
            {"cursor_type": "integer", "allow_skipping": "True"},
            {"action": "set", "value": "5", "cursor_type": "integer", "allow_skipping": True},
        ),
        ({"action": "rewind", "value": "None", "back": "P1D"}, {"action": "rewind", "back": timedelta(days=1)}),
        ({"action": "rewind", "value": None, "back": 5}, {"action": "rewind", "back": 5}),
        ({"action": "reset", "value": ""}, {"action": "reset"}),
    ],
)
def test_arguments_become_a_request(given: dict[str, Any], asked: dict[str, Any]) -> None:
    arguments = cast("Any", SimpleNamespace(**GIVEN | given))
    assert change_request_of(arguments) == ChangeRequest(sync_key="orders", **asked)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"value": None}, "set takes a value"),
        ({"back": "5"}, "set takes a value"),
        ({"action": "rewind", "back": "5"}, "rewind takes either a value to go back to or"),
        ({"action": "rewind", "value": None}, "rewind takes either a value to go back to or"),
        ({"action": "rewind", "value": None, "back": "0"}, "back is nothing"),
        ({"action": "rewind", "value": None, "back": "-5"}, "back must be a duration"),
        ({"action": "reset"}, "reset takes neither"),
        ({"action": "delete"}, "action 'delete' is not known"),
        ({"cursor_type": "money"}, "cursor_type 'money' is not known"),
        ({"value": "5\x1b[31m"}, "value holds a character that cannot be printed"),
        ({"sync_key": "\udcff"}, "sync_key holds a character that cannot be printed"),
        ({"sync_key": "k" * 251}, "at most 250 characters"),
        ({"sync_key": " "}, "sync_key must be a text that is not empty"),
        ({"allow_skipping": "perhaps"}, "allow_skipping must be true or false"),
    ],
)
def test_a_request_that_makes_no_sense_is_refused(given: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        change_request_of(cast("Any", SimpleNamespace(**GIVEN | given)))


def test_every_type_of_cursor_can_be_judged() -> None:
    assert set(cursor_values._TYPES) == set(get_args(CursorType))


def test_a_signature_is_one_line() -> None:
    assert Signature(by=" ada\t", reason="because\n  of\u00a0May\n").reason == "because of May"


@pytest.mark.parametrize(
    ("by", "reason", "said"),
    [
        ("", "because", "by is empty"),
        ("ada", " \n", "reason is empty"),
        ("a" * 251, "because", "by is longer than 250 characters"),
        ("ada\0", "because", "by holds a character that cannot be printed"),
        ("ada", "\x1b[2J", "reason holds a character that cannot be printed"),
    ],
)
def test_a_signature_says_who_and_why(by: str, reason: str, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        Signature(by=by, reason=reason)


@pytest.mark.parametrize(
    ("by", "run", "who"),
    [
        (None, {"triggering_user_name": "ada"}, "ada"),
        ("None", {"triggering_user_name": None}, "tools"),
        (None, {}, "tools"),
        ("bob", {"triggering_user_name": "ada"}, "bob"),
    ],
)
def test_a_run_is_signed_by_who_triggered_it_or_by_its_dag(by: Any, run: dict[str, Any], who: str) -> None:
    operator = WatermarkSetOperator(task_id="t", sync_key="orders", state_conn_id="w", reason="because", by=by)
    task = SimpleNamespace(dag_id="tools", run_id="manual 1", task_id="t", map_index=-1)
    signature = operator._signature(cast("Any", {"ti": task, "dag_run": SimpleNamespace(**run)}))
    assert signature == Signature(by=who, reason="because", request="tools manual 1 t -1")
