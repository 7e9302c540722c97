"""Every statement that change data capture sends to a source, one builder each.

Names become identifiers and values are bound. COPY takes no parameters: its values become literals here.
Positions travel as whole numbers out of the database and as text (``0/16B3748``) into it.
"""

from __future__ import annotations

from collections.abc import Sequence

from psycopg.sql import SQL, Composable, Composed, Identifier, Literal

from airflow_etl_sync.core.model import TableName
from airflow_etl_sync.systems.postgres.sql.names import identifier
from airflow_etl_sync.systems.postgres.sql.sessions import PINNED_SETTINGS

PLUGIN = "pgoutput"
MARK = "made by airflow-etl-sync"
"""The comment on a publication that this package made, and so may drop."""

# -- sessions ---------------------------------------------------------------------------------------------

CHECK_FOR_A_LOST_READER = SQL("SET client_connection_check_interval = '1s'")
"""So a reader that was killed frees the slot while the server is still decoding for it. PostgreSQL 14 and later,
where the operating system tells of it; others refuse the setting."""

LET_IT_LAST = SQL("SET statement_timeout = 0")
"""One statement gives a whole batch, and lasts for as long as its reader takes to apply it."""

BE_PATIENT = SQL("SET lock_timeout = '60s'")
"""A new slot waits for all transactions that are writing, and a publication for its tables."""

GIVE_UP_SOON = SQL("SET statement_timeout = '10s'")


def pin_settings() -> Composed:
    """Let a value's text mean the same in every session that decodes it."""
    each = SQL(",\n    ").join(
        SQL("set_config({}, {}, false)").format(Literal(name), Literal(value))
        for name, value in PINNED_SETTINGS.items()
    )
    return SQL("SELECT\n    {}").format(each)


# -- what there is ----------------------------------------------------------------------------------------

_NOW = SQL("CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_flush_lsn() END")


def _number(position: Composable) -> Composed:
    return SQL("({} - '0/0'::pg_lsn)::bigint").format(position)


READ_FLUSHED = SQL("SELECT {}").format(_number(_NOW))

_WRITTEN = _number(
    SQL("CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_insert_lsn() END")
)
READ_WRITTEN = SQL("SELECT {}").format(_WRITTEN)
"""Behind everything that can be seen: an asynchronous commit is seen before it is flushed."""

READ_WRITTEN_AT = SQL("SELECT {}, {}").format(
    _WRITTEN, SQL("to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.US+00')")
)

READ_SERVER = SQL("""
SELECT
    current_database(),
    current_user,
    current_setting('wal_level'),
    current_setting('max_replication_slots')::integer,
    (SELECT count(*) FROM pg_replication_slots),
    EXISTS (
        SELECT
        FROM pg_roles
        WHERE rolname = current_user AND (rolsuper OR rolreplication)
            OR rolname = 'rds_replication' AND pg_has_role(oid, 'MEMBER')
    ),
    pg_is_in_recovery(),
    current_setting('server_version_num')::integer / 10000,
    current_setting('hot_standby_feedback')::boolean
""")
"""Amazon RDS gives the right to replicate by membership in a role of its own."""

READ_SLOT = SQL("""
SELECT
    slot_type = 'logical',
    plugin,
    database,
    active_pid,
    coalesce(wal_status, 'lost'),
    {confirmed},
    pg_wal_lsn_diff({now}, restart_lsn)::bigint,
    pg_wal_lsn_diff({now}, confirmed_flush_lsn)::bigint
FROM pg_replication_slots
WHERE slot_name = %(slot)s
""").format(confirmed=_number(SQL("confirmed_flush_lsn")), now=_NOW)

READ_PUBLICATIONS = SQL("""
SELECT
    publication.pubname,
    publication.pubinsert AND publication.pubupdate AND publication.pubdelete AND publication.pubtruncate,
    coalesce(age(publication.xmin) <= age(slot.catalog_xmin), false),
    coalesce(obj_description(publication.oid, 'pg_publication') = %(mark)s, false)
FROM pg_publication AS publication
LEFT JOIN pg_replication_slots AS slot ON slot.slot_name = %(slot)s
WHERE publication.pubname = ANY(%(publications)s)
""")
"""A publication that may be younger than the slot: its transaction is not older than the oldest one whose
catalogue the slot needs. It is so, too, while an older transaction or slot holds that back."""

READ_TABLES = SQL("""
SELECT
    class.oid IS NOT NULL,
    coalesce(class.relkind IN ('r', 'p') AND class.relpersistence = 'p', false),
    EXISTS (
        SELECT
        FROM pg_publication_tables AS published
        WHERE published.pubname = ANY(%(publications)s)
            AND published.schemaname = namespace.nspname
            AND published.tablename = class.relname
    ),
    NOT EXISTS (
        SELECT
        FROM pg_class AS leaf
        WHERE leaf.oid IN (
                SELECT class.oid WHERE class.relkind = 'r'
                UNION ALL
                SELECT tree.relid FROM pg_partition_tree(class.oid) AS tree WHERE tree.isleaf
            )
            AND leaf.relreplident <> 'f'
            AND NOT EXISTS (
                SELECT
                FROM pg_index
                WHERE pg_index.indrelid = leaf.oid
                    AND pg_index.indisvalid
                    AND pg_index.indimmediate
                    AND CASE leaf.relreplident
                        WHEN 'd' THEN pg_index.indisprimary
                        WHEN 'i' THEN pg_index.indisreplident
                        ELSE false
                    END
            )
    ),
    coalesce(has_table_privilege(class.oid, 'SELECT'), false),
    EXISTS (
        SELECT
        FROM pg_index
        WHERE pg_index.indrelid = class.oid AND pg_index.indisprimary AND NOT pg_index.indimmediate
    ),
    (
        SELECT min(publication.pubname)
        FROM pg_publication AS publication
        JOIN pg_publication_tables AS published ON published.pubname = publication.pubname
        JOIN pg_namespace AS leaf_namespace ON leaf_namespace.nspname = published.schemaname
        JOIN pg_class AS leaf
            ON leaf.relnamespace = leaf_namespace.oid AND leaf.relname = published.tablename AND leaf.oid <> class.oid
        JOIN pg_partition_tree(class.oid) AS tree ON tree.relid = leaf.oid
        WHERE publication.pubname = ANY(%(publications)s) AND NOT publication.pubviaroot
    )
FROM unnest(%(relations)s::text[]) WITH ORDINALITY AS wanted (relation, place)
LEFT JOIN pg_class AS class ON class.oid = to_regclass(wanted.relation)
LEFT JOIN pg_namespace AS namespace ON namespace.oid = class.relnamespace
ORDER BY wanted.place
""")

KNOWN_TYPES = SQL("SELECT oid::bigint FROM pg_type WHERE oid = ANY(%(oids)s::oid[])")

# -- publication and slot ---------------------------------------------------------------------------------


def create_publication(publication: str, tables: Sequence[TableName]) -> Composed:
    """Publish all changes of tables; those of partitions as changes of the partitioned table."""
    return SQL("CREATE PUBLICATION {}\nFOR TABLE {}\nWITH (publish_via_partition_root = true)").format(
        Identifier(publication), _tables(tables)
    )


def mark_publication(publication: str) -> Composed:
    """Note who made a publication."""
    return SQL("COMMENT ON PUBLICATION {} IS {}").format(Identifier(publication), Literal(MARK))


def publish(publication: str, tables: Sequence[TableName]) -> Composed:
    """Let a publication that exists have further tables."""
    return SQL("ALTER PUBLICATION {}\nADD TABLE {}").format(Identifier(publication), _tables(tables))


def drop_publication(publication: str) -> Composed:
    """Drop a publication that may be gone already."""
    return SQL("DROP PUBLICATION IF EXISTS {}").format(Identifier(publication))


CREATE_SLOT = SQL("SELECT pg_create_logical_replication_slot(%(slot)s, {})").format(Literal(PLUGIN))

GIVE_UP_ON_A_QUIET_PRIMARY = SQL("SET statement_timeout = '60s'")
"""On a standby a new slot waits for the primary to tell which transactions run there, which it does when it writes."""

DROP_SLOT = SQL("SELECT pg_drop_replication_slot(%(slot)s)")


def _tables(tables: Sequence[TableName]) -> Composed:
    return SQL(", ").join(identifier(table) for table in tables)


# -- reading ----------------------------------------------------------------------------------------------


def peek(slot: str, upto: str, changes: int, publications: Sequence[str]) -> Composed:
    """Read changes and leave them in the slot.

    The reading ends after the transaction in which the position or the number of changes is reached.
    """
    return SQL(
        "COPY (\n"
        "    SELECT data\n"
        "    FROM pg_logical_slot_peek_binary_changes(\n"
        "        {}, {}, {},\n"
        "        'proto_version', '1', 'publication_names', {}\n"
        "    )\n"
        ") TO STDOUT (FORMAT BINARY)"
    ).format(Literal(slot), Literal(upto), Literal(changes), Literal(publication_names(publications)))


def publication_names(publications: Sequence[str]) -> str:
    """Names as the option of pgoutput takes them, which reads them like identifiers of a statement."""
    return ",".join(Identifier(name).as_string(None) for name in publications)


ADVANCE = SQL("""
SELECT pg_replication_slot_advance(slot_name, %(to)s::pg_lsn)
FROM pg_replication_slots
WHERE slot_name = %(slot)s AND confirmed_flush_lsn < %(to)s::pg_lsn
""")
"""Never backwards, which the server would refuse."""


# -- what is visible --------------------------------------------------------------------------------------

BEGIN_AFTER_ALL = SQL("""
SELECT CASE
    WHEN pg_is_in_recovery() THEN pg_snapshot_xmax(pg_current_snapshot())
    ELSE pg_current_xact_id()
END::text::bigint
""")
"""A transaction of its own, which every other one that has begun to write comes before. A snapshot's upper end would
leave out those that wait for their commit to be confirmed. A standby begins none: there it is the upper end."""

READ_OLDEST = SQL("SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint")
"""Every transaction below has ended, and what it did is visible."""

READ_SNAPSHOT = SQL("""
SELECT
    pg_snapshot_xmax(pg_current_snapshot())::text::bigint,
    ARRAY(SELECT running::text::bigint FROM pg_snapshot_xip(pg_current_snapshot()) AS running)
""")
