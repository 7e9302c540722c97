"""Which chunks are extracted, and which are loaded: the checkpoint of every run."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from typing import Any

from sqlalchemy import Connection, insert, select, update
from sqlalchemy.exc import IntegrityError

from airflow_etl_sync.core.model import Chunk, Counts
from airflow_etl_sync.errors import StateError
from airflow_etl_sync.state.tables import extracted_chunk, loaded_chunk


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What a retry continues from.

    :param chunks: the chunks that are complete, in order
    :param resume_after: the position of the last row of the last one; None where there is none
    """

    chunks: tuple[Chunk, ...] = ()
    resume_after: dict[str, Any] | None = None


def read_checkpoint(connection: Connection, extraction_id: str) -> Checkpoint:
    """The complete chunks of an extraction."""
    rows = connection.execute(
        select(extracted_chunk)
        .where(extracted_chunk.c.extraction_id == extraction_id)
        .order_by(extracted_chunk.c.number)
    ).all()
    if not rows:
        return Checkpoint()
    return Checkpoint(tuple(Chunk(row.number, row.rows, row.bytes, row.writer) for row in rows), rows[-1].resume_after)


def record_extracted(connection: Connection, extraction_id: str, chunk: Chunk, resume_after: dict[str, Any]) -> None:
    """Note that a chunk is complete, and where reading goes on after it.

    :raises StateError: (retryable) where another try of the task has done so in the meantime
    """
    values = {"extraction_id": extraction_id, "resume_after": resume_after, **asdict(chunk)}
    try:
        with connection.begin_nested():
            connection.execute(insert(extracted_chunk).values(**values))
    except IntegrityError:
        raise StateError(
            f"Another try of this task has completed chunk {chunk.number} meanwhile: the next try goes on after it.",
            is_retryable=True,
        ) from None


def claim(connection: Connection, extraction_id: str, number: int, target: str) -> bool:
    """Take a chunk for loading in this transaction; False where it is loaded already.

    The claim is the ledger's own row, written first: a second load of the same chunk waits on it, and finds
    the chunk loaded once the first commits, or free once the first is gone.
    """
    values = {"extraction_id": extraction_id, "number": number, "target": target}
    try:
        with connection.begin_nested():
            connection.execute(
                insert(loaded_chunk).values(**values, **asdict(Counts()), loaded_at=datetime.now(timezone.utc))
            )
    except IntegrityError:
        return False
    return True


def record_loaded(connection: Connection, extraction_id: str, number: int, target: str, counts: Counts) -> None:
    """Write a claimed chunk's counts, in the transaction that merged it."""
    connection.execute(
        update(loaded_chunk)
        .where(
            loaded_chunk.c.extraction_id == extraction_id,
            loaded_chunk.c.number == number,
            loaded_chunk.c.target == target,
        )
        .values(**asdict(counts))
    )


def loaded(connection: Connection, extraction_id: str) -> dict[str, dict[int, Counts]]:
    """The counts of each loaded chunk, by target and chunk number."""
    found: dict[str, dict[int, Counts]] = {}
    rows = connection.execute(select(loaded_chunk).where(loaded_chunk.c.extraction_id == extraction_id))
    for row in rows:
        counts = Counts(row.inserted, row.updated, row.skipped, row.errors)
        found.setdefault(row.target, {})[row.number] = counts
    return found
