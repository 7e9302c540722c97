"""What a database remembers of the chunks that have landed in it, beside the tables that they have landed in."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from sqlalchemy import (
    BigInteger,
    Column,
    Integer,
    MetaData,
    SmallInteger,
    String,
    Table,
    Text,
    delete,
    insert,
    inspect,
    select,
    update,
)
from sqlalchemy.dialects.mysql import LONGTEXT
from sqlalchemy.exc import IntegrityError

from airflow_etl_sync.errors import StateError
from airflow_etl_sync.systems import remembered
from airflow_etl_sync.systems.base import Landed, Mark, Merged

if TYPE_CHECKING:
    from sqlalchemy import Connection

_WHOLE = 0
"""The part of a chunk's entry that tells the whole; each further part is a failed record."""

metadata = MetaData()
_options: Mapping[str, Any] = {"mysql_engine": "InnoDB", "mysql_charset": "utf8mb4", "mysql_collate": "utf8mb4_bin"}
turns = Table(
    "etl_sync_turn",
    metadata,
    Column("stream", String(64), primary_key=True),
    Column("turn", BigInteger, nullable=False),
    **_options,
)
landed = Table(
    "etl_sync_landed",
    metadata,
    Column("run", String(64), primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("part", Integer, primary_key=True, autoincrement=False),
    Column("stream", String(64), nullable=False, index=True),
    Column("turn", BigInteger, nullable=False),
    Column("yields", SmallInteger, nullable=False),
    Column("content", Text().with_variant(LONGTEXT(), "mysql", "mariadb"), nullable=False),
    **_options,
)
"""Names are kept as digests: of any length, and compared letter by letter by every database."""


class Memory:
    """What is remembered of one target.

    :param target: the table's name
    :param shares_locks: whether the database lets several transactions hold a row against being changed
    """

    def __init__(self, target: str, *, shares_locks: bool) -> None:
        self._target = target
        self._shares_locks = shares_locks

    def recall(self, connection: Connection, extraction_id: str) -> dict[int, Landed]:
        """What has landed of a run, by chunk."""
        if not inspect(connection).has_table(landed.name):
            return {}
        entries = select(landed.c.number, landed.c.content).where(landed.c.run == self._digest(extraction_id))
        parts: dict[int, list[Any]] = {}
        for number, content in connection.execute(entries.order_by(landed.c.number, landed.c.part)):
            parts.setdefault(number, []).append(json.loads(content))
        return {number: remembered.from_json({**whole, "failed": failed}) for number, (whole, *failed) in parts.items()}

    def take_turn(self, connection: Connection, mark: Mark) -> None:
        """Let no older run of the sync land anything from now on, in a transaction of its own.

        It waits for those that are about to commit, and forgets what they have landed.
        """
        if not (mark.overtakes or mark.yields):
            return
        stream = self._digest(mark.sync_key)
        found = connection.execute(select(turns.c.turn).where(turns.c.stream == stream)).scalar()
        if found is None:
            connection.execute(insert(turns).values(stream=stream, turn=mark.turn if mark.overtakes else 0))
        elif mark.overtakes and found < mark.turn:
            older = (turns.c.stream == stream) & (turns.c.turn < mark.turn)
            connection.execute(update(turns).where(older).values(turn=mark.turn))
            idle = (landed.c.turn < mark.turn) & (landed.c.yields == 1) | (landed.c.turn < mark.turn - remembered.WEEK)
            connection.execute(delete(landed).where((landed.c.stream == stream) & idle))

    def claim(self, connection: Connection, mark: Mark) -> None:
        """Note in the merge's transaction that the chunk lands, and keep newer runs waiting until it has.

        :raises StateError: where a newer run has landed something, or (retryable) the chunk has landed by now
        """
        if mark.yields and self._hold(connection, mark) > mark.turn:
            raise remembered.newer_has_landed(mark, self._target)
        try:
            connection.execute(insert(landed).values(**self._entry(mark, _WHOLE), content="{}"))
        except IntegrityError:
            raise StateError(
                f"Another try has loaded chunk {mark.number} meanwhile: the next try goes on after it.",
                is_retryable=True,
            ) from None

    def note(self, connection: Connection, mark: Mark, merged: Merged) -> None:
        """Write down what the merge of a claimed chunk came to."""
        whole = remembered.to_json(merged, mark.position)
        failed = whole.pop("failed")
        entry = (landed.c.run == self._digest(mark.extraction_id)) & (landed.c.number == mark.number)
        connection.execute(update(landed).where(entry).values(content=json.dumps(whole)))
        parts = [
            {**self._entry(mark, part), "content": json.dumps(each)}
            for part, each in enumerate(failed, start=_WHOLE + 1)
        ]
        if parts:
            connection.execute(insert(landed), parts)

    def _hold(self, connection: Connection, mark: Mark) -> int:
        """The turn, which nobody else changes before this transaction ends."""
        own = turns.c.stream == self._digest(mark.sync_key)
        query = select(turns.c.turn).where(own)
        if self._shares_locks:
            query = query.with_for_update(read=True)
        else:
            connection.execute(update(turns).where(own).values(turn=turns.c.turn))
        return int(connection.execute(query).scalar_one())

    def _entry(self, mark: Mark, part: int) -> dict[str, Any]:
        return {
            "run": self._digest(mark.extraction_id),
            "number": mark.number,
            "part": part,
            "stream": self._digest(mark.sync_key),
            "turn": mark.turn,
            "yields": int(mark.yields),
        }

    def _digest(self, name: str) -> str:
        return hashlib.sha256(json.dumps([name, self._target]).encode()).hexdigest()
