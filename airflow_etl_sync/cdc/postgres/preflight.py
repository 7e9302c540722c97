"""What keeps a source from giving its changes, and how it is mended."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from psycopg.sql import Identifier

from airflow_etl_sync.cdc.postgres import sql
from airflow_etl_sync.cdc.postgres.source_state import (
    Publication,
    Server,
    SlotState,
    TableState,
    read_publications,
    read_server,
    read_slot,
    read_tables,
)
from airflow_etl_sync.core import finding as core_finding
from airflow_etl_sync.core.model import TableName
from airflow_etl_sync.errors import ConfigurationError, EtlSyncError, SchemaError, StateError
from airflow_etl_sync.systems.postgres.sql.names import relation_name

if TYPE_CHECKING:
    import psycopg

Code = Literal[
    "standby_too_old",
    "standby_without_feedback",
    "wal_level",
    "role_lacks_replication",
    "slots_exhausted",
    "slot_missing",
    "slot_elsewhere",
    "slot_plugin",
    "slot_lost",
    "slot_endangered",
    "slot_busy",
    "publication_missing",
    "publication_read_only",
    "publication_gone",
    "publication_after_slot",
    "publication_partial",
    "table_missing",
    "table_kind",
    "table_not_published",
    "table_told_as_partitions",
    "table_unreadable",
    "replica_identity",
]
FIRST_DECODING_STANDBY = 16
"""From this version on a standby can have logical slots of its own,
https://www.postgresql.org/docs/16/release-16.html."""

_WRITTEN_BY_SETTING_UP: frozenset[Code] = frozenset({"publication_missing", "table_not_published"})
MENDED_BY_SETTING_UP: frozenset[Code] = frozenset({"slot_missing", "publication_missing", "table_not_published"})

_SET_UP = "run CdcSetUpOperator"
_RESYNC = (
    "run CdcTearDownOperator, then CdcSetUpOperator, and copy the tables afresh, "
    "since changes that were not yet read cannot be had any more"
)


@dataclass(frozen=True, slots=True)
class Finding(core_finding.Finding):
    """One thing that keeps changes from being captured, or is worth knowing."""

    code: Code

    @property
    def is_mended_by_setting_up(self) -> bool:
        """Whether it is as it should be before the first set-up."""
        return self.code in MENDED_BY_SETTING_UP

    def as_error(self) -> EtlSyncError:
        """The error for who goes on regardless."""
        if self.code in ("slot_missing", "slot_lost", "publication_gone", "publication_after_slot"):
            return StateError(str(self))
        return (SchemaError if self.code.startswith(("table_", "replica_")) else ConfigurationError)(str(self))


@dataclass(frozen=True, slots=True)
class Examined:
    """A source looked at once.

    :param is_standby: whether the server is one, where publications can only be read
    :param slot: None where there is no slot of that name
    :param findings: what is amiss, in the order in which it is to be mended
    """

    is_standby: bool
    slot: SlotState | None
    publications: tuple[Publication, ...]
    tables: tuple[TableState, ...]
    findings: tuple[Finding, ...]

    def refuse(self, *, setting_up: bool = False) -> None:
        """Raise the first error.

        :param setting_up: whether what setting up mends is no error
        :raises EtlSyncError: of the kind that says who can mend it
        """
        for finding in self.findings:
            if finding.is_error and not (setting_up and finding.is_mended_by_setting_up):
                raise finding.as_error()


def examine(
    connection: psycopg.Connection[Any], slot: str, publications: Sequence[str], tables: Sequence[TableName]
) -> Examined:
    """Look at a server, a slot, publications and tables."""
    server, state = read_server(connection), read_slot(connection, slot)
    found = read_publications(connection, slot, publications)
    states = read_tables(connection, publications, tables)
    findings = [
        *_of_standby(server),
        *_of_server(server, has_slot=state is not None),
        *_of_slot(slot, state, server.database),
        *_of_publications(publications, found, has_slot=state is not None),
        *(finding for table in states for finding in _of_table(table, [each.name for each in found])),
    ]
    if server.is_standby:
        findings = [_read_only(each) if each.code in _WRITTEN_BY_SETTING_UP else each for each in findings]
    return Examined(server.is_standby, state, found, states, tuple(findings))


def _of_standby(server: Server) -> Iterator[Finding]:
    if not server.is_standby:
        return
    if server.version < FIRST_DECODING_STANDBY:
        yield Finding(
            "standby_too_old",
            f"The server is a standby of PostgreSQL {server.version}, which cannot decode its log",
            f"read from its primary, or from a standby of PostgreSQL {FIRST_DECODING_STANDBY} or newer",
        )
    elif not server.has_feedback:
        yield Finding(
            "standby_without_feedback",
            "The server is a standby that lets its primary remove rows of the catalogue which the slot still needs",
            "set hot_standby_feedback to on there, and let it use a physical replication slot of the primary",
            is_error=False,
        )


def _read_only(finding: Finding) -> Finding:
    """The finding of a standby for what only its primary can mend."""
    return Finding(
        "publication_read_only",
        finding.sentence,
        "this server is a standby and cannot write, so run CREATE PUBLICATION … FOR TABLE … WITH "
        "(publish_via_partition_root = true), or ALTER PUBLICATION … ADD TABLE …, on its primary",
    )


def _of_server(server: Server, *, has_slot: bool) -> list[Finding]:
    findings = []
    if server.wal_level != "logical":
        findings.append(
            Finding(
                "wal_level",
                f"The server writes its log at wal_level {server.wal_level!r}, which holds no row changes",
                "set wal_level to 'logical' (on Amazon RDS rds.logical_replication to 1) and restart the server",
            )
        )
    if not server.may_replicate:
        findings.append(
            Finding(
                "role_lacks_replication",
                f"The role {server.user!r} may not use replication slots",
                f"run ALTER ROLE {_quoted(server.user)} REPLICATION (on Amazon RDS GRANT rds_replication)",
            )
        )
    if not has_slot and server.slots >= server.max_slots:
        findings.append(
            Finding(
                "slots_exhausted",
                f"All {server.max_slots} replication slots of the server are taken",
                "drop one that nobody reads (see pg_replication_slots), or raise max_replication_slots and restart",
            )
        )
    return findings


def _of_slot(name: str, slot: SlotState | None, database: str) -> list[Finding]:
    if slot is None:
        return [missing(name)]
    if not slot.is_logical or slot.plugin != sql.PLUGIN:
        kind = f"uses the plugin {slot.plugin!r}" if slot.is_logical else "is a physical one"
        return [
            Finding(
                "slot_plugin",
                f"The replication slot {name!r} {kind} and belongs to something else",
                f"choose another slot name; this package's slots use {sql.PLUGIN!r}",
            )
        ]
    if slot.database != database:
        return [
            Finding(
                "slot_elsewhere",
                f"The replication slot {name!r} belongs to the database {slot.database!r}, not to {database!r}",
                "choose another slot name, which must be unique on the server, or correct the connection's database",
            )
        ]
    if slot.wal_status == "lost":
        return [Finding("slot_lost", f"The server has removed WAL that the replication slot {name!r} needed", _RESYNC)]
    return [*_of_endangered(name, slot), *_of_busy(name, slot)]


def missing(name: str) -> Finding:
    """The finding for a slot that is not there."""
    return Finding(
        "slot_missing",
        f"There is no replication slot {name!r}",
        f"{_SET_UP}; if there was one, changes since then are lost, so copy the tables afresh",
    )


def _of_endangered(name: str, slot: SlotState) -> list[Finding]:
    if slot.wal_status != "unreserved":
        return []
    return [
        Finding(
            "slot_endangered",
            f"The server is about to remove WAL that the replication slot {name!r} needs",
            "run the sync now, and raise max_slot_wal_keep_size",
            is_error=False,
        )
    ]


def _of_busy(name: str, slot: SlotState) -> list[Finding]:
    if slot.active_pid is None:
        return []
    return [
        Finding(
            "slot_busy",
            f"The replication slot {name!r} is being read by the server process {slot.active_pid}",
            "wait until it is done; a slot has one reader at a time",
            is_error=False,
        )
    ]


def _of_publications(wanted: Sequence[str], found: Sequence[Publication], *, has_slot: bool) -> list[Finding]:
    absent = [name for name in wanted if name not in {each.name for each in found}]
    return [_absent(name, has_slot=has_slot) for name in absent] + [
        Finding(
            "publication_partial",
            f"The publication {each.name!r} leaves out some of inserts, updates, deletes and truncates",
            f"run ALTER PUBLICATION {_quoted(each.name)} SET (publish = 'insert, update, delete, truncate')",
        )
        for each in found
        if not each.is_whole
    ]


def _absent(publication: str, *, has_slot: bool) -> Finding:
    """A new publication beside a slot that is older would hide that what was changed meanwhile is lost."""
    if has_slot:
        return Finding("publication_gone", f"There is a slot and no publication {publication!r}", _RESYNC)
    return Finding("publication_missing", f"There is no publication {publication!r}", _SET_UP)


def late(publications: Sequence[str]) -> Finding:
    """The finding for a slot that holds changes from before its publication was made."""
    names = ", ".join(map(repr, publications))
    return Finding(
        "publication_after_slot",
        f"The replication slot holds changes that are older than the publication {names}",
        _RESYNC,
    )


def _of_table(table: TableState, publications: Sequence[str]) -> Iterator[Finding]:
    name, relation = repr(str(table.table)), relation_name(table.table)
    if not table.exists:
        yield Finding("table_missing", f"There is no table {name}", "correct its name, or create it")
    elif not table.is_publishable:
        yield Finding(
            "table_kind",
            f"{name} is no ordinary table",
            "name a table that is written to the log, and no view, foreign, temporary or unlogged table",
        )
    else:
        yield from _of_real_table(table, name, relation, publications)


def _of_real_table(table: TableState, name: str, relation: str, publications: Sequence[str]) -> Iterator[Finding]:
    if table.told_as_partitions_by and not table.is_published:
        yield _told_as_partitions(table.told_as_partitions_by, name)
    elif publications and not table.is_published:
        yield Finding(
            "table_not_published",
            f"The table {name} is not in the publication {', '.join(map(repr, publications))}",
            f"{_SET_UP}; if it was in it before, changes since then are lost, so copy this table afresh",
        )
    if not table.is_identified and table.has_deferrable_key:
        yield Finding(
            "replica_identity",
            f"The primary key of the table {name} is DEFERRABLE and so no replica identity: updates and deletes fail",
            f"make it anew without DEFERRABLE, or run ALTER TABLE {relation} REPLICA IDENTITY FULL",
        )
    elif not table.is_identified:
        yield Finding(
            "replica_identity",
            f"The table {name} or a partition of it has no replica identity, so updates and deletes fail",
            f"add a primary key, or run ALTER TABLE {relation} REPLICA IDENTITY FULL",
        )
    if not table.is_readable:
        yield Finding(
            "table_unreadable",
            f"The role of the connection may not read the table {name}",
            f"run GRANT SELECT ON {relation} TO it",
        )


def _told_as_partitions(publication: str, name: str) -> Finding:
    return Finding(
        "table_told_as_partitions",
        f"The publication {publication!r} tells changes of the partitions of {name} as such",
        f"run ALTER PUBLICATION {_quoted(publication)} SET (publish_via_partition_root = true); a slot that is there "
        "already holds changes from before, which are still told so: drop it, set up anew, and copy the table afresh",
    )


def _quoted(name: str) -> str:
    return Identifier(name).as_string(None)
