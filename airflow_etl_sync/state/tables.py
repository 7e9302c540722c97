"""The state tables, created and migrated on first use.

``watermark`` is the truth about where a sync stands, ``sync_run`` tells of every run, ``extracted_chunk`` is
the manifest of a run and ``loaded_chunk`` the ledger: a chunk that stands in it is in the destination.
``failed_record`` keeps the rows that could not be loaded, ``schema_change`` what changed in the columns, and
``watermark_change`` what people did to a watermark. ``loaded_place`` tells by which connection a table that lies
elsewhere is reached. ``cdc_pipeline`` is the truth about where a stream of changes stands, and ``cdc_table`` about the
first copy of each of its tables.
"""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Connection,
    DateTime,
    Engine,
    ForeignKey,
    Identity,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    inspect,
    select,
    text,
)

from airflow_etl_sync.errors import DestinationError, StateError, explaining

SCHEMA = "etl_sync"
REVISION = "0005"
_MIGRATION_LOCK = 0x65746C73796E63  # "etlsync" in ASCII

metadata = MetaData(schema=SCHEMA)

watermark = Table(
    "watermark",
    metadata,
    Column("sync_key", String(250), primary_key=True),
    Column("cursor_value", Text),
    Column("cursor_type", String(20)),
    Column("last_sync", DateTime(timezone=True), nullable=False, index=True),
    Column("version", Integer, nullable=False),
    Column("metadata", JSON, nullable=False),
)

sync_run = Table(
    "sync_run",
    metadata,
    Column("extraction_id", String(32), primary_key=True),
    Column("sync_key", String(250), nullable=False),
    Column("kind", String(20), nullable=False),
    Column("status", String(20), nullable=False),
    Column("dag_id", String(250), nullable=False),
    Column("task_id", String(250), nullable=False),
    Column("run_id", String(250), nullable=False),
    Column("map_index", Integer, nullable=False),
    Column("fingerprint", String(64), nullable=False),
    Column("watermark_version", Integer, nullable=False),
    Column("cursor_type", String(20)),
    Column("low", Text),
    Column("high", Text),
    Column("below", Text),
    Column("fences", JSON, nullable=False),
    Column("protection", Text, nullable=False),
    Column("staging_uri", Text),
    Column("host", Text),
    Column("attempt", Integer, nullable=False),
    Column("is_resumed", Boolean, nullable=False),
    Column("is_overtaken", Boolean, nullable=False),
    Column("started_at", DateTime(timezone=True), nullable=False),
    Column("extracted_at", DateTime(timezone=True)),
    Column("finished_at", DateTime(timezone=True)),
    Column("rows_extracted", BigInteger, nullable=False),
    Column("columns", JSON, nullable=False),
    Column("inserted", BigInteger, nullable=False),
    Column("updated", BigInteger, nullable=False),
    Column("skipped", BigInteger, nullable=False),
    Column("errors", BigInteger, nullable=False),
    Column("deleted", BigInteger, nullable=False, server_default="0"),
    Index("sync_run_newest", "sync_key", "started_at"),
)

extracted_chunk = Table(
    "extracted_chunk",
    metadata,
    Column("extraction_id", String(32), ForeignKey(sync_run.c.extraction_id), primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("rows", BigInteger, nullable=False),
    Column("bytes", BigInteger, nullable=False),
    Column("writer", String(8), nullable=False),
    Column("resume_after", JSON, nullable=False),
)

loaded_chunk = Table(
    "loaded_chunk",
    metadata,
    Column("extraction_id", String(32), ForeignKey(sync_run.c.extraction_id), primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("target", String(250), primary_key=True),
    Column("inserted", BigInteger, nullable=False),
    Column("updated", BigInteger, nullable=False),
    Column("skipped", BigInteger, nullable=False),
    Column("errors", BigInteger, nullable=False),
    Column("loaded_at", DateTime(timezone=True), nullable=False),
)

failed_record = Table(
    "failed_record",
    metadata,
    Column("id", BigInteger, Identity(), primary_key=True),
    Column("sync_key", String(250), nullable=False),
    Column("target", String(250), nullable=False),
    Column("identity", String(64), nullable=False),
    Column("extraction_id", String(32), ForeignKey(sync_run.c.extraction_id), nullable=False, index=True),
    Column("key", JSON, nullable=False),
    Column("payload", JSON, nullable=False),
    Column("types", JSON, nullable=False),
    Column("load_rules", JSON, nullable=False),
    Column("sqlstate", String(5)),
    Column("error", Text, nullable=False),
    Column("failures", Integer, nullable=False),
    Column("failed_at", DateTime(timezone=True), nullable=False),
    Column("closed_at", DateTime(timezone=True)),
    Column("closed_by", String(20)),
    Index(
        "failed_record_open", "sync_key", "target", "identity", unique=True, postgresql_where=text("closed_at IS NULL")
    ),
)

loaded_place = Table(
    "loaded_place",
    metadata,
    Column("sync_key", String(250), primary_key=True),
    Column("target", String(250), primary_key=True),
    Column("conn_id", String(250), nullable=False),
    Column("dag_id", String(250), nullable=False),
    Column("noted_at", DateTime(timezone=True), nullable=False),
)

schema_change = Table(
    "schema_change",
    metadata,
    Column("id", BigInteger, Identity(), primary_key=True),
    Column("extraction_id", String(32), ForeignKey(sync_run.c.extraction_id), nullable=False, index=True),
    Column("place", String(250), nullable=False),
    Column("column", Text, nullable=False),
    Column("change", String(20), nullable=False),
    Column("old_type", Text),
    Column("new_type", Text),
    Column("noticed_at", DateTime(timezone=True), nullable=False),
)

watermark_change = Table(
    "watermark_change",
    metadata,
    Column("id", BigInteger, Identity(), primary_key=True),
    Column("sync_key", String(250), nullable=False, index=True),
    Column("action", String(20), nullable=False),
    Column("old_value", Text),
    Column("old_type", String(20)),
    Column("new_value", Text),
    Column("new_type", String(20)),
    Column("changed_by", String(250), nullable=False),
    Column("reason", Text, nullable=False),
    Column("request", Text),
    Column("changed_at", DateTime(timezone=True), nullable=False),
)

cdc_pipeline = Table(
    "cdc_pipeline",
    metadata,
    Column("sync_key", String(250), primary_key=True),
    Column("slot", Text, nullable=False),
    Column("publication", Text, nullable=False),
    Column("applied_lsn", Text, nullable=False),
    Column("committed_lsn", Text, nullable=False),
    Column("updated_at", DateTime(timezone=True), nullable=False),
    Column("metadata", JSON, nullable=False),
)

cdc_table = Table(
    "cdc_table",
    metadata,
    Column("sync_key", String(250), ForeignKey(cdc_pipeline.c.sync_key), primary_key=True),
    Column("source_table", String(250), primary_key=True),
    Column("target", String(250), nullable=False),
    Column("status", String(20), nullable=False),
    Column("last_key", JSON),
    Column("copied_until", Text),
)


def ensure(engine: Engine) -> None:
    """Create the state tables, or bring older ones up to this package's revision.

    Many tasks may come first at once: one migrates, the others wait for it and find it done.

    :raises StateError: where a newer package has migrated the tables
    :raises ConfigurationError: where the role may not create the schema
    """
    with explaining(DestinationError, f"prepare the state tables in schema {SCHEMA}"):
        with engine.connect() as connection:
            if revision_of(connection) == REVISION:
                return
        with engine.begin() as connection:
            connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _MIGRATION_LOCK})
            if revision_of(connection) != REVISION:
                _migrate(connection)


def are_there(engine: Engine) -> bool:
    """Whether this database has state tables, of whichever revision: a question that creates none."""
    with explaining(DestinationError, "look for the state tables"), engine.connect() as connection:
        return revision_of(connection) is not None


def revision_of(connection: Connection) -> str | None:
    """Which revision a database's state tables are of; None where it has none."""
    version = Table("alembic_version", MetaData(schema=SCHEMA), Column("version_num", String(32)))
    if not inspect(connection).has_table("alembic_version", schema=SCHEMA):
        return None
    return connection.scalar(select(version.c.version_num))


def _migrate(connection: Connection) -> None:
    from alembic.operations import Operations
    from alembic.runtime.migration import MigrationContext
    from alembic.script import ScriptDirectory
    from alembic.util import CommandError

    script = ScriptDirectory(str(Path(__file__).parent / "migrations"))
    connection.execute(text(f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}"))
    context = MigrationContext.configure(
        connection,
        opts={
            "version_table_schema": SCHEMA,
            "fn": lambda revision, _context: script._upgrade_revs("head", revision),  # noqa: SLF001 - what alembic's own command calls
        },
    )
    try:
        with Operations.context(context):
            context.run_migrations()
    except CommandError:
        raise StateError(
            f"The state tables in schema {SCHEMA} were migrated by a newer airflow-etl-sync: "
            "install that version here too."
        ) from None
