"""Imports go one way: dags, shell, journey, systems and cdc, state, core; and parsing a DAG file stays cheap."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import airflow_etl_sync

ROOT = Path(__file__).parents[2]
PACKAGE = "airflow_etl_sync"
DAGS = "dags"

# From the top to the bottom: a room may import its own floor and those below.
FLOORS = (
    {DAGS},
    {
        "__init__", "cli", "decorators", "demo", "factory", "hooks", "observability", "operators",
        "plugin", "provider_info", "sensors", "transforms", "triggers", "yaml_syncs",
    },
    {"journey"},
    {"cdc", "systems"},
    {"state"},
    {"core"},
    {"errors"},
    {"faults"},
)  # fmt: skip
FLOOR_OF = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}
ENGINE = set().union(*FLOORS[2:])
PARSED_WITH_DAGS = FLOORS[1] - {"demo"}
HEAVY = {
    "adbc_driver_manager",
    "adbc_driver_postgresql",
    "deltalake",
    "duckdb",
    "google",
    "numpy",
    "pandas",
    "polars",
    "pyarrow",
    "snowflake",
}


@dataclass(frozen=True)
class Import:
    """A module that is imported, the name taken from it (if one is), and the line that says so."""

    module: str
    name: str | None
    line: int

    @property
    def library(self) -> str:
        return self.module.partition(".")[0]

    @property
    def room(self) -> str:
        """The room of our package that is entered: ``from airflow_etl_sync import core`` enters core."""
        inside = self.module.removeprefix(PACKAGE).removeprefix(".")
        if inside:
            return inside.partition(".")[0]
        return self.name if self.name in FLOOR_OF else "__init__"


def python_files(folder: str) -> list[Path]:
    return sorted((ROOT / folder).rglob("*.py"))


def room_of(path: Path) -> str:
    """The room that a file stands in."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return DAGS if parts[0] == DAGS else parts[1]


def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(), filename=str(path))


def absolute(node: ast.ImportFrom, path: Path) -> str:
    """The module that a from-import names, also when it is written relatively."""
    if not node.level:
        return node.module or ""
    parents = path.relative_to(ROOT).parts[: -node.level]
    return ".".join([*parents, *([node.module] if node.module else [])])


def imports_among(nodes: Iterable[ast.AST], path: Path) -> Iterator[Import]:
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (Import(alias.name, None, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (Import(absolute(node, path), alias.name, node.lineno) for alias in node.names)


def all_imports(path: Path) -> list[Import]:
    return list(imports_among(ast.walk(parse(path)), path))


def is_for_types_only(node: ast.AST) -> bool:
    if not isinstance(node, ast.If):
        return False
    return ast.unparse(node.test) in {"TYPE_CHECKING", "typing.TYPE_CHECKING"}


def nodes_run_at_import(node: ast.AST) -> Iterator[ast.AST]:
    """The nodes that run when the module is imported: not what waits in functions or is for type checkers."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if is_for_types_only(child):
            for alternative in child.orelse if isinstance(child, ast.If) else []:
                yield alternative
                yield from nodes_run_at_import(alternative)
            continue
        yield child
        yield from nodes_run_at_import(child)


def where(path: Path, found: Import) -> str:
    return f"{path.relative_to(ROOT)}:{found.line} imports {found.module}"


def upward_imports(path: Path) -> list[str]:
    floor = FLOOR_OF[room_of(path)]
    ours = [found for found in all_imports(path) if found.library == PACKAGE]
    return [where(path, found) for found in ours if FLOOR_OF.get(found.room, -1) < floor]


def airflow_imports(path: Path) -> list[str]:
    return [where(path, found) for found in all_imports(path) if found.library == "airflow"]


def private_imports(path: Path) -> list[str]:
    ours = [found for found in all_imports(path) if found.library == PACKAGE]
    public = airflow_etl_sync.__all__
    return [where(path, found) for found in ours if found.module != PACKAGE or found.name not in public]


def heavy_imports(path: Path) -> list[str]:
    at_import = imports_among(nodes_run_at_import(parse(path)), path)
    return [where(path, found) for found in at_import if found.library in HEAVY]


def in_rooms(rooms: Iterable[str]) -> list[Path]:
    return [path for path in python_files(PACKAGE) if room_of(path) in rooms]


def run_python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_every_module_stands_in_a_room() -> None:
    homeless = [str(path.relative_to(ROOT)) for path in python_files(PACKAGE) if room_of(path) not in FLOOR_OF]
    assert not homeless


def test_imports_go_one_way() -> None:
    files = [*python_files(PACKAGE), *python_files(DAGS)]
    assert [line for path in files for line in upward_imports(path)] == []


def test_the_engine_imports_no_airflow() -> None:
    assert [line for path in in_rooms(ENGINE) for line in airflow_imports(path)] == []


def test_dags_import_only_public_names() -> None:
    assert python_files(DAGS)
    assert [line for path in python_files(DAGS) for line in private_imports(path)] == []


def test_what_is_parsed_with_dags_imports_nothing_heavy() -> None:
    assert [line for path in in_rooms(PARSED_WITH_DAGS) for line in heavy_imports(path)] == []


def test_importing_the_engine_does_not_load_airflow() -> None:
    files = [path for path in in_rooms(ENGINE) if "migrations" not in path.parts]  # Alembic alone imports these
    names = [".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__") for path in files]
    code = (
        f"import importlib, sys\nfor name in {names!r}: importlib.import_module(name)\nprint('airflow' in sys.modules)"
    )
    assert run_python(code) == "False"


def test_importing_the_package_loads_neither_airflow_nor_a_driver() -> None:
    loaded = run_python(f"import {PACKAGE}, sys; print(*sorted({{name.partition('.')[0] for name in sys.modules}}))")
    assert not (HEAVY | {"airflow", "psycopg", "sqlalchemy"}) & set(loaded.split())


def test_using_the_public_names_loads_no_arrow() -> None:
    code = (
        f"import sys, {PACKAGE}\n"
        f"from {PACKAGE} import IncrementalExtractOperator\n"
        f"for name in {PACKAGE}.__all__: getattr({PACKAGE}, name)\n"
        f"print(*sorted({HEAVY - {'numpy'}!r} & set(sys.modules)))"
    )
    assert run_python(code).splitlines()[-1:] in ([], [""])


def test_airflow_reads_the_provider_info_without_loading_airflow() -> None:
    code = f"import sys, {PACKAGE}.provider_info as p; p.get_provider_info(); print('airflow' in sys.modules)"
    assert run_python(code) == "False"


@pytest.mark.parametrize(
    ("place", "code", "is_refused"),
    [
        ("core/x.py", "from airflow_etl_sync.state import tables", True),
        ("core/x.py", "def f():\n    from ..state import tables", True),
        ("core/x.py", "from .. import journey", True),
        ("core/x.py", "import airflow_etl_sync.operators.load", True),
        ("core/x.py", "from airflow_etl_sync import incremental_sync", True),
        ("state/x.py", "from airflow_etl_sync.systems.postgres import sql", True),
        ("errors.py", "from airflow_etl_sync.core.model import Window", True),
        ("state/x.py", "from airflow_etl_sync.core.model import Window", False),
        ("systems/postgres/x.py", "from ...errors import SchemaError", False),
        ("operators/x.py", "from airflow_etl_sync.journey.load import load", False),
    ],
)
def test_the_direction_check_sees_every_form(
    place: str, code: str, is_refused: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / PACKAGE / place
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(code)
    monkeypatch.setattr(sys.modules[__name__], "ROOT", tmp_path)
    assert bool(upward_imports(path)) is is_refused


@pytest.mark.parametrize(
    ("code", "is_refused"),
    [
        ("import pyarrow.parquet", True),
        ("try:\n    import duckdb\nexcept ImportError:\n    pass", True),
        ("class Load:\n    from adbc_driver_postgresql import dbapi", True),
        ("if TYPE_CHECKING:\n    pass\nelse:\n    import pyarrow", True),
        ("if TYPE_CHECKING:\n    import pyarrow", False),
        ("def execute():\n    import pyarrow", False),
    ],
)
def test_the_check_for_heavy_imports_sees_what_runs(
    code: str, is_refused: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / PACKAGE / "factory.py"
    path.parent.mkdir()
    path.write_text(code)
    monkeypatch.setattr(sys.modules[__name__], "ROOT", tmp_path)
    assert bool(heavy_imports(path)) is is_refused
