"""``etl-sync status``: how every sync stands, as the page "ETL Sync" shows it."""

from __future__ import annotations

import argparse
import sys
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from airflow_etl_sync.cli import options, output
from airflow_etl_sync.errors import StateError

if TYPE_CHECKING:
    from airflow_etl_sync.plugin.board import Board, Entry
    from airflow_etl_sync.plugin.places import Capture
    from airflow_etl_sync.state.overview import RunRecord

_COLUMNS = (
    "state", "sync_key", "conn_id", "data_as_of", "watermark", "last_run", "processed", "inserted", "updated",
    "skipped", "errors", "duration", "open_failures", "log_kept", "why",
)  # fmt: skip


def add_to(groups: Any) -> None:
    """Add the command to the command's parser."""
    command = groups.add_parser(
        "status", parents=[options.form()], help="how every sync stands: state, watermark, last run, failed records"
    )
    command.add_argument("sync_key", metavar="SYNC_KEY", nargs="?", help="by default all syncs")
    command.add_argument(
        "--conn-id", metavar="ID", help="connection of one database; by default all that the DAGs of this Airflow name"
    )
    command.set_defaults(command=_status)


def _status(given: argparse.Namespace) -> int:
    board = _read(given.conn_id)
    entries = [entry for entry in board.entries if given.sync_key in (None, entry.state.sync_key)]
    if given.sync_key is not None and not entries and not board.unread:
        raise StateError(f"No sync {given.sync_key!r} is known here: see etl-sync status for those that are.")
    now = datetime.now(timezone.utc)
    if given.json:
        output.write_json({"syncs": [_told(entry, now) for entry in entries], "unread": _unread(board)})
    else:
        output.write_table(_COLUMNS, [_row(entry, now) for entry in entries])
    for place in board.unread:
        sys.stderr.write(f"{place.conn_id}: {place.trouble}\n")
    return 1 if board.unread else 0


def _read(conn_id: str | None) -> Board:
    from sqlalchemy.exc import SQLAlchemyError

    from airflow_etl_sync.plugin.board import Everybody, read_board

    try:
        return read_board(Everybody(), [conn_id] if conn_id else [])
    except SQLAlchemyError as error:
        raise StateError(
            f"Airflow's own database, which knows DAGs and schedules, cannot be read here ({type(error).__name__}): "
            "run this where Airflow's scheduler or API server runs."
        ) from None


def _unread(board: Board) -> list[dict[str, Any]]:
    return [
        {"conn_id": place.conn_id, "trouble": place.trouble, "sync_keys": list(place.sync_keys)}
        for place in board.unread
    ]


def _told(entry: Entry, now: datetime) -> dict[str, Any]:
    state, cursor = entry.state, entry.state.cursor
    return {
        "sync_key": state.sync_key,
        "conn_id": entry.conn_id,
        "state": entry.verdict.state,
        "why": entry.verdict.why or None,
        "dag_ids": list(entry.dag_ids),
        "schedules": [schedule.summary for schedule in entry.schedules if schedule.summary],
        "watermark": {"value": cursor.text, "cursor_type": cursor.type} if cursor else None,
        "last_sync": _moment(state.last_sync),
        "data_as_of": _moment(entry.done.started_at) if entry.done else None,
        "lag_seconds": (now - entry.done.started_at).total_seconds() if entry.done else None,
        "last_run": _run(state.runs[0]) if state.runs else None,
        "open_failures": state.open_failures,
        "capture": _capture(entry),
    }


def _run(run: RunRecord) -> dict[str, Any]:
    return {
        "kind": run.kind,
        "status": run.status,
        "dag_id": run.dag_id,
        "run_id": run.run_id,
        "started_at": _moment(run.started_at),
        "finished_at": _moment(run.finished_at),
        "seconds": run.seconds,
        "rows_per_second": run.rows_per_second,
        "counts": run.counts.to_json(),
        "deleted": run.deleted,
    }


def _capture(entry: Entry) -> dict[str, Any] | None:
    if entry.state.slot is None:
        return None
    told: dict[str, Any] = {"slot": entry.state.slot, "position": entry.state.position}
    return told | _health(entry.capture)


def _health(capture: Capture | None) -> dict[str, Any]:
    health = capture.health if capture else None
    return {
        "retained_bytes": health.retained_bytes if health else None,
        "lag_bytes": health.lag_bytes if health else None,
        "wal_status": health.wal_status if health else None,
        "trouble": capture.trouble if capture else "No DAG says which connection has the slot.",
    }


def _row(entry: Entry, now: datetime) -> dict[str, Any]:
    from airflow_etl_sync.plugin.figures import seconds_text, size_text
    from airflow_etl_sync.plugin.freshness import span

    state, run = entry.state, entry.state.runs[0] if entry.state.runs else None
    health = entry.capture.health if entry.capture else None
    counts = run.counts.to_json() if run else {}
    return {
        **{name: counts.get(name) for name in ("processed", "inserted", "updated", "skipped", "errors")},
        "state": entry.verdict.state,
        "sync_key": state.sync_key,
        "conn_id": entry.conn_id,
        "data_as_of": f"{span(now - entry.done.started_at)} ago" if entry.done else None,
        "watermark": state.position or (state.cursor.text if state.cursor else None),
        "last_run": run.status if run else None,
        "duration": seconds_text(run.seconds) if run and run.seconds is not None else None,
        "open_failures": state.open_failures,
        "log_kept": size_text(health.retained_bytes) if health and health.retained_bytes is not None else None,
        "why": entry.verdict.why or None,
    }


def _moment(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat()
