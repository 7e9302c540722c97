"""Writes down what tasks fail with, where the tests look for it: contexts of callbacks do not tell it everywhere."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from airflow.listeners import hookimpl
from airflow.plugins_manager import AirflowPlugin


@hookimpl
def on_task_instance_failed(task_instance: Any, error: BaseException | str | None) -> None:
    """Take a line for each try that fails."""
    with Path(os.environ["ETL_SYNC_TEST_ERRORS"]).open("a", encoding="utf-8") as notes:
        notes.write(f"{task_instance.task_id}: {error}\n")


class ErrorsPlugin(AirflowPlugin):
    """Brings the listener in."""

    name = "errors_of_tests"
    listeners = [sys.modules[__name__]]  # noqa: RUF012 - Airflow's own attribute
