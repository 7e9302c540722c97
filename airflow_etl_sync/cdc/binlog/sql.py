"""Every statement that capture sends to a server of MySQL or MariaDB; values are bound."""

from __future__ import annotations

from sqlalchemy import bindparam, text

READ_SERVER = text("""
SELECT
    @@GLOBAL.log_bin, @@GLOBAL.server_id, @@GLOBAL.binlog_format, @@GLOBAL.binlog_row_image,
    @@GLOBAL.lower_case_table_names, version()
""")
READ_VARIABLES = text("""
SHOW GLOBAL VARIABLES
WHERE Variable_name IN (
    'binlog_row_metadata', 'log_bin_compress', 'binlog_transaction_compression', 'binlog_row_value_options',
    'binlog_expire_logs_seconds', 'server_uid', 'server_uuid', 'log_slave_updates', 'log_replica_updates'
)
""")
"""Those that not every server has."""

READ_NEWEST = {True: text("SHOW MASTER STATUS"), False: text("SHOW BINARY LOG STATUS")}
"""By whether the server is one of MariaDB, or a MySQL that does not know the newer words."""

READ_FILES = text("SHOW BINARY LOGS")
READ_CLOCK = text("SELECT utc_timestamp(6)")

BEGIN_SNAPSHOT = text("START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY")
READ_SNAPSHOT = text("SHOW STATUS LIKE 'binlog\\_snapshot\\_%'")
"""Up to where in the log the snapshot of MariaDB's transaction has everything."""

READ_TRANSACTIONS = text("SELECT trx_id FROM information_schema.innodb_trx")
READ_CHARSETS = text("SELECT id, character_set_name FROM information_schema.collations WHERE id IS NOT NULL")
READ_NEWER_CHARSETS = text("""
SELECT id, character_set_name
FROM information_schema.collation_character_set_applicability
WHERE id IS NOT NULL
""")
"""MariaDB lists some collations, one for many character sets, here only."""

READ_TABLE = text("""
SELECT known.table_schema, known.table_name, known.table_type, engines.transactions
FROM information_schema.tables AS known
LEFT JOIN information_schema.engines AS engines ON engines.engine = known.engine
WHERE known.table_schema = coalesce(:schema, database()) AND known.table_name = :name
""")
READ_CASCADES = text("""
SELECT rules.constraint_name
FROM information_schema.referential_constraints AS rules
WHERE rules.constraint_schema = :schema AND rules.table_name = :name
    AND (rules.delete_rule IN ('CASCADE', 'SET NULL', 'SET DEFAULT')
        OR rules.update_rule IN ('CASCADE', 'SET NULL', 'SET DEFAULT'))
""").bindparams(bindparam("schema"), bindparam("name"))
