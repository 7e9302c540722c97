"""Messages of pgoutput, built by the manual's tables, come back as what they say; anything else is one error."""

from __future__ import annotations

import struct
from contextlib import suppress
from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_etl_sync.cdc.pgoutput import Decoder
from airflow_etl_sync.core.changes import (
    UNCHANGED,
    Begin,
    Commit,
    Delete,
    Insert,
    LogicalMessage,
    Origin,
    Relation,
    RelationColumn,
    Truncate,
    TypeMessage,
    Update,
    Values,
    lsn_of,
    lsn_text,
)
from airflow_etl_sync.errors import StateError
from tests.unit.log import about_table, relation, row, text

TABLE = Relation(16_384, "public", "t", "d", (RelationColumn("id", True, 20, -1), RelationColumn("v", False, 1043, 24)))
MOMENT = datetime(2026, 1, 2, 3, 4, 5, 678_901, tzinfo=timezone.utc)
MICROSECONDS = (MOMENT - datetime(2000, 1, 1, tzinfo=timezone.utc)) // timedelta(microseconds=1)


def about(kind: bytes, rest: bytes) -> bytes:
    return about_table(TABLE, kind, rest)


@pytest.fixture
def decoder() -> Decoder:
    known = Decoder()
    known.decode(relation(TABLE))
    return known


OTHERS = [
    (b"B" + struct.pack(">qqI", 5, MICROSECONDS, 77), Begin(5, MOMENT, 77)),
    (b"C" + struct.pack(">Bqqq", 0, 5, 9, MICROSECONDS), Commit(5, 9, MOMENT)),
    (b"O" + struct.pack(">q", 3) + text("elsewhere"), Origin(3, "elsewhere")),
    (b"Y" + struct.pack(">I", 99) + text("") + text("mood"), TypeMessage(99, "pg_catalog", "mood")),
    (
        b"M" + struct.pack(">Bq", 1, 8) + text("p") + struct.pack(">I", 2) + b"\0\1",
        LogicalMessage(8, True, "p", b"\0\1"),
    ),
    (relation(TABLE), TABLE),
]


@pytest.mark.parametrize(("data", "message"), OTHERS, ids=[type(message).__name__ for _, message in OTHERS])
def test_messages_that_are_no_changes(data: bytes, message: object) -> None:
    assert Decoder().decode(data) == message


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (about(b"I", b"N" + row(("1", None))), Insert(TABLE, ("1", None))),
        (about(b"U", b"N" + row(("1", UNCHANGED))), Update(TABLE, None, ("1", UNCHANGED))),
        (about(b"U", b"K" + row(("1", None)) + b"N" + row(("2", "ü"))), Update(TABLE, ("1", None), ("2", "ü"))),
        (about(b"U", b"O" + row(("1", "")) + b"N" + row(("1", "b"))), Update(TABLE, ("1", ""), ("1", "b"), False)),
        (about(b"D", b"K" + row(("1", None))), Delete(TABLE, ("1", None))),
        (about(b"D", b"O" + row(("1", "a"))), Delete(TABLE, ("1", "a"), False)),
        (b"T" + struct.pack(">IBI", 1, 0, TABLE.id), Truncate((TABLE,))),
    ],
)
def test_changes(decoder: Decoder, data: bytes, message: object) -> None:
    assert decoder.decode(data) == message


def test_a_table_told_again_unchanged_is_the_same_object(decoder: Decoder) -> None:
    first = decoder.decode(relation(TABLE))
    assert decoder.decode(relation(TABLE)) is first
    wider = Relation(TABLE.id, "public", "t", "f", (*TABLE.columns, RelationColumn("w", False, 25, -1)))
    assert decoder.decode(relation(wider)) == wider
    assert decoder.decode(about(b"I", b"N" + row(("1", "2", "3")))) == Insert(wider, ("1", "2", "3"))


VALUES = st.none() | st.just(UNCHANGED) | st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))


@given(st.tuples(VALUES, VALUES), st.tuples(VALUES, VALUES))
def test_any_values_come_back(old: Values, new: Values) -> None:
    decoder = Decoder()
    decoder.decode(relation(TABLE))
    assert decoder.decode(about(b"U", b"O" + row(old) + b"N" + row(new))) == Update(TABLE, old, new, False)


WHOLE = [
    about(b"I", b"N" + row(("1", "abc"))),
    about(b"U", b"K" + row(("1", None)) + b"N" + row(("2", "b"))),
    about(b"D", b"K" + row(("1", None))),
    b"T" + struct.pack(">IBI", 1, 0, TABLE.id),
    *(data for data, _ in OTHERS),
]


@given(st.sampled_from(WHOLE), st.data())
def test_a_message_cut_short_is_one_error(message: bytes, data: st.DataObject) -> None:
    decoder = Decoder()
    decoder.decode(relation(TABLE))
    cut = message[: data.draw(st.integers(0, len(message) - 1))]
    with pytest.raises(StateError):
        decoder.decode(cut)


@given(st.binary(max_size=60), st.sampled_from(b"BCIUDTROYMZ"))
def test_any_bytes_are_a_message_or_one_error(rest: bytes, kind: int) -> None:
    decoder = Decoder()
    decoder.decode(relation(TABLE))
    with suppress(StateError):
        assert decoder.decode(bytes([kind]) + rest) is not None


@pytest.mark.parametrize("kind", [b"S", b"b", b"\xff", b""])
def test_a_kind_of_another_protocol_is_named(kind: bytes) -> None:
    with pytest.raises(StateError, match="protocol 1 of pgoutput does not have"):
        Decoder().decode(kind + b"\0\0\0\1")


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (b"b" + struct.pack(">I", 1) + b"xn", "kind b'b', binary"),
        (b"zn", "not whole"),
        (b"t" + struct.pack(">I", 1) + b"\xfcn", "not UTF-8"),
        (b"nn\0", "not whole"),
        (b"nnn", "not whole"),
    ],
)
def test_values_that_were_not_asked_for_are_named(decoder: Decoder, values: bytes, said: str) -> None:
    with pytest.raises(StateError, match=said):
        decoder.decode(about(b"I", b"N" + struct.pack(">H", 2) + values))


@pytest.mark.parametrize("kind", [b"I", b"U", b"D"])
def test_a_table_not_told_before_is_an_error(decoder: Decoder, kind: bytes) -> None:
    with pytest.raises(StateError, match="not told before"):
        decoder.decode(kind + struct.pack(">I", TABLE.id + 1) + b"N" + row(("1", None)))


@pytest.mark.parametrize("microseconds", [2**63 - 1, -(2**63)])
def test_moments_that_no_calendar_has_are_an_error(microseconds: int) -> None:
    with pytest.raises(StateError, match="not whole"):
        Decoder().decode(b"B" + struct.pack(">qqI", 5, microseconds, 77))


def test_errors_hold_no_values(decoder: Decoder) -> None:
    with pytest.raises(StateError) as refused:
        decoder.decode(about(b"I", b"N" + row(("secret", None, None))))
    assert "secret" not in str(refused.value)
    assert (refused.value.__cause__, refused.value.__suppress_context__) == (None, True)


@given(st.integers(0, 2**64 - 1))
def test_positions_are_written_as_postgresql_does(lsn: int) -> None:
    assert lsn_of(lsn_text(lsn)) == lsn
    assert lsn_text(lsn_of("16/B374D848")) == "16/B374D848"
