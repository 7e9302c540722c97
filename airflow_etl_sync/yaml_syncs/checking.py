"""Entries → declared syncs: defaults applied, each value checked against the published schema."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow_etl_sync.errors import ConfigurationError
from airflow_etl_sync.yaml_syncs.reading import Entry, Place, Problem, SyncFile, located

if TYPE_CHECKING:
    from jsonschema.protocols import Validator

SCHEMA = Path(__file__).with_name("syncs.schema.json")
"""What an editor checks the file by; here it is asked entry by entry, so that lines and words are of use."""

REQUIRED: dict[str, tuple[str, ...]] = {
    "chain": ("destination_conn_id", "destination_table", "cursor_field"),
    "one_task": ("destination_conn_id", "destination_table", "cursor_field"),
    "reconcile": ("source_conn_id", "destination_conn_id", "destination_table"),
    "cdc": ("source_conn_id", "destination_conn_id"),
}
"""What each kind of sync cannot do without, be it from the entry or from the defaults."""

_LONGEST_SHOWN = 80


@dataclass(frozen=True, slots=True)
class DeclaredSync:
    """One sync of the file.

    :param name: its key, which is its DAG's id
    :param kind: ``chain``, ``one_task``, ``reconcile`` or ``cdc``
    :param line: where its key stands
    :param terms: its arguments and its DAG's, the file's defaults among them
    :param problems: what is wrong with it
    :param lines: where its terms stand
    """

    name: str
    kind: str
    line: int
    terms: Mapping[str, Any]
    problems: tuple[Problem, ...] = ()
    lines: Mapping[str, int] = field(default_factory=dict)

    def line_told_by(self, sentence: str) -> int:
        """The line of the term that a sentence begins with, else that of the sync."""
        return self.lines.get(sentence.partition(" ")[0], self.line)


def is_templated(value: object) -> bool:
    """Whether Jinja has a say in a value, so that nobody knows it before the run."""
    text = str(value) if isinstance(value, (str, Mapping)) else ""
    return "{{" in text or "{%" in text


def check(file: SyncFile) -> list[DeclaredSync]:
    """The syncs of the file, in its order, each with what is wrong with it.

    :raises ConfigurationError: where the defaults have a key that no sync has, which would touch all of them
    """
    known = _schema()["properties"]["defaults"]["properties"]
    for name, place in file.defaults.parts.items():
        if name not in known:
            problem = _unknown(name, place.line, known, "the defaults have")
            raise ConfigurationError(located(file.path, problem))
    syncs = [_declared(entry, file.defaults) for entry in file.entries]
    owners: dict[str, list[DeclaredSync]] = {}
    for sync in syncs:
        owners.setdefault(_owned_key(sync) or "", []).append(sync)
    shared = {sync.name: _shared_key(sync, owners[_owned_key(sync) or ""]) for sync in syncs}
    return [replace(sync, problems=(*_by_line(sync.problems), *shared[sync.name])) for sync in syncs]


def _declared(entry: Entry, defaults: Place) -> DeclaredSync:
    own = entry.place
    if not isinstance(own.value, dict):
        problems = entry.problems or (Problem(own.line, "it must be a mapping."),)
        return DeclaredSync(entry.name, "chain", own.line, {}, problems)
    places = {**defaults.parts, **own.parts}
    kind = places["kind"].value if "kind" in places else "chain"
    if kind not in REQUIRED:
        problem = Problem(places["kind"].line, f"kind {_shown(kind)} is not known: use {', '.join(REQUIRED)}.")
        return DeclaredSync(entry.name, "chain", own.line, {}, (*entry.problems, problem))
    known = _schema()["definitions"][kind]["properties"]
    terms = {name: place.value for name, place in places.items() if name in known and _is_said(name, place)}
    unknown = [
        _unknown(name, place.line, known, f"{kind} has") for name, place in own.parts.items() if name not in known
    ]
    needed = [*(["source_conn_id"] if "source_conn_id" in known and "uri" not in terms else []), *REQUIRED[kind]]
    missing = [name for name in dict.fromkeys(needed) if terms.get(name) is None]
    found = [*entry.problems, *unknown, *_wrong_values(kind, terms, places)]
    if missing and not unknown:  # a misspelt key is not missing too
        found.append(Problem(own.line, f"{', '.join(missing)} is missing."))
    lines = {name: places[name].line for name in terms}
    return DeclaredSync(entry.name, kind, own.line, terms, tuple(found), lines)


def _is_said(name: str, place: Place) -> bool:
    """Whether a term has a value: null takes a default back, but is itself a schedule."""
    return place.value is not None or name == "schedule"


def _wrong_values(kind: str, terms: Mapping[str, Any], places: Mapping[str, Place]) -> Iterator[Problem]:
    told: set[str] = set()
    for error in _validator(kind).iter_errors(terms):
        name = str(error.absolute_path[0])
        if name in told:
            continue
        told.add(name)
        wanted = _terms()[name]["errorMessage"]
        line = places[name].line_of([*error.absolute_path][1:])
        yield Problem(line, f"{name} {wanted}, not {_shown(terms[name])}.")


def _shared_key(sync: DeclaredSync, owners: list[DeclaredSync]) -> Iterator[Problem]:
    key = _owned_key(sync)
    if key is not None and len(owners) > 1:
        other = next(each for each in owners if each is not sync)
        yield Problem(
            sync.line, f"its sync_key {key!r} is that of {other.name!r} (line {other.line}) too: each needs its own."
        )


def _owned_key(sync: DeclaredSync) -> str | None:
    """The watermark that the sync moves; reconciles and backfills name another's, and move none."""
    key = sync.terms.get("sync_key", sync.name)
    is_range = sync.terms.get("range_start") is not None or sync.terms.get("range_end") is not None
    return None if sync.kind == "reconcile" or is_range or is_templated(key) else str(key)


def _by_line(problems: tuple[Problem, ...]) -> list[Problem]:
    return sorted(problems, key=lambda problem: problem.line)


def _unknown(name: object, line: int, known: Mapping[str, Any], whose: str) -> Problem:
    near = get_close_matches(str(name), known, n=1)
    hint = f": did you mean {near[0]}?" if near else "."
    return Problem(line, f"{whose} no key {name}{hint}")


def _shown(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}…"


@cache
def _schema() -> dict[str, Any]:
    schema: dict[str, Any] = json.loads(SCHEMA.read_text(encoding="utf-8"))
    return schema


def _terms() -> dict[str, Any]:
    terms: dict[str, Any] = _schema()["definitions"]["terms"]["properties"]
    return terms


@cache
def _validator(kind: str) -> Validator:
    """The schema's part for one kind; unknown keys are told apart before, with a better word for them."""
    import jsonschema

    known = {name: _terms()[name] for name in _schema()["definitions"][kind]["properties"]}
    return jsonschema.Draft7Validator({"type": "object", "properties": known})
