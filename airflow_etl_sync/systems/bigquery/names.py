"""Names as BigQuery takes them: columns must differ by more than their case, and not every sign may stand in a name.

The rules: `columns <https://cloud.google.com/bigquery/docs/schemas#column_names>`__,
`tables <https://cloud.google.com/bigquery/docs/tables#table_naming>`__,
`datasets <https://cloud.google.com/bigquery/docs/datasets#dataset-naming>`__.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from airflow_etl_sync.errors import SchemaError

_COLUMN = re.compile(r"[^\W\d][\w &%=+:'<>#|-]{0,299}")
_TABLE = re.compile(r"[\w -]{1,240}")
_DATASET = re.compile(r"[A-Za-z0-9_]{1,1024}")
_PROJECT = re.compile(r"[a-z0-9.:-]{1,100}")
_RESERVED = (
    "_table_", "_file_", "_partition", "_row_timestamp", "__root__", "_colidentifier", "_change_",
)  # fmt: skip


def folded(name: str) -> str:
    """What two names of one column share."""
    return name.lower()


def quoted(name: str) -> str:
    """A name taken literally; none that may be used holds a backquote."""
    return f"`{name}`"


def path(project: str, dataset: str, table: str) -> str:
    """A table's full name.

    :raises SchemaError: where a part is none that BigQuery takes
    """
    for kind, name, rule in (("project", project, _PROJECT), ("dataset", dataset, _DATASET), ("table", table, _TABLE)):
        if not rule.fullmatch(name):
            raise SchemaError(f"BigQuery takes no {kind} of the name {name!r}: use letters, digits and underscores.")
    return f"{project}.{dataset}.{table}"


def refuse_bad_columns(names: Iterable[str]) -> None:
    """:raises SchemaError: naming the first that BigQuery does not take as a column"""
    for name in names:
        if not _COLUMN.fullmatch(name) or folded(name).startswith(_RESERVED):
            raise SchemaError(
                f"BigQuery takes no column of the name {name!r}: rename it with AS in a query, or leave it out."
            )
