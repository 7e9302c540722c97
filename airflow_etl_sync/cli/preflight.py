"""``etl-sync preflight``: whether a sync, or a capture of changes, can run, and if not, why and how that is mended."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from airflow_etl_sync.cli import options, output
from airflow_etl_sync.core.finding import Finding
from airflow_etl_sync.core.model import TableName
from airflow_etl_sync.errors import EtlSyncError
from airflow_etl_sync.operators import _arguments as arguments

if TYPE_CHECKING:
    from airflow_etl_sync.systems.postgres.access import PostgresAccess
    from airflow_etl_sync.systems.postgres.preflight import WantedSync

_OF_SYNC = ("destination_conn_id", "table", "cursor_field")
_OF_CAPTURE = ("slot", "publication", "tables")


def add_to(groups: Any) -> None:
    """Add the command to the command's parser."""
    command = groups.add_parser(
        "preflight", parents=[options.form()], help="whether a sync or a capture can run, before its first run"
    )
    place = command.add_mutually_exclusive_group(required=True)
    place.add_argument("--source-conn-id", metavar="ID", help="connection to read from, of an incremental sync")
    place.add_argument("--cdc-conn-id", metavar="ID", help="connection of a capture of changes")
    sync = command.add_argument_group("of a sync")
    sync.add_argument("--destination-conn-id", metavar="ID", help="connection to load into")
    sync.add_argument("--table", metavar="TABLE", help="the table to read (schema.table)")
    sync.add_argument("--cursor-field", metavar="COLUMN", help="the column that grows when a row changes, or xmin")
    sync.add_argument("--primary-key", metavar="COLUMNS", help="by default the table's own key")
    sync.add_argument("--destination-table", metavar="TABLE", help="by default of the same name")
    sync.add_argument("--lag", metavar="LAG", help="how far the watermark is to stay behind: PT5M, or a number")
    capture = command.add_argument_group("of a capture, where the connection's own form does not say it")
    capture.add_argument("--slot", metavar="NAME")
    capture.add_argument("--publication", metavar="NAME")
    capture.add_argument("--tables", metavar="TABLES")
    command.set_defaults(command=_preflight, refuse=command.error)


def _preflight(given: argparse.Namespace) -> int:
    _refuse_mixed(given)
    findings = _of_capture(given) if given.cdc_conn_id else _of_sync(given)
    is_ready = not any(finding.is_error for finding in findings)
    if given.json:
        output.write_json({"is_ready": is_ready, "findings": [_told(finding) for finding in findings]})
    else:
        rows = [{"": "note" if not each.is_error else "amiss", "finding": str(each)} for each in findings]
        verdict = "Ready." if is_ready else "Not ready."
        output.write_table(("", "finding"), rows, title=verdict)
    return 0 if is_ready else 1


def _refuse_mixed(given: argparse.Namespace) -> None:
    """Leave with the code of wrong usage where options are missing, or belong to the other kind."""
    wanted, foreign = (_OF_CAPTURE, _OF_SYNC) if given.cdc_conn_id else (_OF_SYNC, _OF_CAPTURE)
    missing = [] if given.cdc_conn_id else [name for name in wanted if getattr(given, name) is None]
    if missing:
        given.refuse(f"a sync needs {', '.join(map(_option, missing))} too")
    misplaced = [name for name in foreign if getattr(given, name) is not None]
    if misplaced:
        given.refuse(f"{', '.join(map(_option, misplaced))} does not go with this")


def _option(name: str) -> str:
    return "--" + name.replace("_", "-")


def _told(finding: Finding) -> dict[str, Any]:
    return {
        "code": finding.code,
        "sentence": finding.sentence,
        "mending": finding.mending,
        "is_error": finding.is_error,
    }


def _of_sync(given: argparse.Namespace) -> list[Finding]:
    from airflow_etl_sync.systems.postgres.preflight import ExaminedSource, examine_destination, examine_source

    wanted = _wanted(given)
    findings: list[Finding] = []
    source = ExaminedSource(())
    try:
        source = examine_source(_access(given.source_conn_id), wanted)
        findings += source.findings
    except EtlSyncError as error:
        findings.append(_unusable("source", given.source_conn_id, error))
    try:
        findings += examine_destination(_access(given.destination_conn_id), wanted, source)
    except EtlSyncError as error:
        findings.append(_unusable("destination", given.destination_conn_id, error))
    return findings


def _wanted(given: argparse.Namespace) -> WantedSync:
    from airflow_etl_sync.systems.postgres.preflight import WantedSync

    table = TableName.parse(given.table)
    return WantedSync(
        table=table,
        destination_table=TableName.parse(given.destination_table) if given.destination_table else table,
        cursor_field=arguments.as_text("cursor_field", given.cursor_field),
        primary_key=arguments.as_names("primary_key", given.primary_key),
        lag=arguments.as_lag("lag", given.lag),
    )


def _access(conn_id: str) -> PostgresAccess:
    from airflow_etl_sync.hooks.connections import postgres_access

    return postgres_access(conn_id).hasty()


def _unusable(side: str, conn_id: str, error: EtlSyncError) -> Finding:
    return Finding(f"{side}_unusable", str(error).rstrip("."), f"mend the connection {conn_id!r} or its server")


def _of_capture(given: argparse.Namespace) -> Sequence[Finding]:
    """What is amiss; what the first set-up mends is worth knowing only."""
    from airflow_etl_sync.hooks.logs import cdc_hook_of

    hook = cdc_hook_of(given.cdc_conn_id, slot=given.slot, publication=given.publication, tables=given.tables)
    found = hook.change_log().preflight(hook.tables())
    return [
        Finding(each.code, each.sentence, each.mending, each.is_error and not each.is_mended_by_setting_up)
        for each in found
    ]
