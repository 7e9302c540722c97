"""What is kept in the log of a Delta table beside its rows: which chunks have landed there, and whose turn it was.

A commit carries transaction identifiers, which Delta keeps for the newest of each name, and metadata. A chunk's commit
sets the identifier of its run to the version it becomes; so the run's newest commit is found, and its metadata names
those of the run's other chunks. The identifier of the sync holds the turn of the newest run that overtakes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from airflow_etl_sync.systems import remembered
from airflow_etl_sync.systems.base import Landed, Mark, Merged

if TYPE_CHECKING:
    from deltalake import CommitProperties, DeltaTable

_METADATA = "airflowEtlSync"
_APPLICATION = "airflow-etl-sync"


def landed(table: DeltaTable, extraction_id: str) -> dict[int, Landed]:
    """What has landed of a run, by the number of the chunk; nothing any more once a newer run has."""
    commits = _commits(table, extraction_id)
    return {
        number: remembered.from_json(kept["merged"])
        for number, kept in commits.items()
        if not (kept["yields"] and _turn(table, kept["sync_key"]) > kept["turn"])
    }


def refuse_landed(table: DeltaTable, mark: Mark, target: str) -> None:
    """:raises StateError: where the chunk has landed, or a newer run of the sync has"""
    if mark.number in _numbers(table, mark.extraction_id):
        raise remembered.has_landed(mark)
    if mark.yields and _turn(table, mark.sync_key) > mark.turn:
        raise remembered.newer_has_landed(mark, target)


def properties(table: DeltaTable, mark: Mark, merged: Merged) -> CommitProperties:
    """What the commit of a chunk carries; it fails where anybody has committed since the table was opened.

    :param merged: what it comes to if nothing is written; how much is, the commit's own metrics tell
    """
    from deltalake import CommitProperties, Transaction

    version = table.version() + 1
    transactions = [Transaction(_run(mark.extraction_id), version)]
    if mark.overtakes:
        transactions.append(Transaction(_sync(mark.sync_key), max(_turn(table, mark.sync_key), mark.turn)))
    kept = {
        "sync_key": mark.sync_key,
        "number": mark.number,
        "turn": mark.turn,
        "yields": mark.yields,
        "landed": {**_numbers(table, mark.extraction_id), mark.number: version},
        "merged": remembered.to_json(merged, mark.position),
    }
    return CommitProperties(custom_metadata={_METADATA: kept}, max_commit_retries=0, app_transactions=transactions)


def written(metrics: Mapping[str, Any]) -> tuple[int, int]:
    """How many rows a merge has inserted and updated, as its metrics say."""
    return int(metrics.get("num_target_rows_inserted", 0)), int(metrics.get("num_target_rows_updated", 0))


def _turn(table: DeltaTable, sync_key: str) -> int:
    """That of the newest run of the sync that has landed something and overtakes."""
    return table.transaction_version(_sync(sync_key)) or 0


def _numbers(table: DeltaTable, extraction_id: str) -> dict[int, int]:
    """By the number of each chunk of a run that has landed, the version of its commit."""
    version = table.transaction_version(_run(extraction_id))
    found = None if version is None else next(_history(table, version, version), None)
    return {} if found is None else {int(number): at for number, at in found[_METADATA]["landed"].items()}


def _commits(table: DeltaTable, extraction_id: str) -> dict[int, dict[str, Any]]:
    numbers = _numbers(table, extraction_id)
    if not numbers:
        return {}
    by_version = {at: number for number, at in numbers.items()}
    found = _history(table, min(by_version), max(by_version))
    return {by_version[info["version"]]: _counted(info) for info in found if info["version"] in by_version}


def _counted(info: Mapping[str, Any]) -> dict[str, Any]:
    """The metadata of a commit, with the counts that its metrics tell."""
    kept = dict(info[_METADATA])
    inserted, updated = written(info.get("operationMetrics", {}))
    _, _, loaded, errors = kept["merged"]["counts"]
    kept["merged"] = {**kept["merged"], "counts": [inserted, updated, loaded - inserted - updated, errors]}
    return kept


def _history(table: DeltaTable, first: int, last: int) -> Iterator[dict[str, Any]]:
    """Commits of this package, from a version to another; those that the log has dropped are not there."""
    for info in table.history(table.version() - first + 1):
        if first <= info["version"] <= last and _METADATA in info:
            yield info


def _run(extraction_id: str) -> str:
    return f"{_APPLICATION}/run/{extraction_id}"


def _sync(sync_key: str) -> str:
    return f"{_APPLICATION}/sync/{sync_key}"
