"""Changes that are looked at many at once give what they give one by one, and the same errors."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_etl_sync.cdc.columns import Columns, last_words
from airflow_etl_sync.cdc.fold import Fold, TableFold
from airflow_etl_sync.cdc.keyed import Key
from airflow_etl_sync.cdc.messages import Messages, in_blocks
from airflow_etl_sync.cdc.pgoutput import Decoder
from airflow_etl_sync.core.changes import UNCHANGED, Delete, Identity, Relation, RelationColumn, RowChange, Values
from airflow_etl_sync.errors import EtlSyncError, StateError
from tests.unit.log import about_table, relation, row


def table_of(identity: Identity = "d", id_: int = 1) -> Relation:
    names = {"v": False, "a": True, "b": True, "w": False}
    return Relation(id_, "public", f"t{id_}", identity, tuple(RelationColumn(*each, 25, -1) for each in names.items()))


KEY_PLACES = (2, 1)
TABLE, OTHER = table_of(), table_of(id_=2)
KEYS = ["", "1", "12", "ü", "1" * 300]
TEXTS = [None, "", "x", "größer", "x" * 5000]

Told = tuple[Relation, bytes]


def rows(key: Sequence[str | None] = KEYS, text: Sequence[str | None] = TEXTS) -> st.SearchStrategy[Values]:
    return st.tuples(*map(st.sampled_from, (text, key, key, text)))


def plain(table: Relation = TABLE) -> st.SearchStrategy[Told]:
    return st.builds(
        lambda kind, values: (table, _told(table, kind, values)),
        st.sampled_from([b"IN", b"UN", b"DK", b"DO"]),
        rows(),
    )


def _told(table: Relation, kind: bytes, values: Values) -> bytes:
    return about_table(table, kind[:1], kind[1:] + row(values))


def other(table: Relation = TABLE) -> st.SearchStrategy[Told]:
    """Changes that are not plain: of a key, or with values that the log leaves out."""
    return st.builds(
        lambda kind, old, new, is_partial: (
            table,
            about_table(table, b"U", kind + row(old) + b"N" + row((*new[:3], UNCHANGED if is_partial else new[3]))),
        ),
        st.sampled_from([b"K", b"O"]), rows(), rows(), st.booleans(),
    )  # fmt: skip


def one_by_one(told: Sequence[Told]) -> Fold:
    fold, decoder = new_fold(), Decoder()
    for table in (TABLE, OTHER):
        decoder.decode(relation(table))
    for _, message in told:
        change = decoder.decode(message)
        assert isinstance(change, RowChange)
        fold.add(change)
    return fold


def at_once(told: Sequence[Told], most: int) -> Fold:
    fold, decoder = new_fold(), Decoder()
    for table in (TABLE, OTHER):
        decoder.decode(relation(table))
    for block in in_blocks((message for _, message in told), most):
        begin = fold.changes
        for table in (TABLE, OTHER):
            places = [place for place in range(len(block)) if told[begin + place][0] is table]
            if places:
                fold.add_rows(table, block, np.array(places), decoder)
    return fold


def new_fold() -> Fold:
    return Fold({str(table): ("b", "a") for table in (TABLE, OTHER)})


def outcome(table: TableFold) -> tuple[dict[Key, Values], set[Key]]:
    """The rows that are to be, by key, and the keys that have to go."""
    if not table.columns:
        return {key: each.values for key, each in table.upserts.items()}, set(table.deletes)
    last = last_words(table.columns, table.key_places)
    kept = list(zip(*(column.to_pylist() for column in last.rows), strict=True))
    keys = [tuple(values[place] for place in KEY_PLACES) for values in kept]
    assert len(set(keys)) == len(keys)
    return dict(zip(keys, kept, strict=True)), set(zip(*(column.to_pylist() for column in last.deleted), strict=True))


def outcomes(fold: Fold) -> dict[str, tuple[dict[Key, Values], set[Key]]]:
    return {str(table.relation): outcome(table) for table in fold.tables.values()}


@settings(deadline=None)  # the first example loads pyarrow
@given(st.lists(plain() | plain(OTHER), max_size=30), st.integers(1, 10))
def test_plain_changes_give_what_they_give_one_by_one(told: list[Told], most: int) -> None:
    fold = at_once(told, most)
    assert all(not table.upserts and not table.deletes for table in fold.tables.values()), "they stay columns"
    assert (fold.changes, outcomes(fold)) == (len(told), outcomes(one_by_one(told)))


@given(st.lists(plain() | plain(OTHER) | other(), max_size=30), st.integers(1, 10))
def test_so_they_do_where_others_are_among_them(told: list[Told], most: int) -> None:
    expected, fold = one_by_one(told), at_once(told, most)
    assert (fold.changes, outcomes(fold)) == (len(told), outcomes(expected))
    for id_, table in fold.tables.items():
        assert table.changes == expected.tables[id_].changes
        assert table.columns or table.upserts == expected.tables[id_].upserts, "with what is known of moved rows"


def test_emptying_a_table_forgets_its_columns() -> None:
    fold = at_once([(TABLE, _told(TABLE, b"IN", ("v", "1", "2", "w")))] * 3, 3)
    table = fold.tables[TABLE.id]
    assert len(table.columns) == 1
    table.truncate()
    assert (table.is_truncated, table.columns, outcome(table)) == (True, [], ({}, set()))


@pytest.mark.parametrize(
    "values",
    [(None, "1", None, None), (None, "1", UNCHANGED, None), ("v", "1", "2")],
    ids=["a key that is NULL", "a key that is left out", "too few values"],
)
@pytest.mark.parametrize("kind", [b"IN", b"UN", b"DK"])
def test_a_change_that_does_not_tell_its_key_is_the_same_error(kind: bytes, values: Values) -> None:
    told = [(TABLE, _told(TABLE, b"IN", ("v", "1", "2", "w"))), (TABLE, _told(TABLE, kind, values))]
    assert error_of(lambda: at_once(told, 10)) == error_of(lambda: one_by_one(told))


@pytest.mark.parametrize("identity", ["n", "i"])
def test_updates_under_an_identity_without_the_key_are_the_same_error(identity: Identity) -> None:
    columns = tuple(RelationColumn(each.name, False, 25, -1) for each in TABLE.columns)
    table = Relation(3, "public", "t3", identity, columns)
    decoder, fold = Decoder(), Fold({str(table): ("b", "a")})
    decoder.decode(relation(table))
    messages = [_told(table, kind, ("v", "1", "2", "w")) for kind in (b"IN", b"UN")]
    with pytest.raises(EtlSyncError, match="replica identity"):
        fold.add_rows(table, Messages.joined(messages), np.arange(2), decoder)


@given(st.lists(plain(), min_size=1, max_size=4), st.data())
def test_broken_messages_are_not_plain(told: list[Told], data: st.DataObject) -> None:
    """Cut short, with bytes changed or added: what is taken for plain decodes one by one to the same."""
    messages = [message for _, message in told]
    place = data.draw(st.integers(0, len(messages) - 1))
    broken = bytearray(messages[place])
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(5, max(5, min(40, len(broken) - 1))))
        how = data.draw(st.sampled_from(["change", "cut", "add"]))
        if how == "change" and at < len(broken):
            broken[at] = data.draw(st.sampled_from(b"\0\1ntubKON\xff"))
        elif how == "cut":
            del broken[at:]
        else:
            broken += b"n"
    messages[place] = bytes(broken)
    columns = Columns.of(TABLE, Messages.joined(messages), np.arange(len(messages)))
    if columns is None:
        return
    decoder = Decoder()
    decoder.decode(relation(TABLE))
    try:
        found = list(zip(*(columns.values(place).to_pylist() for place in range(4)), strict=True))
    except StateError:
        with pytest.raises(StateError, match="UTF-8"):
            _ = [decoder.decode(message) for message in messages]
        return
    changes = [decoder.decode(message) for message in messages]
    assert found == [change.old if isinstance(change, Delete) else getattr(change, "new", None) for change in changes]


def test_text_that_is_not_utf_8_is_an_error_in_words() -> None:
    message = about_table(TABLE, b"I", b"N" + struct.pack(">H", 4) + b"t\0\0\0\2\xff\xfe" + b"t\0\0\0\x011" * 2 + b"n")
    columns = Columns.of(TABLE, Messages.joined([message]), np.arange(1))
    assert columns is not None
    with pytest.raises(StateError, match="not UTF-8"):
        last_words([columns], KEY_PLACES)


@given(st.lists(st.binary(max_size=20)), st.integers(1, 5))
def test_messages_come_back_from_blocks(messages: list[bytes], most: int) -> None:
    blocks = list(in_blocks(messages, most))
    assert [message for block in blocks for message in block] == messages
    assert all(1 <= len(block) <= most for block in blocks)
    kinds = [int(kind) for block in blocks for kind in block.kinds]
    assert kinds == [message[0] if message else 0 for message in messages]


def error_of(attempt: Callable[[], object]) -> tuple[type[Exception], str]:
    with pytest.raises(EtlSyncError) as raised:
        attempt()
    return type(raised.value), str(raised.value)
