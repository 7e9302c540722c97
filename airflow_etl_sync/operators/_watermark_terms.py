"""From the arguments of an operator or of a command to the change of a watermark that they ask for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, cast

from airflow_etl_sync.core.watermark_change import ChangeRequest
from airflow_etl_sync.operators import _arguments as arguments

if TYPE_CHECKING:
    from airflow_etl_sync.core.model import CursorType
    from airflow_etl_sync.core.watermark_change import Action


class ChangeArguments(Protocol):
    """What says which watermark is changed, and how."""

    sync_key: Any
    action: Any
    value: Any
    back: Any
    cursor_type: Any
    allow_skipping: Any


def change_request_of(given: ChangeArguments) -> ChangeRequest:
    """Give the change that the arguments describe.

    :raises ConfigurationError: naming the argument that is missing or wrong
    """
    return ChangeRequest(
        sync_key=arguments.as_text("sync_key", given.sync_key),
        action=cast("Action", arguments.as_text("action", given.action)),
        value=arguments.as_cursor_text("value", given.value),
        back=None if arguments.is_absent(given.back) else arguments.as_lag("back", given.back),
        cursor_type=cast("CursorType | None", arguments.as_optional_text("cursor_type", given.cursor_type)),
        allow_skipping=arguments.as_flag("allow_skipping", given.allow_skipping),
    )
