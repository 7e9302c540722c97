"""How a table is best kept in step, judged by its catalogue: key, cursor and lag, each with its reason."""

from __future__ import annotations

import re
from dataclasses import dataclass

from airflow_etl_sync.core.model import TIME_CURSORS
from airflow_etl_sync.errors import ConfigurationError, SchemaError
from airflow_etl_sync.systems.postgres.facts import ColumnFacts, TableFacts, ViewOfOthers
from airflow_etl_sync.systems.postgres.sql.names import XMIN
from airflow_etl_sync.systems.postgres.types import CURSOR_TYPES

LAG = "PT5M"

_CHANGED = re.compile(r"updat|modif|chang|mtime|last_?(edit|write|touch)", re.IGNORECASE)
_CLOCK = re.compile(r"\b(now|clock_timestamp|transaction_timestamp|statement_timestamp)\(|CURRENT_|LOCALTIME")


@dataclass(frozen=True, slots=True)
class Choice:
    """What is proposed for an argument of the sync.

    :param value: None leaves the argument out
    """

    argument: str
    value: str | tuple[str, ...] | None
    why: str


def propose(
    facts: TableFacts, others: ViewOfOthers, *, primary_key: tuple[str, ...] = (), cursor_field: str | None = None
) -> list[Choice]:
    """Choose key, cursor and lag.

    :param primary_key: the author's own choice
    :param cursor_field: the same
    :raises SchemaError: where the table has nothing to choose from
    :raises ConfigurationError: where the author's choice is no column
    """
    if not facts.is_readable:
        raise ConfigurationError(f"This login may not read the table {str(facts.table)!r}: grant SELECT on it.")
    _refuse_unknown(facts, primary_key, cursor_field)
    key = _key(facts, primary_key)
    cursor = _cursor(facts, others, key) if cursor_field is None else Choice("cursor_field", cursor_field, "as asked")
    return [key, cursor, _lag(facts, others, str(cursor.value))]


def _refuse_unknown(facts: TableFacts, primary_key: tuple[str, ...], cursor_field: str | None) -> None:
    for name in (*primary_key, *([cursor_field] if cursor_field not in (None, XMIN) else [])):
        if name not in facts.columns:
            raise ConfigurationError(
                f"The table {str(facts.table)!r} has no column {name!r}; it has {', '.join(facts.columns)}."
            )


def _key(facts: TableFacts, primary_key: tuple[str, ...]) -> Choice:
    if primary_key:
        return Choice("primary_key", primary_key, "as asked")
    if facts.primary_key:
        return Choice("primary_key", None, f"the table's own, ({', '.join(facts.primary_key)})")
    usable = [key for key in facts.unique_keys if all(facts.columns[name].is_never_null for name in key)]
    if not usable:
        raise SchemaError(
            f"{str(facts.table)!r} has no primary key and no unique index on columns that are NOT NULL: name with "
            "--primary-key the columns that tell its rows apart."
        )
    smallest = tuple(name for name in facts.columns if name in min(usable, key=len))
    return Choice("primary_key", smallest, "a unique index on columns that are NOT NULL; the table has no primary key")


def _cursor(facts: TableFacts, others: ViewOfOthers, key: Choice) -> Choice:
    changed = [each for each in facts.columns.values() if _says_when_changed(each)]
    indexed = [each for each in changed if each.name in facts.indexed]
    if indexed:
        return Choice("cursor_field", _best(indexed), "a time of the last change, with an index")
    can_use_xmin = facts.is_table and bool(facts.primary_key) and key.value is None
    number = _growing_number(facts)
    if changed and not (can_use_xmin or number):
        return Choice("cursor_field", _best(changed), "a time of the last change; make an index that begins with it")
    if number is not None and others.is_clear and not facts.updates:
        why = "drawn from a sequence, and the server has counted no changed row; take xmin where rows do change"
        return Choice("cursor_field", number, why)
    if can_use_xmin:
        reason = "no indexed time of the last change" + (", and rows do change" if facts.updates else "")
        why = f"{reason}: every change is found by the transaction that wrote it, by a scan of the table in each run"
        return Choice("cursor_field", XMIN, why)
    if changed:
        return Choice("cursor_field", _best(changed), "a time of the last change; make an index that begins with it")
    raise SchemaError(
        f"{str(facts.table)!r} has no column that says when a row was changed, and no primary key for xmin: name with "
        "--cursor-field a column that grows, or make one."
    )


def _says_when_changed(column: ColumnFacts) -> bool:
    return column.base_type in ("timestamptz", "timestamp") and _CHANGED.search(column.name) is not None


def _best(columns: list[ColumnFacts]) -> str:
    """``updated_at`` before others, what is never NULL before what may be."""
    return min(columns, key=lambda each: (each.name != "updated_at", not each.is_never_null)).name


def _growing_number(facts: TableFacts) -> str | None:
    """A key of one column whose numbers are drawn one by one."""
    if len(facts.primary_key) != 1:
        return None
    column = facts.columns[facts.primary_key[0]]
    return column.name if CURSOR_TYPES.get(column.base_type) == "integer" and column.sequence_cache == 1 else None


def _lag(facts: TableFacts, others: ViewOfOthers, cursor: str) -> Choice:
    if cursor == XMIN:
        return Choice("lag", None, "xmin needs none: transactions in flight are known by their ids")
    column = facts.columns[cursor]
    if CURSOR_TYPES.get(column.base_type) not in TIME_CURSORS:
        return Choice("lag", None, "none: transactions in flight are waited for")
    if not others.is_clear:
        seen = "the source is a standby" if others.is_standby else "this login does not see others' transactions"
        return Choice("lag", LAG, f"{seen}, so only a distance protects from late commits")
    if _CLOCK.search(column.default) and (facts.has_update_trigger or not facts.updates):
        return Choice("lag", None, "none: the database itself sets this time, and transactions in flight are seen")
    return Choice("lag", LAG, "applications may set this time, before their transaction begins; rows are read twice")
