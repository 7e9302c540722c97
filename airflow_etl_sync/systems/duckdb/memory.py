"""What a file remembers of the chunks that have landed in it: in its schema ``etl_sync``, beside the rows."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING

from airflow_etl_sync.systems import remembered
from airflow_etl_sync.systems.base import Landed, Mark, Merged
from airflow_etl_sync.systems.duckdb import sql

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection


def landed(connection: DuckDBPyConnection, target: str, extraction_id: str) -> Mapping[int, Landed]:
    """What has landed of a run, by the number of the chunk."""
    has_memory = connection.execute(sql.HAS_MEMORY).fetchone()
    if has_memory == (0,):
        return {}
    found = connection.execute(sql.FIND_LANDED, [target, extraction_id]).fetchall()
    return {number: remembered.from_json(json.loads(content)) for number, content in found}


def refuse_landed(connection: DuckDBPyConnection, target: str, mark: Mark) -> None:
    """:raises StateError: where the chunk has landed, or a newer run of the sync has"""
    connection.execute(sql.CREATE_MEMORY)
    numbers = [row[0] for row in connection.execute(sql.FIND_LANDED, [target, mark.extraction_id]).fetchall()]
    if mark.number in numbers:
        raise remembered.has_landed(mark)
    if mark.yields and _turn(connection, target, mark) > mark.turn:
        raise remembered.newer_has_landed(mark, target)


def note(connection: DuckDBPyConnection, target: str, mark: Mark, merged: Merged) -> None:
    """Write down, in the merge's transaction, what it came to, and forget what nobody will ask for."""
    content = json.dumps(remembered.to_json(merged, mark.position))
    entry = [target, mark.extraction_id, mark.number, mark.sync_key, mark.turn, mark.yields, content]
    connection.execute(sql.NOTE_LANDED, entry)
    if mark.overtakes:
        turn = max(mark.turn, _turn(connection, target, mark))
        connection.execute(sql.FORGET_TURN, [target, mark.sync_key])
        connection.execute(sql.NOTE_TURN, [target, mark.sync_key, turn])
        connection.execute(sql.FORGET_LANDED, [target, mark.sync_key, turn, turn - remembered.WEEK])


def _turn(connection: DuckDBPyConnection, target: str, mark: Mark) -> int:
    found = connection.execute(sql.FIND_TURN, [target, mark.sync_key]).fetchone()
    return int(found[0]) if found and found[0] is not None else 0
