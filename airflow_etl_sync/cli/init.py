"""``etl-sync init``: look at a table, and write the DAG file or the YAML entry that keeps a copy of it in step."""

from __future__ import annotations

import argparse
import re
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow_etl_sync.cli import options, output
from airflow_etl_sync.cli.dag_file import dag_file
from airflow_etl_sync.core.model import TableName
from airflow_etl_sync.errors import ConfigurationError, SchemaError, SourceError, explaining
from airflow_etl_sync.operators import _arguments as arguments

if TYPE_CHECKING:
    from airflow_etl_sync.systems.postgres.proposal import Choice

_NAME = re.compile(r"[\w.-]{1,200}", re.ASCII)


def add_to(groups: Any) -> None:
    """Add the command to the command's parser."""
    command = groups.add_parser(
        "init", parents=[options.form()], help="write a DAG file or a YAML entry for a table, its arguments chosen"
    )
    command.add_argument("--source-conn-id", required=True, metavar="ID", help="connection to read from")
    command.add_argument("--destination-conn-id", required=True, metavar="ID", help="connection to load into")
    command.add_argument("--table", required=True, metavar="TABLE", help="the table to read (schema.table)")
    command.add_argument("--destination-table", metavar="TABLE", help="by default of the same name")
    command.add_argument("--sync-key", metavar="NAME", help="name of the sync and its DAG; by default the table's")
    command.add_argument("--schedule", default="@hourly", metavar="WHEN", help="by default @hourly")
    command.add_argument("--primary-key", metavar="COLUMNS", help="in place of what would be chosen")
    command.add_argument("--cursor-field", metavar="COLUMN", help="in place of what would be chosen")
    place = command.add_mutually_exclusive_group(required=True)
    place.add_argument("--dag", type=Path, metavar="FILE", help="write this DAG file")
    place.add_argument("--yaml", type=Path, metavar="FILE", help="write an entry of this file of dags_from_yaml")
    command.add_argument("--force", action="store_true", help="overwrite the DAG file, or the entry of that name")
    command.set_defaults(command=_init)


def _init(given: argparse.Namespace) -> None:
    path: Path = given.dag or given.yaml
    if not path.parent.is_dir():
        raise ConfigurationError(f"There is no folder {str(path.parent)!r} to write {path.name} into.")
    table = TableName.parse(given.table)
    name = _name(given.sync_key, table)
    choices = _choices(given, table)
    terms = {
        "source_conn_id": given.source_conn_id,
        "table": str(table),
        "destination_conn_id": given.destination_conn_id,
        "destination_table": given.destination_table or str(table),
        **{each.argument: _plain(each.value) for each in choices if each.value is not None},
    }
    _refuse_templates(terms)
    _write(given, path, name, terms)
    _tell(given, path, name, choices)


def _name(given: str | None, table: TableName) -> str:
    name = given or (table.name if table.schema in (None, "public") else f"{table.schema}.{table.name}")
    if not _NAME.fullmatch(name):
        raise ConfigurationError(f"{name!r} cannot be the id of a DAG: say with --sync-key what it is to be called.")
    return name


def _choices(given: argparse.Namespace, table: TableName) -> list[Choice]:
    from airflow_etl_sync.hooks.connections import postgres_access
    from airflow_etl_sync.systems.postgres.facts import read_facts, read_view_of_others
    from airflow_etl_sync.systems.postgres.proposal import propose

    access = postgres_access(given.source_conn_id).hasty()
    with explaining(SourceError, f"look at the table {str(table)!r}"), closing(access.connect()) as connection:
        facts = read_facts(connection, table)
        others = read_view_of_others(connection)
    if facts is None:
        raise SchemaError(f"The source has no table {str(table)!r}, or this login may not see its schema.")
    key = arguments.as_names("primary_key", given.primary_key)
    return propose(facts, others, primary_key=key, cursor_field=given.cursor_field)


def _plain(value: str | tuple[str, ...]) -> str | list[str]:
    return value if isinstance(value, str) else list(value)


def _refuse_templates(terms: dict[str, Any]) -> None:
    """Arguments are templates: a name with Jinja's signs, or of a file, would become something else."""
    for value in terms.values():
        for text in [value] if isinstance(value, str) else value:
            if "{{" in text or "{%" in text or "{#" in text or text.endswith(".sql"):
                raise ConfigurationError(f"{text!r} would be taken for a template: write this sync by hand.")


def _write(given: argparse.Namespace, path: Path, name: str, terms: dict[str, Any]) -> None:
    from airflow_etl_sync.yaml_syncs.adding import add_entry

    if given.yaml:
        add_entry(path, name, {**terms, "schedule": given.schedule}, replacing=given.force)
        return
    text = dag_file(name, given.schedule, {"sync_key": name, **terms})
    try:
        with path.open("w" if given.force else "x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise ConfigurationError(f"{path} is there already: nothing was written; --force overwrites it.") from None


def _tell(given: argparse.Namespace, path: Path, name: str, choices: list[Choice]) -> None:
    rows = [{"argument": each.argument, "value": each.value, "why": each.why} for each in choices]
    if given.json:
        output.write_json({"file": str(path), "sync_key": name, "chosen": rows})
        return
    shown = [{**row, "value": _shown(row["value"])} for row in rows]
    note = "" if given.dag else "; a DAG file beside it calls dags_from_yaml, see dags/sync_factory.py"
    output.write_table(("argument", "value", "why"), shown, title=f"Wrote the sync {name} into {path}{note}.")


def _shown(value: object) -> object:
    return ", ".join(value) if isinstance(value, tuple) else value
