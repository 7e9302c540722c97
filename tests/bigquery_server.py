"""Starts the emulator of BigQuery (bqemulator), with its gaps closed; runs in the emulator's own environment.

Scripts know no query parameters and no ``@@row_count`` there, what a statement declares of a column is lost, and a
BIGNUMERIC keeps five digits behind the point.
"""

from __future__ import annotations

import re
from contextvars import ContextVar
from importlib import import_module
from typing import Any

_sqlglot: Any = import_module("sqlglot")
_exp: Any = import_module("sqlglot.expressions")
_executor: Any = import_module("bqemulator.jobs.executor")
_parameters: Any = import_module("bqemulator.sql.parameters")
_tables: Any = import_module("bqemulator.api.routes.tables")
_Interpreter: Any = import_module("bqemulator.scripting.interpreter").ScriptInterpreter

_LEGACY = {"INT64": "INTEGER", "FLOAT64": "FLOAT", "BOOL": "BOOLEAN"}
_WRITES = ("INSERT", "UPDATE", "DELETE", "MERGE")
_bound: ContextVar[tuple[dict[str, Any], ...]] = ContextVar("bound", default=())
_declared: dict[str, dict[str, dict[str, Any]]] = {}
"""By a table's full name its columns, as REST has them."""


def mend_scripts() -> None:
    """Bind query parameters in scripts, as variables, and count what a statement has written."""
    body, run, query = _executor._run_query_body, _Interpreter.run, _Interpreter._run_query

    async def remember_parameters(*, query_params: Any, **rest: Any) -> Any:
        _bound.set(tuple(query_params or ()))
        return await body(query_params=query_params, **rest)

    async def declare_parameters(self: Any, source: str) -> Any:
        for each in _bound.get():
            self._frames.declare(
                f"bound_{each['name']}", each["parameterType"]["type"], _parameters._extract_value(each)
            )
        return await run(self, source)

    async def run_query(self: Any, statement: str) -> Any:
        counted = statement.replace("@@row_count", str(getattr(self, "row_count", 0)))
        found = await query(self, with_digits(re.sub(r"@(\w+)", r"bound_\1", counted)))
        if statement.lstrip().upper().startswith(_WRITES):
            self.row_count = found.column(0)[0].as_py() if found.num_rows else 0
        return found

    _executor._run_query_body, _Interpreter.run, _Interpreter._run_query = (
        remember_parameters, declare_parameters, run_query,
    )  # fmt: skip


def mend_columns() -> None:
    """Tell of a table's columns what statements have declared of them."""
    run_single, to_rest = _executor._run_single_sql, _tables._table_to_rest

    async def run_and_note(project: str, statement: str, *rest: Any, **more: Any) -> Any:
        result = await run_single(project, with_digits(statement), *rest, **more)
        note(statement)
        return result

    def as_declared(table: Any) -> dict[str, Any]:
        rest: dict[str, Any] = to_rest(table)
        columns = _declared.get(f"{table.project_id}.{table.dataset_id}.{table.table_id}")
        return rest | {"schema": {"fields": [*columns.values()]}} if columns else rest

    _executor._run_single_sql, _tables._table_to_rest = run_and_note, as_declared


def with_digits(statement: str) -> str:
    """A statement whose BIGNUMERIC has 18 digits behind the point, of the 38 that DuckDB's numbers have."""
    return re.sub(r"\bBIGNUMERIC\b(?!\()", "BIGNUMERIC(38, 18)", statement)


def note(statement: str) -> None:
    """Remember what a statement that makes, changes or drops a table says of columns."""
    if not statement.lstrip().upper().startswith(("CREATE TABLE", "ALTER TABLE", "DROP TABLE")):
        return
    tree = _sqlglot.parse_one(statement, read="bigquery")
    named = tree.find(_exp.Table)
    name = ".".join(part.name for part in named.parts)
    if isinstance(tree, _exp.Drop):
        _declared.pop(name, None)
    elif isinstance(tree, _exp.Create):
        _declared.setdefault(name, {each.name: column_of(each) for each in tree.find_all(_exp.ColumnDef)})
    else:
        columns = _declared[name]
        for each in tree.find_all(_exp.ColumnDef):
            columns.setdefault(each.name, column_of(each))
        for each in tree.find_all(_exp.AlterColumn):
            columns[each.name] |= type_of(each.args["dtype"])


def column_of(definition: Any) -> dict[str, Any]:
    found = {"name": definition.name, "mode": "NULLABLE", **type_of(definition.kind)}
    for constraint in definition.find_all(_exp.ColumnConstraint):
        kind = constraint.kind
        if isinstance(kind, _exp.NotNullColumnConstraint):
            found["mode"] = "REQUIRED"
        elif isinstance(kind, _exp.DefaultColumnConstraint):
            found["defaultValueExpression"] = kind.this.sql("bigquery")
    return found


def type_of(kind: Any) -> dict[str, Any]:
    declared = kind.sql("bigquery")
    if declared.startswith("ARRAY<"):
        return {"type": declared[6:-1], "mode": "REPEATED"}
    if declared.startswith("STRUCT<"):
        return {"type": "RECORD", "fields": [{"name": "f", "type": "INTEGER"}]}
    base, _, limits = declared.removesuffix(")").partition("(")
    numbers = [each.strip() for each in limits.split(",")] if limits else []
    names = ["maxLength"] if base in ("STRING", "BYTES") else ["precision", "scale"]
    return {"type": _LEGACY.get(base, base), **dict(zip(names, numbers, strict=False))}


if __name__ == "__main__":
    import_module("duckdb_extensions").import_extension("spatial")
    mend_scripts()
    mend_columns()
    import_module("bqemulator.cli").main()
