"""One more entry for a YAML file of syncs, the rest of its text left as it is."""

from __future__ import annotations

import os
import tempfile
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from airflow_etl_sync.errors import ConfigurationError
from airflow_etl_sync.yaml_syncs.checking import check
from airflow_etl_sync.yaml_syncs.reading import read

_INDENT = 2


def add_entry(path: Path, name: str, terms: Mapping[str, Any], *, replacing: bool) -> None:
    """Write a sync into the file, which is made where it is absent; all or nothing.

    :param name: the sync's name
    :param terms: its arguments
    :param replacing: whether a sync of this name may be there already
    :raises ConfigurationError: where one is, or the file would not be right with it
    """
    text = path.read_text(encoding="utf-8") if path.exists() else "syncs:\n"
    with tempfile.TemporaryDirectory(dir=path.parent) as room:
        made = Path(room) / path.name
        made.write_text(_with_entry(path, text, name, terms, replacing=replacing), encoding="utf-8")
        problems = [each.sentence for sync in check(read(made)) if sync.name == name for each in sync.problems]
        if problems:
            raise ConfigurationError(f"The sync {name!r} would be wrong in {path.name}: {' '.join(problems)}")
        if path.exists():
            made.chmod(path.stat().st_mode)
        os.replace(made, path)  # noqa: PTH105 - over what is there


def _with_entry(path: Path, text: str, name: str, terms: Mapping[str, Any], *, replacing: bool) -> str:
    text = text if text.endswith("\n") else text + "\n"
    lines = text.splitlines(keepends=True)
    key, node = _syncs(path, text)
    is_empty = isinstance(node, yaml.ScalarNode) and not node.value
    if not is_empty and (not isinstance(node, yaml.MappingNode) or node.flow_style):
        raise ConfigurationError(f"syncs of {path.name} is not written line by line: add the entry by hand.")
    entries = [] if is_empty else node.value
    indent = entries[0][0].start_mark.column if entries else _INDENT
    begin, end = _place(entries, name, key.start_mark.line + 1 if is_empty else node.end_mark.line)
    if begin < end and not replacing:
        raise ConfigurationError(f"{path.name} has a sync {name!r} already: nothing was written; --force replaces it.")
    entry = yaml.safe_dump({name: dict(terms)}, sort_keys=False, allow_unicode=True, width=110)
    return "".join([*lines[:begin], textwrap.indent(entry, " " * indent), *lines[end:]])


def _syncs(path: Path, text: str) -> tuple[Any, Any]:
    try:
        root = yaml.compose(text, yaml.SafeLoader)
    except yaml.YAMLError:
        raise ConfigurationError(f"{path.name} is no YAML: mend it first.") from None
    pairs = root.value if isinstance(root, yaml.MappingNode) else []
    found = next(((key, node) for key, node in pairs if key.value == "syncs"), None)
    if found is None:
        raise ConfigurationError(f"{path.name} has no key syncs: it is no file of syncs.")
    return found


def _place(entries: list[tuple[Any, Any]], name: str, end: int) -> tuple[int, int]:
    """The lines that the entry takes the place of; none where it is new."""
    starts = [key.start_mark.line for key, _ in entries] + [end]
    for number, (key, _) in enumerate(entries):
        if key.value == name:
            return starts[number], starts[number + 1]
    return end, end
