"""``etl-sync failed``: list and replay the rows that could not be loaded."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from airflow_etl_sync.cli import options, output

if TYPE_CHECKING:
    from airflow_etl_sync.state.failed_records import StoredRecord

_COLUMNS = ("id", "sync_key", "table", "sqlstate", "failures", "failed_at")
_VALUES = ("key", "error", "payload")


def add_to(groups: Any) -> None:
    """Add the group to the command's parser."""
    group = groups.add_parser("failed", help="rows that could not be loaded: list, replay")
    commands = group.add_subparsers(title="commands", metavar="COMMAND", required=True)
    every = options.place_and_form()

    listing = commands.add_parser("list", parents=[every], help="the failed records that are open, oldest first")
    listing.add_argument("sync_key", metavar="SYNC_KEY", nargs="?", help="by default those of all syncs")
    listing.add_argument("--values", action="store_true", help="show people's data too: keys, errors and payloads")
    listing.set_defaults(command=_list)

    replaying = commands.add_parser("replay", parents=[every], help="load them, now that they have been mended")
    replaying.add_argument("sync_key", metavar="SYNC_KEY")
    replaying.set_defaults(command=_replay)


def _list(given: argparse.Namespace) -> None:
    from airflow_etl_sync.journey.failed_records import find

    rows = [_row(record, with_values=given.values) for record in find(options.engine_of(given), given.sync_key)]
    if given.json:
        output.write_json([{**row, "failed_at": row["failed_at"].isoformat()} for row in rows])
    else:
        output.write_table((*_COLUMNS, *_VALUES) if given.values else _COLUMNS, rows)


def _row(stored: StoredRecord, *, with_values: bool) -> dict[str, Any]:
    known = (stored.id, stored.sync_key, stored.target, stored.record.sqlstate, stored.failures, stored.failed_at)
    row = dict(zip(_COLUMNS, known, strict=True))
    values = (list(stored.record.key), stored.record.error, stored.record.payload)
    return row | (dict(zip(_VALUES, values, strict=True)) if with_values else {})


def _replay(given: argparse.Namespace) -> None:
    from airflow_etl_sync.core.model import RunIdentity
    from airflow_etl_sync.hooks.connections import postgres_access
    from airflow_etl_sync.hooks.replaying import destinations_by, places_of
    from airflow_etl_sync.journey.failed_records import replay_all

    access = postgres_access(given.conn_id)
    identity = RunIdentity("etl-sync", "failed replay", uuid4().hex)
    destination_of = destinations_by(access, places_of(access, given.sync_key))
    counts = replay_all(destination_of, access.engine(), given.sync_key, identity)
    if given.json:
        output.write_json(counts.to_json())
    else:
        output.write_table(tuple(counts.to_json()), [counts.to_json()])
