"""What people do to a watermark: what is asked for, who asks and why, and what came of it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal, get_args

from airflow_etl_sync.core.model import CursorType, CursorValue, refuse_unknown
from airflow_etl_sync.errors import ConfigurationError

Action = Literal["set", "rewind", "reset"]

_LONGEST_NAME = 250


def refuse_unprintable(name: str, text: str | None) -> None:
    """Keep out what no database stores, and what would play tricks on the terminal that shows it.

    :raises ConfigurationError: naming what holds such a character
    """
    if text is not None and not text.isprintable():
        raise ConfigurationError(f"{name} holds a character that cannot be printed: remove it.")


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeRequest:
    """A change of one watermark.

    :param action: ``set`` moves it to a value, ``rewind`` to a lower one, ``reset`` forgets it, as if the sync had
        never run
    :param value: where the next window is to start; exactly one of ``value`` and ``back`` for a rewind
    :param back: how far back: a duration, or a number for integer and numeric cursors
    :param cursor_type: needed by the ``set`` of a sync without a watermark, else known
    :param allow_skipping: whether a ``set`` may pass over rows that have not been read
    """

    sync_key: str
    action: Action
    value: str | None = None
    back: timedelta | int | None = None
    cursor_type: CursorType | None = None
    allow_skipping: bool = False

    def __post_init__(self) -> None:
        refuse_unprintable("sync_key", self.sync_key)
        refuse_unprintable("value", self.value)
        refuse_unknown("action", self.action[:80], get_args(Action))
        if self.cursor_type is not None:
            refuse_unknown("cursor_type", self.cursor_type[:80], get_args(CursorType))
        if not 0 < len(self.sync_key.strip()) <= len(self.sync_key) <= _LONGEST_NAME:
            raise ConfigurationError(f"sync_key must be a name of at most {_LONGEST_NAME} characters.")
        if self.action == "set" and (self.value is None or self.back is not None):
            raise ConfigurationError("set takes a value, the one at which the next run is to start, and no back.")
        if self.action == "rewind" and (self.value is None) == (self.back is None):
            raise ConfigurationError("rewind takes either a value to go back to or, with back, how far to go back.")
        if self.action == "reset" and (self.value is not None or self.back is not None):
            raise ConfigurationError("reset takes neither value nor back: it forgets the watermark.")
        if self.back is not None and not self.back:
            raise ConfigurationError("back is nothing: say how far to go back.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Signature:
    """Who changes a watermark, and why.

    :param reason: a sentence for those who wonder later; its blanks and line breaks become single blanks
    :param request: the run of a task that asks; it is granted one change, however often it is tried
    """

    by: str
    reason: str
    request: str | None = None

    def __post_init__(self) -> None:
        for name in ("by", "reason"):
            text = " ".join(getattr(self, name).split())
            if not text:
                raise ConfigurationError(f"{name} is empty: every change of a watermark is recorded with who and why.")
            refuse_unprintable(name, text)
            object.__setattr__(self, name, text)
        if len(self.by) > _LONGEST_NAME:
            raise ConfigurationError(f"by is longer than {_LONGEST_NAME} characters: shorten it.")


@dataclass(frozen=True, slots=True, kw_only=True)
class WatermarkChange:
    """A change that was made, as it is recorded.

    :param old: where the next window would have started; None stands for the beginning
    :param new: where it starts instead
    """

    sync_key: str
    action: Action
    old: CursorValue | None
    new: CursorValue | None
    changed_by: str
    reason: str
    changed_at: datetime

    def to_json(self) -> dict[str, Any]:
        """The change under the names that the table has for it."""
        return {
            "sync_key": self.sync_key,
            "action": self.action,
            "old_value": self.old.text if self.old else None,
            "old_type": self.old.type if self.old else None,
            "new_value": self.new.text if self.new else None,
            "new_type": self.new.type if self.new else None,
            "changed_by": self.changed_by,
            "reason": self.reason,
            "changed_at": self.changed_at.isoformat(),
        }
