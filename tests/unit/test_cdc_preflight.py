"""What is said of a slot whose like no server here has, and which error each finding becomes."""

from __future__ import annotations

from dataclasses import replace

import pytest

from airflow_etl_sync.cdc.postgres import preflight
from airflow_etl_sync.cdc.postgres.preflight import Code, Finding
from airflow_etl_sync.cdc.postgres.source_state import Server, SlotState
from airflow_etl_sync.errors import ConfigurationError, EtlSyncError, SchemaError, StateError

SOUND = SlotState(
    is_logical=True,
    plugin="pgoutput",
    database="d",
    active_pid=None,
    wal_status="reserved",
    confirmed=1,
    retained_bytes=0,
    lag_bytes=0,
)


@pytest.mark.scenario("C07")
def test_slot_of_another_plugin() -> None:
    [finding] = preflight._of_slot("s", replace(SOUND, plugin="wal2json"), "d")
    assert str(finding) == (
        "The replication slot 's' uses the plugin 'wal2json' and belongs to something else: "
        "choose another slot name; this package's slots use 'pgoutput'."
    )


@pytest.mark.scenario("C07")
def test_slot_that_is_about_to_be_lost() -> None:
    [finding] = preflight._of_slot("s", replace(SOUND, wal_status="unreserved"), "d")
    assert (finding.code, finding.is_error) == ("slot_endangered", False)


def test_nothing_is_said_of_a_sound_slot() -> None:
    assert preflight._of_slot("s", SOUND, "d") == []


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("slot_lost", StateError),
        ("slot_missing", StateError),
        ("publication_gone", StateError),
        ("publication_after_slot", StateError),
        ("publication_missing", ConfigurationError),
        ("role_lacks_replication", ConfigurationError),
        ("wal_level", ConfigurationError),
        ("table_not_published", SchemaError),
        ("replica_identity", SchemaError),
    ],
)
def test_the_error_says_who_can_mend_it(code: Code, kind: type[EtlSyncError]) -> None:
    error = Finding(code, "It is so", "do that").as_error()
    assert type(error) is kind
    assert str(error) == "It is so: do that."
    assert not error.is_retryable


@pytest.mark.scenario("C07")
def test_a_standby_that_cannot_decode_its_log() -> None:
    server = Server("d", "me", "logical", 10, 0, may_replicate=True, is_standby=True, version=15, has_feedback=True)
    [finding] = preflight._of_standby(server)
    assert (finding.code, finding.is_error) == ("standby_too_old", True)
    assert str(finding).endswith("read from its primary, or from a standby of PostgreSQL 16 or newer.")
    assert list(preflight._of_standby(replace(server, version=16))) == []
    assert list(preflight._of_standby(replace(server, is_standby=False))) == []
