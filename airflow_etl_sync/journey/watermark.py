"""A person's hand on the watermark: show it, set it, rewind it, reset it."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Engine

from airflow_etl_sync.core.model import CursorType, CursorValue
from airflow_etl_sync.core.watermark_change import ChangeRequest, Signature, WatermarkChange, refuse_unprintable
from airflow_etl_sync.errors import ConfigurationError, DestinationError, StateError, explaining
from airflow_etl_sync.state import cursor_values, runs, tables, watermark_changes, watermarks
from airflow_etl_sync.state.watermarks import Standing, Watermark

log = logging.getLogger(__name__)

_CHANGES_SHOWN = 20


@dataclass(frozen=True, slots=True)
class Shown:
    """Where a sync stands, and the last changes that people made, the newest first."""

    standing: Standing
    changes: list[WatermarkChange]

    def to_json(self) -> dict[str, Any]:
        return {**self.standing.to_json(), "changes": [change.to_json() for change in self.changes]}


def show(state: Engine, sync_key: str) -> Shown:
    """One watermark and what people did to it.

    :raises StateError: where the database has none of that name
    """
    refuse_unprintable("sync_key", sync_key)
    _prepare(state)
    with explaining(DestinationError, "read the watermark"), state.begin() as connection:
        found = watermarks.standings(connection, [sync_key])
        if not found:
            raise _unknown(sync_key)
        return Shown(found[0], watermark_changes.latest(connection, sync_key, _CHANGES_SHOWN))


def list_all(state: Engine) -> list[Standing]:
    """All watermarks of a database, by name.

    :raises StateError: where it has no state tables
    """
    _prepare(state)
    with explaining(DestinationError, "read the watermarks"), state.begin() as connection:
        return watermarks.standings(connection)


def preview(state: Engine, request: ChangeRequest) -> tuple[CursorValue | None, CursorValue | None]:
    """The old and the new value that :func:`change` would record now; nothing is changed.

    :raises EtlSyncError: as :func:`change`
    """
    _prepare(state)
    with explaining(DestinationError, "read the watermark"), state.begin() as connection:
        cursor_values.pin_settings(connection)
        found = watermarks.standings(connection, [request.sync_key])
        if not found and not (request.action == "reset" and runs.has_run(connection, request.sync_key)):
            raise _unknown(request.sync_key)
        old = found[0].watermark.cursor if found else None
        return old, _new_value(connection, request, old)


def change(state: Engine, request: ChangeRequest, signature: Signature) -> WatermarkChange:
    """Change a watermark and record it, both or neither.

    The next run starts exactly at the new value. A run that has begun before ends with a StateError when it is to
    move the watermark; the rows that it has loaded stay. Two people at once take turns.

    :raises ConfigurationError: where the value does not fit the cursor, or would skip rows without leave
    :raises StateError: where there is no such watermark
    """
    key = request.sync_key
    _prepare(state, may_create=request.action == "set")
    with explaining(DestinationError, "change the watermark"), state.begin() as connection:
        cursor_values.pin_settings(connection)
        old = _locked(connection, request).cursor
        made = watermark_changes.find(connection, key, signature.request)
        if made is not None:
            log.info("The watermark of %s was changed by an earlier try of this task: it stays as it is", key)
            return made
        new = _new_value(connection, request, old)
        watermarks.force(connection, key, new)
        made = watermark_changes.record(connection, key, request.action, old, new, signature)
    log.info("Watermark of %s: %s from %s to %s by %s", key, request.action, _said(old), _said(new), signature.by)
    return made


def _prepare(state: Engine, *, may_create: bool = False) -> None:
    """Bring the state tables up to date; whoever only looks, or mistook the database, creates none."""
    if not may_create and not tables.are_there(state):
        raise StateError("This database has no state tables: give the connection of the database that is loaded.")
    tables.ensure(state)


def _locked(connection: Connection, request: ChangeRequest) -> Watermark:
    """Lock the watermark; ``set`` may be the first to name a sync, and ``reset`` may come before a first run ends."""
    key = request.sync_key
    found = watermarks.lock(connection, key)
    if found is not None:
        return found
    if request.action == "rewind" or (request.action == "reset" and not runs.has_run(connection, key)):
        raise _unknown(key)
    watermarks.create(connection, key)
    return watermarks.lock(connection, key) or Watermark()


def _new_value(connection: Connection, request: ChangeRequest, old: CursorValue | None) -> CursorValue | None:
    if request.action == "reset":
        return None
    if request.action == "rewind":
        return _rewound(connection, request, old)
    value = cursor_values.read(connection, _cursor_type(request, old), request.value or "")
    if not request.allow_skipping and not _is_covered(connection, value, old):
        raise ConfigurationError(
            f"The value is above the watermark of {request.sync_key!r}, which is {_said(old)}: the rows between would "
            "never be read. If they shall be skipped, say so (allow_skipping, --skip)."
        )
    return value


def _rewound(connection: Connection, request: ChangeRequest, old: CursorValue | None) -> CursorValue:
    if old is None:
        raise StateError(f"The next run of {request.sync_key!r} starts at the beginning: nothing lies before that.")
    if request.back is not None:
        return cursor_values.go_back(connection, old, request.back)
    value = cursor_values.read(connection, _cursor_type(request, old), request.value or "")
    if not cursor_values.is_below(connection, value, old):
        raise ConfigurationError(
            f"The value is not below the watermark of {request.sync_key!r}, which is {_said(old)}: rewind goes back "
            "only, set goes anywhere."
        )
    return value


def _is_covered(connection: Connection, value: CursorValue, old: CursorValue | None) -> bool:
    """Whether everything below a value has been read."""
    if old is None:
        return False
    return cursor_values.is_same(connection, value, old) or cursor_values.is_below(connection, value, old)


def _cursor_type(request: ChangeRequest, old: CursorValue | None) -> CursorType:
    if old is None and request.cursor_type is None:
        raise ConfigurationError(f"{request.sync_key!r} has no watermark yet: give the cursor_type of the value too.")
    if old is not None and request.cursor_type not in (None, old.type):
        raise ConfigurationError(
            f"The watermark of {request.sync_key!r} is of type {old.type}, not {request.cursor_type}: reset it first "
            "if the cursor has changed."
        )
    return old.type if old is not None else request.cursor_type or "text"


def _unknown(sync_key: str) -> StateError:
    return StateError(f"{sync_key!r} has no watermark in this database: correct the sync_key or the connection.")


def _said(value: CursorValue | None) -> str:
    return value.text if value else "the beginning"
