"""``etl-sync watermark``: list, show, set, rewind, reset."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any, get_args

from airflow_etl_sync.cli import options, output
from airflow_etl_sync.core.model import CursorType
from airflow_etl_sync.operators._watermark_terms import change_request_of

if TYPE_CHECKING:
    from airflow_etl_sync.core.watermark_change import WatermarkChange
    from airflow_etl_sync.state.watermarks import Standing

_STANDING = ("sync_key", "value", "cursor_type", "last_sync")
_CHANGE = ("action", "old_value", "new_value", "changed_by", "reason", "changed_at")

_NOT_ASKED = {"value": None, "back": None, "cursor_type": None, "allow_skipping": False}


def add_to(groups: Any) -> None:
    """Add the group to the command's parser."""
    group = groups.add_parser("watermark", help="where syncs stand: list, show, set, rewind, reset")
    commands = group.add_subparsers(title="commands", metavar="COMMAND", required=True)
    every, changing = options.place_and_form(), options.signature()

    listing = commands.add_parser("list", parents=[every], help="all watermarks of a database")
    listing.set_defaults(command=_list)

    showing = commands.add_parser("show", parents=[every], help="one watermark, and its last changes by people")
    showing.set_defaults(command=_show)

    setting = commands.add_parser("set", parents=[every, changing], help="let the next run start at a value")
    setting.add_argument("--value", required=True, help="where to start; a moment without a zone is taken as UTC")
    setting.add_argument("--cursor-type", choices=get_args(CursorType), help="needed where there is no watermark yet")
    setting.add_argument("--skip", dest="allow_skipping", action="store_true", help="pass over rows not read yet")

    rewinding = commands.add_parser("rewind", parents=[every, changing], help="let the next run start further back")
    target = rewinding.add_mutually_exclusive_group(required=True)
    target.add_argument("--value", help="the lower value to start at; a moment without a zone is taken as UTC")
    target.add_argument("--back", metavar="DISTANCE", help="how far back: P7D, PT1H, or a number for a numeric cursor")

    resetting = commands.add_parser("reset", parents=[every, changing], help="let the next run start as the first did")
    for command in (showing, setting, rewinding, resetting):
        command.add_argument("sync_key", metavar="SYNC_KEY")
    for action, command in (("set", setting), ("rewind", rewinding), ("reset", resetting)):
        command.set_defaults(command=_change, action=action)


def _list(given: argparse.Namespace) -> None:
    from airflow_etl_sync.journey.watermark import list_all

    found = list_all(options.engine_of(given))
    if given.json:
        output.write_json([standing.to_json() for standing in found])
    else:
        output.write_table(_STANDING, [_row(standing) for standing in found])


def _show(given: argparse.Namespace) -> None:
    from airflow_etl_sync.journey.watermark import show

    found = show(options.engine_of(given), given.sync_key)
    if given.json:
        output.write_json(found.to_json())
        return
    output.write_table(_STANDING, [_row(found.standing)])
    if found.changes:
        rows = [_row(change) for change in found.changes]
        output.write_table(_CHANGE, rows, title="\nchanged by people, the newest first")


def _change(given: argparse.Namespace) -> None:
    from airflow_etl_sync.journey.watermark import change

    asked = argparse.Namespace(**{**_NOT_ASKED, **vars(given)})
    request, signature = change_request_of(asked), options.signature_of(given)
    made = change(options.engine_of(given), request, signature)
    if given.json:
        output.write_json(made.to_json())
    else:
        output.write_table(("sync_key", *_CHANGE), [_row(made)])


def _row(told: Standing | WatermarkChange) -> dict[str, Any]:
    """What is told, its moments not yet as text."""
    moments = {name: getattr(told, name) for name in ("last_sync", "changed_at") if hasattr(told, name)}
    return {**told.to_json(), **moments}
