"""The statements of BigQuery. Names are checked and quoted here, values are bound; tables go by their full names.

Those that make or change a permanent table cannot run in a transaction.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from airflow_etl_sync.core.model import LoadRules
from airflow_etl_sync.systems.bigquery.names import folded, quoted
from airflow_etl_sync.systems.columnar.memory import MemoryStatements
from airflow_etl_sync.systems.columnar.upsert import Upsert

STAGED_HOURS = 24
"""So long a staged table is kept that nobody drops: a script that reads it may run for six hours."""


def staged_column(place: int) -> str:
    """What the staged column of a place is called."""
    return f"c{place}"


def create_table(table: str, types: Mapping[str, str], clustered: Sequence[str]) -> str:
    """Make the table, where no other load has made it meanwhile."""
    by = f"\nCLUSTER BY {', '.join(map(quoted, clustered))}" if clustered else ""
    return f"CREATE TABLE IF NOT EXISTS {quoted(table)} ({_columns(types)}){by}"


def add_column(table: str, name: str, type_: str) -> str:
    """Add a column, empty in the rows that are there."""
    return f"ALTER TABLE {quoted(table)} ADD COLUMN IF NOT EXISTS {quoted(name)} {type_}"


def widen_column(table: str, name: str, type_: str) -> str:
    """Give a column of numbers more digits."""
    return f"ALTER TABLE {quoted(table)} ALTER COLUMN {quoted(name)} SET DATA TYPE {type_}"


def create_staged(table: str, types: Sequence[str]) -> str:
    """Make the table of the rows, which ends by itself."""
    columns = _columns({staged_column(place): type_ for place, type_ in enumerate(types)})
    return (
        f"CREATE TABLE {quoted(table)} ({columns})\n"
        f"OPTIONS (expiration_timestamp = TIMESTAMP_ADD(CURRENT_TIMESTAMP(), INTERVAL {STAGED_HOURS} HOUR))"
    )


def drop_staged(table: str) -> str:
    """Remove the table of the rows."""
    return f"DROP TABLE IF EXISTS {quoted(table)}"


def create_memory(memory: str) -> str:
    """Make the table that remembers what has landed in a table. A row without a run has the newest turn of a sync."""
    return (
        f"CREATE TABLE IF NOT EXISTS {quoted(memory)} (\n"
        "    target STRING, run STRING, chunk INT64, sync_key STRING, turn INT64, yields BOOL, content STRING,\n"
        "    inserted INT64, updated INT64, merges INT64\n)"
    )


def enter_sync(memory: str) -> str:
    """Note that a sync loads the table; target and sync, twice, are bound."""
    return (
        f"INSERT INTO {quoted(memory)} (target, sync_key, turn, merges)\n"  # noqa: S608
        "SELECT ?, ?, 0, 0\nFROM (SELECT 1)\n"
        f"WHERE NOT EXISTS (SELECT 1 FROM {quoted(memory)} WHERE run IS NULL AND target = ? AND sync_key = ?)"
    )


def remembering(memory: str) -> MemoryStatements:
    """What is asked of the memory outside of a merge; its writing is part of the script."""
    table = quoted(memory)
    return MemoryStatements(
        find_landed=(
            f"SELECT chunk, content, inserted, updated\nFROM {table} WHERE target = ? AND run = ? ORDER BY chunk"
        ),
        find_turn=f"SELECT MAX(turn) FROM {table} WHERE run IS NULL AND target = ? AND sync_key = ?",  # noqa: S608
        note_landed="",
        raise_turn=(),
        forget_landed="",
    )


def merge(
    table: str, staged: str, values: Mapping[str, str], key: Sequence[str], rules: LoadRules, floats: Sequence[str]
) -> str:
    """Insert the staged rows that are not there, and change those that are and differ.

    :param values: by the name of a column the staged value, as an expression of the table's type
    :param floats: the columns of the key that may be NaN, which equals nothing
    """
    names = {folded(name): name for name in values}

    def compared(name: str, value: str) -> Sequence[str]:
        """Equalities alone, since only by them can a MERGE join."""
        return (f"IS_NAN({value})", f"IF(IS_NAN({value}), 0, {value})") if name in floats else (value,)

    return Upsert(
        table=quoted(table), staged=quoted(staged), values=values, key=key, rules=rules,
        named=lambda name: names[folded(name)], quoted=quoted, compared=compared,
    ).statement  # fmt: skip


def script(memory: str, table: str, merging: str, *, yields: bool, overtakes: bool) -> str:
    """One job that merges a chunk and remembers it, or does neither; it tells the outcome and what was written.

    The first statement changes rows of the table's own memory, as any merge into the table does: of two transactions
    that do, BigQuery cancels one. A MERGE alone would not do, as two that only insert are no conflict
    (`DML <https://cloud.google.com/bigquery/docs/data-manipulation-language>`__). A script without an exception handler
    that fails is rolled back (`transactions <https://cloud.google.com/bigquery/docs/transactions>`__).

    Bound by name: target, run, chunk, sync_key, turn, yields, content and most_rows; where it overtakes, oldest too.
    """
    there, counted = quoted(memory), f"(SELECT COUNT(*) FROM {quoted(table)})"  # noqa: S608
    newer = (
        f"\nAND NOT EXISTS (SELECT 1 FROM {there} AS newer WHERE newer.run IS NULL AND newer.target = @target "  # noqa: S608
        "AND newer.sync_key = @sync_key AND newer.turn > @turn)"
        if yields
        else ""
    )
    raised = ", turn = IF(sync_key = @sync_key, GREATEST(turn, @turn), turn)" if overtakes else ""
    forgotten = (
        f"\nDELETE FROM {there}\n"
        "WHERE run IS NOT NULL AND target = @target AND sync_key = @sync_key AND turn < @turn\n"
        "AND (yields OR turn < @oldest);"
        if overtakes
        else ""
    )
    return f"""DECLARE etl_sync_before INT64;
DECLARE etl_sync_changed INT64;
DECLARE etl_sync_inserted INT64;
DECLARE etl_sync_outcome STRING DEFAULT 'refused';
BEGIN TRANSACTION;
UPDATE {there} SET merges = merges + 1{raised}
WHERE run IS NULL AND target = @target
AND NOT EXISTS (SELECT 1 FROM {there} AS landed
    WHERE landed.target = @target AND landed.run = @run AND landed.chunk = @chunk){newer};
IF @@row_count > 0 THEN
SET etl_sync_before = {counted};
{merging};
SET etl_sync_changed = @@row_count;
SET etl_sync_inserted = {counted} - etl_sync_before;
IF etl_sync_changed > @most_rows THEN
ROLLBACK TRANSACTION;
SET etl_sync_outcome = 'several';
ELSE
INSERT INTO {there} (target, run, chunk, sync_key, turn, yields, content, inserted, updated)
VALUES (@target, @run, @chunk, @sync_key, @turn, @yields, @content, etl_sync_inserted,
    etl_sync_changed - etl_sync_inserted);{forgotten}
COMMIT TRANSACTION;
SET etl_sync_outcome = 'merged';
END IF;
ELSE
ROLLBACK TRANSACTION;
END IF;
SELECT etl_sync_outcome AS outcome, etl_sync_inserted AS inserted, etl_sync_changed AS changed;"""  # noqa: S608


def _columns(types: Mapping[str, str]) -> str:
    return ", ".join(f"{quoted(name)} {type_}" for name, type_ in types.items())
