"""The statements of Snowflake. Names are folded and quoted here, values are bound; tables are of the session's schema.

Those that make or change a table commit what is open, so none of them runs inside a merge's transaction.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from airflow_etl_sync.core.model import LoadRules
from airflow_etl_sync.systems.columnar.memory import MemoryStatements
from airflow_etl_sync.systems.columnar.upsert import Upsert
from airflow_etl_sync.systems.snowflake.names import folded, quoted

BEGIN = "BEGIN TRANSACTION"
COMMIT = "COMMIT"
ROLLBACK = "ROLLBACK"

STAGED = "ETL_SYNC_STAGED"
"""The temporary table of a session, which no other sees."""
LANDED = "ETL_SYNC_LANDED"

CREATE_MEMORY = (
    """CREATE TABLE IF NOT EXISTS ETL_SYNC_TURN (
    TARGET VARCHAR, SYNC_KEY VARCHAR, TURN NUMBER(38,0), MERGES NUMBER(38,0)
)""",
    """CREATE TABLE IF NOT EXISTS ETL_SYNC_LANDED (
    TARGET VARCHAR, RUN VARCHAR, CHUNK NUMBER(38,0), SYNC_KEY VARCHAR, TURN NUMBER(38,0), YIELDS BOOLEAN,
    CONTENT VARCHAR
)""",
)
MEMORY = MemoryStatements(
    find_landed="SELECT CHUNK, CONTENT FROM ETL_SYNC_LANDED WHERE TARGET = ? AND RUN = ? ORDER BY CHUNK",
    find_turn="SELECT MAX(TURN) FROM ETL_SYNC_TURN WHERE TARGET = ? AND SYNC_KEY = ?",
    note_landed="INSERT INTO ETL_SYNC_LANDED VALUES (?, ?, ?, ?, ?, ?, ?)",
    raise_turn=("UPDATE ETL_SYNC_TURN SET TURN = ? WHERE TARGET = ? AND SYNC_KEY = ?",),
    forget_landed="DELETE FROM ETL_SYNC_LANDED WHERE TARGET = ? AND SYNC_KEY = ? AND TURN < ? AND (YIELDS OR TURN < ?)",
)
ENTER_SYNC = """MERGE INTO ETL_SYNC_TURN AS target
USING (SELECT ? AS TARGET, ? AS SYNC_KEY) AS source
ON target.TARGET = source.TARGET AND target.SYNC_KEY = source.SYNC_KEY
WHEN NOT MATCHED THEN INSERT (TARGET, SYNC_KEY, TURN, MERGES)
VALUES (source.TARGET, source.SYNC_KEY, 0, 0)"""
COUNT_MERGES = "SELECT SUM(MERGES) FROM ETL_SYNC_TURN WHERE TARGET = ?"
HOLD_TARGET = "UPDATE ETL_SYNC_TURN SET MERGES = MERGES + 1 WHERE TARGET = ?"
"""Nobody else changes these rows until the transaction ends, since an UPDATE locks them."""

CREATE_FILES = "CREATE OR REPLACE TEMPORARY STAGE ETL_SYNC_FILES"
COUNT_STAGED = "SELECT COUNT(*) FROM ETL_SYNC_STAGED"
COPY_STAGED = """COPY INTO ETL_SYNC_STAGED
FROM @ETL_SYNC_FILES
FILE_FORMAT = (TYPE = PARQUET USE_LOGICAL_TYPE = TRUE BINARY_AS_TEXT = FALSE NULL_IF = ())
MATCH_BY_COLUMN_NAME = CASE_SENSITIVE
ON_ERROR = ABORT_STATEMENT"""
"""Without the empty NULL_IF a text of backslash and N would become NULL."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """A column on its way from the staged rows into the table.

    :param name: Snowflake's
    :param staged: the type of the staged column
    :param declared: the type of the table's
    """

    name: str
    staged: str
    declared: str

    def value(self, place: int) -> str:
        """The staged value as one of the table's type; what is of one type but for its length is left as it is."""
        is_alike = self.staged.partition("(")[0] == self.declared.partition("(")[0]
        return staged_column(place) if is_alike else f"CAST({staged_column(place)} AS {self.declared})"


def staged_column(place: int) -> str:
    """What the staged column of a place is called."""
    return f"C{place}"


def use_schema(schema: str) -> str:
    """Look for tables in a schema from now on."""
    return f"USE SCHEMA {quoted(schema)}"


def describe_table(table: str) -> str:
    """The columns of a table."""
    return f"DESCRIBE TABLE {quoted(table)}"


def create_table(table: str, types: Mapping[str, str]) -> str:
    """Make the table, where no other load has made it meanwhile."""
    columns = ", ".join(f"{quoted(name)} {type_}" for name, type_ in types.items())
    return f"CREATE TABLE IF NOT EXISTS {quoted(table)} ({columns})"


def add_column(table: str, name: str, type_: str) -> str:
    """Add a column, empty in the rows that are there."""
    return f"ALTER TABLE {quoted(table)} ADD COLUMN IF NOT EXISTS {quoted(name)} {type_}"


def widen_column(table: str, name: str, type_: str) -> str:
    """Give a column of numbers more digits."""
    return f"ALTER TABLE {quoted(table)} ALTER COLUMN {quoted(name)} SET DATA TYPE {type_}"


def create_staged(types: Sequence[str]) -> str:
    """Make the temporary table of the rows."""
    columns = ", ".join(f"{staged_column(place)} {type_}" for place, type_ in enumerate(types))
    return f"CREATE OR REPLACE TEMPORARY TABLE {STAGED} ({columns})"


def put_staged(path: str) -> str:
    """Bring a file of this machine to the temporary stage."""
    escaped = path.replace("\\", "\\\\").replace("'", "\\'")
    return f"PUT 'file://{escaped}' @ETL_SYNC_FILES AUTO_COMPRESS = FALSE OVERWRITE = TRUE"


def merge(table: str, columns: Sequence[Written], key: Sequence[str], rules: LoadRules) -> str:
    """Insert the staged rows that are not there, and change those that are and differ.

    :param key: Snowflake's names of the columns that name a record
    """
    return Upsert(
        table=quoted(table), staged=STAGED, values={column.name: column.value(n) for n, column in enumerate(columns)},
        key=key, rules=rules, named=folded, quoted=quoted,
    ).statement  # fmt: skip
