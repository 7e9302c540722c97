"""YAML text → entries that know on which line each of their values stands."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from airflow_etl_sync.errors import ConfigurationError

_SafeLoader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _Loader(_SafeLoader):  # type: ignore[misc]
    """YAML's own types as of version 1.2, as editors read them: ``on`` is a text, and so are 1:30 and 2026-01-31."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 - PyYAML's own attribute


for _tag, _pattern, _first in (
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("int", r"[-+]?(0|[1-9][0-9]*)", "-+0123456789"),
    ("float", r"[-+]?(0|[1-9][0-9]*)\.[0-9]+", "-+0123456789"),
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("merge", r"<<", "<"),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(rf"(?:{_pattern})\Z"), list(_first))


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong with an entry.

    :param line: where, counted from 1
    :param sentence: what, naming the key
    """

    line: int
    sentence: str


@dataclass(frozen=True, slots=True)
class Place:
    """A value and the lines of its parts.

    :param line: where its key stands, counted from 1
    :param value: what YAML makes of it
    :param parts: the places inside of a mapping, by key, or of a list, by number
    """

    line: int
    value: Any
    parts: Mapping[Any, Place] = field(default_factory=dict)

    def line_of(self, path: Sequence[Any]) -> int:
        """The line of what lies at the end of a path, or of the last thing on the way there."""
        if not path or path[0] not in self.parts:
            return self.line
        return self.parts[path[0]].line_of(path[1:])


@dataclass(frozen=True, slots=True)
class Entry:
    """A sync as the file has it, the file's defaults not yet applied.

    :param name: its key
    :param place: where it stands
    :param problems: what is wrong with the YAML itself: a key given twice
    """

    name: str
    place: Place
    problems: tuple[Problem, ...]


@dataclass(frozen=True, slots=True)
class SyncFile:
    """The file: what holds for all of its syncs, and each of them."""

    path: Path
    defaults: Place
    entries: tuple[Entry, ...]


def located(path: Path, problem: Problem) -> str:
    """A problem's sentence with file and line before it."""
    return f"{path.name}, line {problem.line}: {problem.sentence}"


def read(path: Path) -> SyncFile:
    """Read a file of syncs.

    :param path: where it is; relative to the process's working directory it is not taken, since nobody knows which
        that is
    :raises ConfigurationError: naming file and line, where the file cannot be read as a whole: it is absent, no YAML,
        has other parts than ``defaults`` and ``syncs``, or a key of theirs is given twice
    """
    if not path.is_absolute():
        raise ConfigurationError(
            f"{str(path)!r} is not a full path: give one, such as Path(__file__).with_name({path.name!r})."
        )
    loader, root = _compose(path)
    if not isinstance(root, yaml.MappingNode):
        raise ConfigurationError(located(path, Problem(1, "the file must be a mapping with the key syncs.")))
    parts = _parts(path, root, "the file", known=("defaults", "syncs"))
    if "syncs" not in parts:
        raise ConfigurationError(located(path, Problem(1, "the key syncs is missing.")))
    defaults = parts.get("defaults")
    if defaults is not None:
        _parts(path, defaults[1], "defaults")
    entries = _entries(path, loader, parts["syncs"][1])
    return SyncFile(path, Place(1, {}) if defaults is None else _placed(loader, *defaults), entries)


def _compose(path: Path) -> tuple[Any, Any]:
    try:
        loader = _Loader(path.read_text(encoding="utf-8"))
        return loader, loader.get_single_node()
    except OSError as error:
        raise ConfigurationError(f"{str(path)!r} cannot be read ({error.strerror}).") from None
    except UnicodeDecodeError:
        raise ConfigurationError(f"{path.name} is not a text in UTF-8.") from None
    except yaml.YAMLError as error:
        raise ConfigurationError(located(path, _problem_of(error))) from None


def _problem_of(error: yaml.YAMLError) -> Problem:
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    said = getattr(error, "problem", None) or "it holds characters that YAML does not allow"
    return Problem(mark.line + 1 if mark else 1, f"the file is no YAML: {said}.")


def _parts(path: Path, node: Any, what: str, known: tuple[str, ...] = ()) -> dict[str, tuple[Any, Any]]:
    """Key node and value node of each key of a mapping that the whole file depends on."""
    if not isinstance(node, yaml.MappingNode):
        raise ConfigurationError(located(path, Problem(_line(node), f"{what} must be a mapping.")))
    parts: dict[str, tuple[Any, Any]] = {}
    for key, value in node.value:
        if key.value in parts:
            raise ConfigurationError(located(path, Problem(_line(key), f"{what} has the key {key.value} twice.")))
        if known and key.value not in known:
            raise ConfigurationError(
                located(path, Problem(_line(key), f"{what} has no key {key.value}: it has {' and '.join(known)}."))
            )
        parts[key.value] = (key, value)
    return parts


def _entries(path: Path, loader: Any, node: Any) -> tuple[Entry, ...]:
    if not isinstance(node, yaml.MappingNode):
        raise ConfigurationError(located(path, Problem(_line(node), "syncs must be a mapping of names to syncs.")))
    found: dict[str, list[tuple[Any, Any]]] = {}
    for key, value in node.value:
        found.setdefault(str(key.value), []).append((key, value))
    # before anything is constructed: that merges what "<<" names into the mappings
    problems = {name: (*_repeated(places), *_doubled(places[0][1])) for name, places in found.items()}
    return tuple(_entry(loader, name, places[0], problems[name]) for name, places in found.items())


def _repeated(places: list[tuple[Any, Any]]) -> Iterator[Problem]:
    if len(places) > 1:
        lines = [_line(key) for key, _ in places]
        yield Problem(lines[1], f"the sync is there more than once, on the lines {', '.join(map(str, lines))}.")


def _entry(loader: Any, name: str, place: tuple[Any, Any], problems: tuple[Problem, ...]) -> Entry:
    try:
        return Entry(name, _placed(loader, *place), problems)
    except yaml.YAMLError as error:
        return Entry(name, Place(_line(place[0]), None), (*problems, _problem_of(error)))


def _doubled(node: Any, looked_at: tuple[Any, ...] = ()) -> Iterator[Problem]:
    """The keys that a mapping, or one inside of it, has twice: YAML would silently take the last."""
    if not isinstance(node, yaml.CollectionNode) or node in looked_at:
        return
    pairs = node.value if isinstance(node, yaml.MappingNode) else [(None, child) for child in node.value]
    seen: set[str] = set()
    for key, value in pairs:
        if key is not None and str(key.value) in seen:
            yield Problem(_line(key), f"the key {key.value} is given twice.")
        if key is not None:
            seen.add(str(key.value))
        yield from _doubled(value, (*looked_at, node))


def _placed(loader: Any, key: Any, node: Any) -> Place:
    value = loader.construct_object(node, deep=True)
    if isinstance(node, yaml.MappingNode):
        parts = {loader.construct_object(name, deep=True): _placed(loader, name, part) for name, part in node.value}
    elif isinstance(node, yaml.SequenceNode):
        parts = {number: _placed(loader, part, part) for number, part in enumerate(node.value)}
    else:
        parts = {}
    return Place(_line(key), value, parts)


def _line(node: Any) -> int:
    return int(node.start_mark.line) + 1
