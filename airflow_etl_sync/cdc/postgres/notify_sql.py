"""Every statement of waiting for changes, and of the triggers that tell of them."""

from __future__ import annotations

from collections.abc import Sequence

from psycopg.sql import SQL, Composable, Composed, Identifier, Literal

from airflow_etl_sync.core.channel import Probe
from airflow_etl_sync.core.model import TableName
from airflow_etl_sync.systems.postgres.sql.names import identifier

LONGEST_PAYLOAD_BYTES = 7999
"""What PostgreSQL's NOTIFY takes at most, https://www.postgresql.org/docs/current/sql-notify.html."""

OPERATIONS = {"INSERT": "NEW", "UPDATE": "NEW", "DELETE": "OLD", "TRUNCATE": None}
"""The statements that tell of a change, and which rows they are asked for: a trigger may read one side only."""

# -- waiting ----------------------------------------------------------------------------------------------

ASK_QUICKLY = SQL("SELECT set_config('statement_timeout', '30s', false)")

STAY_IDLE = SQL("""
SELECT set_config(name, '0', false)
FROM pg_settings
WHERE name = 'idle_session_timeout'
""")
"""Older servers do not have the setting."""

IS_THERE = SQL("SELECT 1")


def listen(channel: str) -> Composed:
    """Be told from now on of what is sent to a channel."""
    return SQL("LISTEN {}").format(Identifier(channel))


def newest_cursor(probe: Probe) -> Composed:
    """The largest cursor value, which an index gives without reading the table."""
    return SQL("SELECT max(source.{})::text\nFROM {} AS source").format(
        Identifier(probe.cursor_field), identifier(probe.table)
    )


READ_SLOT_STANDING = SQL("""
SELECT
    CASE
        WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn()
        ELSE pg_current_wal_flush_lsn()
    END - '0/0'::pg_lsn,
    slot.confirmed_flush_lsn - '0/0'::pg_lsn,
    coalesce(slot.wal_status = 'lost', FALSE)
FROM (VALUES (1)) AS one
LEFT JOIN pg_replication_slots AS slot ON slot.slot_name = %(slot)s
""")

# -- telling ----------------------------------------------------------------------------------------------

BE_BRIEF = SQL("SET LOCAL lock_timeout = '10s'")
"""While the making of a trigger waits for the table's writers, all others wait behind it."""


def create_notify_function(name: Identifier, channel: str, key: Sequence[str], max_keys: int) -> Composed:
    """Make the function that tells of a statement's rows; what it cannot put into words it leaves out."""
    return SQL(
        "CREATE OR REPLACE FUNCTION {}()\nRETURNS trigger\nLANGUAGE plpgsql\nSET search_path = ''\nAS {}"
    ).format(name, _quoted(_body(channel, key, max_keys if key else 0)))


def create_notify_trigger(table: TableName, operation: str, function: Identifier) -> Composed:
    """Let the function run once after each statement of a kind."""
    side = OPERATIONS[operation]
    rows = SQL("\nREFERENCING {} TABLE AS changed").format(SQL(side)) if side else SQL("")
    return SQL("CREATE OR REPLACE TRIGGER {}\nAFTER {} ON {}{}\nFOR EACH STATEMENT\nEXECUTE FUNCTION {}()").format(
        _trigger(operation), SQL(operation), identifier(table), rows, function
    )


def drop_notify_trigger(table: TableName, operation: str) -> Composed:
    """Let the statements of a kind tell nobody any more."""
    return SQL("DROP TRIGGER IF EXISTS {} ON {}").format(_trigger(operation), identifier(table))


def drop_notify_function(name: Identifier) -> Composed:
    """Drop the function, which no trigger uses any more."""
    return SQL("DROP FUNCTION IF EXISTS {}()").format(name)


def _trigger(operation: str) -> Identifier:
    return Identifier(f"etl_sync_notify_{operation.lower()}")


def _body(channel: str, key: Sequence[str], max_keys: int) -> str:
    return _BODY.format(
        keys=_keys(key),
        one_more=Literal(max_keys + 1),
        max_keys=Literal(max_keys),
        longest=Literal(LONGEST_PAYLOAD_BYTES),
        channel=Literal(channel),
    ).as_string(None)


def _keys(key: Sequence[str]) -> Composable:
    pairs = SQL(", ").join(SQL("{}, changed.{}").format(Literal(name), Identifier(name)) for name in key)
    return SQL("jsonb_agg(jsonb_build_object({}))").format(pairs)


_BODY = SQL("""
#variable_conflict use_variable
DECLARE
    told jsonb := jsonb_build_object('schema', TG_TABLE_SCHEMA, 'table', TG_TABLE_NAME, 'operation', TG_OP);
    with_keys jsonb;
    changes bigint;
BEGIN
    IF TG_OP <> 'TRUNCATE' THEN
        SELECT count(*) INTO changes FROM (SELECT FROM changed LIMIT {one_more}) AS few;
        IF changes = 0 THEN
            RETURN NULL;
        END IF;
        IF changes <= {max_keys} THEN
            BEGIN
                SELECT told || jsonb_build_object('keys', {keys})
                INTO with_keys
                FROM changed;
            EXCEPTION WHEN OTHERS THEN
                with_keys := NULL;  -- such as a renamed column: the statement itself must not fail
            END;
        END IF;
    END IF;
    IF octet_length(with_keys::text) <= {longest} THEN
        told := with_keys;
    END IF;
    PERFORM pg_notify({channel}, told::text);
    RETURN NULL;
END
""")


def _quoted(body: str) -> SQL:
    """The body between dollar quotes that do not occur in it, so that people can read it."""
    tag = "$notify$"
    while tag in body:
        tag = f"{tag[:-1]}_$"
    return SQL(f"{tag}{body}{tag}")
