"""The merge of a chunk, as Delta's library takes it: expressions of its SQL, which know no bound values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from airflow_etl_sync.core.model import LoadRules

if TYPE_CHECKING:
    import pyarrow as pa
    from deltalake import CommitProperties, DeltaTable

_ROW_GROUP_ROWS = 65_536
"""A row group is held in memory until it is full."""


def merge(
    table: DeltaTable, source: pa.Table, key: Sequence[str], new: Sequence[str], rules: LoadRules,
    properties: CommitProperties,
) -> dict[str, Any]:  # fmt: skip
    """Merge rows, each key once, into a table, and commit; where nothing is to be written, nothing is committed.

    :param source: the rows, in the types of the table; with it go the columns that are new to the table
    :param new: the names of those columns
    :returns: the merge's metrics
    """
    from deltalake import WriterProperties

    merger = table.merge(
        source,
        " AND ".join(f"{_source(name)} = {_target(name)}" for name in key),
        source_alias="source",
        target_alias="target",
        merge_schema=bool(new),
        streamed_exec=False,  # so that files which can hold none of the keys are not read
        writer_properties=WriterProperties(compression="ZSTD", max_row_group_size=_ROW_GROUP_ROWS),
        commit_properties=properties,
    )
    names = [name for name in source.column_names if name not in key]
    if names and rules.conflict != "dest_wins":
        values = {name: _new_value(name, new, rules) for name in names}
        merger = merger.when_matched_update(
            {_quoted(name): value for name, value in values.items()},
            predicate=_is_to_change(source, values, new, rules),
        )
    merger = merger.when_not_matched_insert({_quoted(name): _source(name) for name in source.column_names})
    return dict(merger.execute())


def _new_value(name: str, new: Sequence[str], rules: LoadRules) -> str:
    if rules.conflict != "merge_non_null" or name in new:
        return _source(name)
    return f"coalesce({_source(name)}, {_target(name)})"


def _is_to_change(source: pa.Table, values: dict[str, str], new: Sequence[str], rules: LoadRules) -> str:
    """Whether a row that is there already differs from the incoming one, which may overwrite it."""
    compared = [name for name in values if name != rules.synced_at_column]
    differences = [_differs(name, values[name], source, new) for name in compared]
    differs = f"({' OR '.join(differences)})" if differences else "FALSE"
    if rules.conflict != "latest_wins" or rules.conflict_field is None or rules.conflict_field in new:
        return differs
    there, here = _target(rules.conflict_field), _source(rules.conflict_field)
    return f"({there} IS NULL OR {here} >= {there}) AND {differs}"


def _differs(name: str, value: str, source: pa.Table, new: Sequence[str]) -> str:
    import pyarrow as pa

    if name in new:
        return f"({value} IS NOT NULL)"
    there = _target(name)
    if pa.types.is_floating(source.schema.field(name).type):  # 0 and -0 are equal there, and not the same
        value, there = f"CAST({value} AS VARCHAR)", f"CAST({there} AS VARCHAR)"
    return f"({value} IS DISTINCT FROM {there})"


def _source(name: str) -> str:
    return f"source.{_quoted(name)}"


def _target(name: str) -> str:
    return f"target.{_quoted(name)}"


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
