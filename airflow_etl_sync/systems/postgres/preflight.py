"""What keeps a sync between two PostgreSQL databases from running well, and how it is mended. Nothing is changed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import timedelta
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from airflow_etl_sync.core.finding import Finding
from airflow_etl_sync.core.model import TIME_CURSORS, TableName
from airflow_etl_sync.errors import DestinationError, SourceError, explaining
from airflow_etl_sync.systems.postgres import sql
from airflow_etl_sync.systems.postgres.access import PostgresAccess
from airflow_etl_sync.systems.postgres.facts import ColumnFacts, TableFacts, read_facts, read_view_of_others
from airflow_etl_sync.systems.postgres.types import CURSOR_TYPES, EXACT_TYPES

if TYPE_CHECKING:
    import psycopg

KEY_SECONDS = 30
"""For so long a key that no index vouches for is looked for twice."""

SMALL_BYTES = 8_000_000
"""A table of this size is read whole in no time, so that it needs no index on its cursor."""

_INDEX_KEY = "make a unique index on it, its columns NOT NULL"


@dataclass(frozen=True, slots=True, kw_only=True)
class WantedSync:
    """A sync that is to be.

    :param primary_key: empty takes the table's own key
    :param lag: how far the watermark is to stay behind
    """

    table: TableName
    destination_table: TableName
    cursor_field: str
    primary_key: tuple[str, ...] = ()
    lag: timedelta | int = 0


@dataclass(frozen=True, slots=True)
class ExaminedSource:
    """A source looked at once.

    :param facts: None where there is no table to look at
    :param key: the columns that name a record, as far as they are known
    """

    findings: tuple[Finding, ...]
    facts: TableFacts | None = None
    key: tuple[str, ...] = ()


def examine_source(access: PostgresAccess, wanted: WantedSync) -> ExaminedSource:
    """Look at the table that is to be read, by the login that is to read it.

    :raises EtlSyncError: where the database cannot be asked
    """
    with explaining(SourceError, "look at the source"), closing(access.connect()) as connection:
        facts = read_facts(connection, wanted.table)
        if facts is None:
            return ExaminedSource((_absent(wanted.table),))
        key = wanted.primary_key or facts.primary_key
        findings = [
            *_of_readability(facts),
            *_of_cursor(connection, facts, wanted),
            *_of_key(connection, facts, key),
            *_of_types(facts),
        ]
        return ExaminedSource(tuple(findings), facts, key)


def examine_destination(access: PostgresAccess, wanted: WantedSync, source: ExaminedSource) -> list[Finding]:
    """Look at where rows are to be loaded, by the login that is to load them.

    :raises EtlSyncError: where the database cannot be asked
    """
    with explaining(DestinationError, "look at the destination"), closing(access.connect()) as connection:
        target = read_facts(connection, wanted.destination_table)
        findings = list(_of_rights(connection))
        if target is None:
            findings += _of_creation(connection, wanted.destination_table)
        else:
            findings += _of_target(target, source)
        return findings + list(_of_absent_types(connection, source))


def _absent(table: TableName) -> Finding:
    return Finding(
        "table_missing",
        f"The source has no table {str(table)!r}, or this login may not see its schema",
        "correct the name, or GRANT USAGE on the schema",
    )


def _of_readability(facts: TableFacts) -> Iterator[Finding]:
    if not facts.is_readable:
        relation = sql.names.relation_name(facts.table)
        yield Finding(
            "table_unreadable",
            f"This login may not read the table {str(facts.table)!r}",
            f"run GRANT SELECT ON {relation} TO it",
        )


def _missing_column(facts: TableFacts, name: str, what: str) -> Finding:
    near = get_close_matches(name, facts.columns, n=1)
    hint = f"did you mean {near[0]}" if near else f"it has {', '.join(facts.columns)}"
    return Finding("column_missing", f"The table {str(facts.table)!r} has no column {name!r} to be its {what}", hint)


def _of_cursor(connection: psycopg.Connection[Any], facts: TableFacts, wanted: WantedSync) -> Iterator[Finding]:
    if wanted.cursor_field == sql.names.XMIN:
        yield from _of_xmin(facts, wanted)
        return
    column = facts.columns.get(wanted.cursor_field)
    if column is None:
        yield _missing_column(facts, wanted.cursor_field, "cursor_field")
    elif column.base_type not in CURSOR_TYPES:
        yield Finding(
            "cursor_type",
            f"The cursor {column.name!r} has type {column.type}, which cannot be a cursor",
            "use a column of a date, timestamp, integer, numeric or text type that grows when a record changes",
        )
    else:
        yield from _of_index(facts, column)
        yield from _of_nulls(column)
        yield from _of_late_commits(connection, column, wanted)


def _of_xmin(facts: TableFacts, wanted: WantedSync) -> Iterator[Finding]:
    if not facts.is_table:
        yield Finding("xmin", "cursor_field xmin goes with tables only", "name a column")
    elif wanted.primary_key and set(wanted.primary_key) != set(facts.primary_key):
        yield Finding("xmin", "cursor_field xmin tells records by the table's own key", "leave primary_key out")
    if wanted.lag:
        yield Finding("lag", "lag does not go with cursor_field xmin", "leave it out")


def _of_index(facts: TableFacts, column: ColumnFacts) -> Iterator[Finding]:
    if not facts.is_table:
        yield Finding(
            "cursor_not_indexed",
            f"{str(facts.table)!r} is no table, so nobody can tell whether an index serves its cursor",
            f"see that the tables below have one on {column.name!r}",
            is_error=False,
        )
    elif column.name not in facts.indexed:
        create = f"run CREATE INDEX CONCURRENTLY ON {sql.names.relation_name(facts.table)} ({_quoted(column.name)})"
        yield Finding(
            "cursor_not_indexed",
            f"No index begins with the cursor {column.name!r}, so each run reads all {facts.bytes / 1e6:,.1f} MB",
            create,
            is_error=facts.bytes > SMALL_BYTES,
        )


def _of_nulls(column: ColumnFacts) -> Iterator[Finding]:
    if not column.is_never_null:
        yield Finding(
            "cursor_nullable",
            f"The cursor {column.name!r} may be NULL, and such rows are read by every run",
            "make it NOT NULL, or set on_cursor_null to exclude or raise",
            is_error=False,
        )


def _of_late_commits(connection: psycopg.Connection[Any], column: ColumnFacts, wanted: WantedSync) -> Iterator[Finding]:
    cursor_type = CURSOR_TYPES[column.base_type]
    is_time, is_number = cursor_type in TIME_CURSORS, cursor_type in ("integer", "numeric")
    lag = "a lag such as PT5M" if is_time else "a numeric lag, or cursor_field xmin"
    others = read_view_of_others(connection)
    if others.is_standby:
        yield Finding(
            "standby",
            "The source is a standby, where only lag protects from rows that are committed late",
            f"set {lag}, longer than it falls behind",
            is_error=not wanted.lag,
        )
    elif not others.sees_all:
        yield Finding(
            "others_not_visible",
            "This login does not see transactions of others, so only lag protects from rows that are committed late",
            f"run GRANT pg_read_all_stats TO it, or set {lag}",
            is_error=not wanted.lag,
        )
    if is_number and (column.sequence_cache is None or column.sequence_cache > 1):
        drawn = "in blocks" if column.sequence_cache else "by no sequence of its own"
        yield Finding(
            "numbers_not_in_order",
            f"Values of the cursor {column.name!r} are drawn {drawn}, so that a lower one may be seen later",
            f"set {lag}",
            is_error=not wanted.lag,
        )


def _of_key(connection: psycopg.Connection[Any], facts: TableFacts, key: tuple[str, ...]) -> Iterator[Finding]:
    missing = [name for name in key if name not in facts.columns]
    if not key:
        yield Finding(
            "key_missing",
            f"{str(facts.table)!r} has no primary key to tell its records apart",
            "set primary_key to columns that do",
        )
    elif missing:
        yield _missing_column(facts, missing[0], "primary_key")
    elif not facts.vouches_for(key) and facts.is_readable:
        yield _of_unproven_key(connection, facts, key)


def _of_unproven_key(connection: psycopg.Connection[Any], facts: TableFacts, key: tuple[str, ...]) -> Finding:
    from psycopg.errors import QueryCanceled

    named = f"({', '.join(key)})"
    try:
        with connection.transaction():
            connection.execute(sql.sessions.LIMIT_TIME, {"time": f"{KEY_SECONDS}s"})
            has_null, has_twin = connection.execute(sql.facts.find_bad_key(facts.table, key)).fetchone() or (None, None)
    except QueryCanceled:
        sentence = f"No index vouches for the key {named}, and {KEY_SECONDS} seconds were too few to try all rows"
        return Finding(
            "key_not_vouched_for", sentence, "make a unique index on it, its columns NOT NULL", is_error=False
        )
    if has_null:
        return Finding("key_null", f"Rows have no whole key {named}", "choose columns that are never NULL")
    if has_twin:
        return Finding("key_not_unique", f"Rows share their key {named}", "choose columns that tell all rows apart")
    return Finding(
        "key_not_vouched_for",
        f"No two rows share the key {named} now, and no index sees to it that it stays so",
        _INDEX_KEY,
        is_error=False,
    )


def _of_types(facts: TableFacts) -> Iterator[Finding]:
    as_text = [f"{each.name} ({each.type})" for each in facts.columns.values() if not _is_exact(each)]
    if as_text:
        yield Finding(
            "travels_as_text",
            f"Columns travel as PostgreSQL's own text, exactly but slower: {', '.join(as_text)}",
            "leave them, or leave out by columns what nobody needs",
            is_error=False,
        )


def _is_exact(column: ColumnFacts) -> bool:
    return column.base_type in EXACT_TYPES or column.base_type == "enum"


def _of_rights(connection: psycopg.Connection[Any]) -> Iterator[Finding]:
    row: Any = connection.execute(sql.facts.READ_RIGHTS).fetchone()
    is_standby, can_create, has_state, can_use_state = row
    if is_standby:
        yield Finding("read_only", "The destination is a standby and cannot be written to", "name its primary")
    if not has_state and not can_create:
        yield Finding(
            "state_not_creatable",
            f"This login may not create the schema {sql.names.STATE_SCHEMA} in the destination",
            "run GRANT CREATE ON DATABASE … TO it, or CREATE SCHEMA … AUTHORIZATION it",
        )
    if has_state and not can_use_state:
        yield Finding(
            "state_unusable",
            f"This login may not create tables in the schema {sql.names.STATE_SCHEMA} of the destination",
            f"run GRANT USAGE, CREATE ON SCHEMA {sql.names.STATE_SCHEMA} TO it, or use the login that made it",
        )


def _of_creation(connection: psycopg.Connection[Any], table: TableName) -> Iterator[Finding]:
    row = connection.execute(sql.facts.CAN_CREATE_IN, {"schema": table.schema}).fetchone()
    can_create = row[0] if row else None
    schema = table.schema or "the search path's"
    if can_create is None:
        yield Finding("schema_missing", f"The destination has no schema {schema}", "create it, or correct the name")
    elif not can_create:
        yield Finding(
            "table_not_creatable",
            f"The destination has no table {str(table)!r}, and this login may not create one in its schema",
            "run GRANT CREATE ON SCHEMA … TO it, or create the table",
        )
    else:
        sentence = f"The destination has no table {str(table)!r} yet"
        yield Finding("table_to_be_created", sentence, "the first run creates it", is_error=False)


def _of_target(target: TableFacts, source: ExaminedSource) -> Iterator[Finding]:
    name = str(target.table)
    if not target.is_table:
        yield Finding("target_kind", f"{name!r} of the destination is no table", "name a table, or rename it")
        return
    if not (target.is_readable and target.is_writable):
        relation = sql.names.relation_name(target.table)
        yield Finding(
            "target_rights",
            f"This login may not read, insert and update rows of {name!r}",
            f"run GRANT SELECT, INSERT, UPDATE ON {relation} TO it",
        )
    if source.facts is None:
        return
    if source.key and frozenset(source.key) not in target.unique_keys:
        yield Finding(
            "target_key",
            f"{name!r} has no primary key or unique index on exactly ({', '.join(source.key)})",
            "create one, or set primary_key to the columns of one that is there",
        )
    yield from _of_target_columns(target, source.facts)


def _of_target_columns(target: TableFacts, source: TableFacts) -> Iterator[Finding]:
    name = str(target.table)
    required = [each.name for each in target.columns.values() if each.is_required and each.name not in source.columns]
    if required:
        yield Finding(
            "target_column_required",
            f"Column {', '.join(required)} of {name!r} is NOT NULL without a default, and the source does not have it",
            "give it a default, or let it be NULL",
        )
    added = [column for column in source.columns if column not in target.columns]
    if added:
        sentence = f"{name!r} lacks the columns {', '.join(added)}"
        mending = "the first rows with them add them, unless schema_contract says otherwise"
        yield Finding("target_column_missing", sentence, mending, is_error=False)
    other = [
        f"{each.name} ({each.type}, there {target.columns[each.name].type})"
        for each in source.columns.values()
        if each.name in target.columns and target.columns[each.name].type != each.type
    ]
    if other:
        sentence = f"Columns have other types in {name!r}: {', '.join(other)}"
        mending = "what does not fit grows the column within its family, or is told by schema_contract"
        yield Finding("target_type", sentence, mending, is_error=False)


def _of_absent_types(connection: psycopg.Connection[Any], source: ExaminedSource) -> Iterator[Finding]:
    columns = source.facts.columns.values() if source.facts else ()
    absent = [each for each in columns if not _has_type(connection, each.type)]
    if absent:
        named = ", ".join(f"{each.name} ({each.type})" for each in absent)
        yield Finding(
            "type_missing",
            f"The destination does not have the types of {named}",
            "they become built-in ones; create the types there before the first run to keep them",
            is_error=False,
        )


def _has_type(connection: psycopg.Connection[Any], name: str) -> bool:
    row = connection.execute(sql.target.TYPE_EXISTS, {"type": name}).fetchone()
    return bool(row and row[0])


def _quoted(name: str) -> str:
    from psycopg.sql import Identifier

    return Identifier(name).as_string(None)
