"""Events of a binary log that end before all is told."""

from __future__ import annotations

import pytest

from airflow_etl_sync.cdc.binlog.events import Event, Kind
from airflow_etl_sync.cdc.binlog.retelling import Retelling
from airflow_etl_sync.cdc.binlog.shapes import Shapes
from airflow_etl_sync.errors import SourceError

EVENTS = [Event(Kind.ROTATE, 0, 4, b""), Event(Kind.FORMAT, 0, 250, b""), Event(Kind.XID, 0, 300, b"")]


@pytest.mark.parametrize("events", [EVENTS[:given] for given in range(3)])
def test_a_log_that_is_not_sent_to_its_end_is_not_taken_for_read(events: list[Event]) -> None:
    with pytest.raises(SourceError, match="before all of it was sent") as caught:
        list(Retelling(Shapes(True, {}, {}), {}, 4).messages(events, upto=300, most=1))
    assert caught.value.is_retryable


def test_a_log_that_is_sent_to_its_end_is_read() -> None:
    assert list(Retelling(Shapes(True, {}, {}), {}, 4).messages(EVENTS, upto=300, most=1)) == []
