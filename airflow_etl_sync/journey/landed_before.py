"""What has landed elsewhere before a replay begins and is not noted in the state tables, since a task died."""

from __future__ import annotations

import logging
from dataclasses import replace

from sqlalchemy import Connection

from airflow_etl_sync.core.model import Chunk, Counts
from airflow_etl_sync.errors import StateError
from airflow_etl_sync.journey.merging import recall, record_landed, replayed_place
from airflow_etl_sync.state import failed_records, ledger, runs, turnstile
from airflow_etl_sync.state.failed_records import StoredRecord
from airflow_etl_sync.state.runs import Run
from airflow_etl_sync.systems.base import Destination, Landed, MergeKeys

log = logging.getLogger(__name__)

RECORDS = "records"
"""In what a destination remembers of a replayed chunk: the ids of its failed records, and how often each had failed."""


def keep_out(connection: Connection, destination: Destination, sync_key: str) -> Counts:
    """Keep other merges of the sync out of its table until the transaction ends, and note what killed replays landed.

    :returns: what became of the records that those had loaded
    :raises StateError: (retryable) where a run of the sync has landed rows that are not noted: they may be newer than
        the failed records of their keys, which still look open
    """
    turnstile.wait_for(connection, replayed_place(sync_key, destination.target))
    finished = Counts()
    for run in runs.not_done(connection, sync_key):
        unnoted = _unnoted(connection, destination, run)
        if unnoted and run.kind != "replay":
            raise StateError(
                f"A run of {sync_key!r} has loaded rows into {destination.target!r} that are not noted in the state "
                "tables, and some may be newer than its failed records: let its next try, or the sync's next run, "
                "end, then replay.",
                is_retryable=True,
            )
        if unnoted:
            finished += _finish(connection, destination, run, unnoted)
    return finished


def _unnoted(connection: Connection, destination: Destination, run: Run) -> dict[int, Landed]:
    noted = ledger.loaded(connection, run.extraction_id).get(destination.target, {})
    return {number: found for number, found in recall(destination, run.extraction_id).items() if number not in noted}


def _finish(connection: Connection, destination: Destination, run: Run, unnoted: dict[int, Landed]) -> Counts:
    """Enter what a killed replay has landed, and close its records but for those that have failed again."""
    counts = Counts()
    for number, found in unnoted.items():
        replayed = {int(id_): failures for id_, failures in (found.position or {})[RECORDS].items()}
        stored = failed_records.find(connection, list(replayed))
        still_open = failed_records.lock_open(connection, list(replayed))
        same = [each for each in stored if still_open.get(each.id) == replayed[each.id]]
        landed, rules = _of_records(found, same), stored[0].load_rules
        keys = MergeKeys(rules.primary_key, rules.conflict_field or "")
        chunk = Chunk(number, landed.merged.counts.processed, 0)
        record_landed(destination, connection, run.extraction_id, chunk, landed, keys, rules)
        ledger.record_extracted(connection, run.extraction_id, chunk, {})
        failed_again = failed_records.failed_in(connection, run.extraction_id)
        failed_records.close(connection, [each.id for each in same if each.id not in failed_again], "replay")
        counts += landed.merged.counts
    whole = sum(ledger.loaded(connection, run.extraction_id)[destination.target].values(), Counts())
    runs.mark_extracted(connection, run, whole.processed)
    runs.mark_done(connection, run.extraction_id, whole)
    log.info("A replay that was killed had landed %s", counts)
    return counts


def _of_records(landed: Landed, same: list[StoredRecord]) -> Landed:
    """What landed, without the failures and keys of records that a newer row has closed or changed since."""
    merged, known = landed.merged, {each.record.identity for each in same}
    failed = tuple(each for each in merged.failed if each.identity in known)
    settled = tuple(key for key in merged.settled if key in {each.record.key for each in same})
    late = len(merged.failed) - len(failed)
    counts = replace(merged.counts, errors=len(failed), skipped=merged.counts.skipped + late)
    return replace(landed, merged=replace(merged, failed=failed, settled=settled, counts=counts))
