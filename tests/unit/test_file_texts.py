"""CSV and JSON Lines: every value as it is written, every line that holds no row told, wherever blocks end."""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import json
from collections.abc import Callable, Iterator
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from airflow_etl_sync.core.files import FileSet
from airflow_etl_sync.errors import DataError, SchemaError
from airflow_etl_sync.systems.files import blocks, csv_lines, lines
from airflow_etl_sync.systems.files.blocks import blocks_of
from airflow_etl_sync.systems.files.csv_lines import read_csv
from airflow_etl_sync.systems.files.json_lines import json_text, read_json_lines, texts_of
from airflow_etl_sync.systems.files.telling import kinds_of_json, kinds_of_texts, told_type


def cut(content: bytes, size: int) -> Iterator[bytes]:
    """Blocks of whole lines, of about so many bytes."""
    while content:
        end = content.find(b"\n", size - 1) + 1 or len(content)
        yield content[:end]
        content = content[end:]


def read(content: bytes, size: int = 1_000_000, columns: tuple[str, ...] = (), **options: Any) -> tuple[Any, Any]:
    """The rows of a CSV file as lists with the line of each, and what was wrong with the other lines."""
    rules = FileSet.parse("/x.csv", options)
    rows: list[Any] = []
    bad: list[Any] = []
    for piece in read_csv(cut(content, size), rules, "x.csv", columns):
        texts = [array.to_pylist() for array in piece.columns.values()]
        rows += zip(piece.numbers, map(list, zip(*texts, strict=True)), strict=True)
        bad += [(line.number, line.text) for line in piece.bad]
    return rows, bad


_FIELDS = st.text(st.sampled_from('ab ",\n\r\t1ö😀'), max_size=6)


@given(
    st.lists(st.lists(_FIELDS, min_size=2, max_size=2), max_size=12),
    st.integers(1, 60),
    st.sampled_from(["\n", "\r\n"]),
)
@example([["a", ""], ["", "b"]], 1, "\n")
@settings(max_examples=300, deadline=None)
def test_what_was_written_is_read_wherever_blocks_end(rows: list[list[str]], size: int, newline: str) -> None:
    text = io.StringIO(newline="")
    writer = csv.writer(text, quoting=csv.QUOTE_ALL, lineterminator=newline)
    writer.writerows([["x", "y"], *rows])
    found, bad = read(text.getvalue().encode(), size)
    assert [row for _, row in found] == rows and bad == []


_WORDS = st.text(st.sampled_from("ab 10.-ö"), max_size=4)


@given(st.lists(st.lists(_WORDS, min_size=1, max_size=4), max_size=20), st.integers(1, 80))
@settings(max_examples=200, deadline=None)
def test_arrow_reads_a_block_as_python_does(rows: list[list[str]], size: int) -> None:
    content = "x,y\n" + "".join(",".join(row) + "\n" for row in rows)
    fast = read(content.encode(), size)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(csv_lines._Reader, "is_plain", lambda *_: False)
        slow = read(content.encode(), size)
    assert sorted(fast[0]) == sorted(slow[0]) and sorted(fast[1]) == sorted(slow[1])


@pytest.mark.parametrize("size", [1, 7, 1_000])
@pytest.mark.parametrize(
    ("content", "rows", "bad"),
    [
        (b'1,\n2,""\n', [(2, ["1", None]), (3, ["2", ""])], []),
        (b"1,a\n2\n3,b,c\n4,d\n", [(2, ["1", "a"]), (5, ["4", "d"])], [(3, "2"), (4, "3,b,c")]),
        (b'1,"a"b\n2,c\n', [(3, ["2", "c"])], [(2, '1,"a"b')]),
        (b'1,"a\n2,b\n3,c\n', [(3, ["2", "b"]), (4, ["3", "c"])], [(2, '1,"a')]),
        (b'1,a"b\n', [(2, ["1", 'a"b'])], []),
        (b'1,"a\nb"\n2,c\n', [(2, ["1", "a\nb"]), (4, ["2", "c"])], []),
        (b"1,\xff\n2,b\n", [(3, ["2", "b"])], [(2, "1,�")]),
        (b"1,a\0\n2,b\n", [(3, ["2", "b"])], [(2, "1,a\0")]),
        (b"\n1,a\n\n\n2,b", [(3, ["1", "a"]), (6, ["2", "b"])], []),
        (b"1,a\r\n2,b\r\n", [(2, ["1", "a"]), (3, ["2", "b"])], []),
        (b" 1 , NULL \n", [(2, [" 1 ", " NULL "])], []),
    ],
)
def test_rows_and_lines_that_hold_none(content: bytes, rows: Any, bad: Any, size: int) -> None:
    found, wrong = read(b"x,y\n" + content, size)
    assert sorted(found) == rows and sorted(wrong) == bad


def test_null_is_what_is_written_so_without_quotes() -> None:
    content = b'x;y\n-;"-"\n"";\n'
    assert read(content, delimiter=";", null_values=["-"])[0] == [(2, [None, "-"]), (3, ["", ""])]


@pytest.mark.parametrize(
    ("options", "content", "row"),
    [
        ({"delimiter": "\\t"}, b"x\ty\n1\ta,b\n", ["1", "a,b"]),
        ({"quote": "'"}, b"x,y\n1,'a,\"b'\n", ["1", 'a,"b']),
        ({"quote": ""}, b'x,y\n1,"a\n', ["1", '"a']),
        ({"quote": ""}, b"x,y\n\n1,\n", ["1", None]),
        ({"header": "False"}, b"1,a\n", ["1", "a"]),
    ],
)
def test_how_a_file_is_written_can_be_said(options: dict[str, Any], content: bytes, row: list[str]) -> None:
    columns = ("x", "y") if "header" in options else ()
    assert [found for _, found in read(content, columns=columns, **options)[0]] == [row]


def test_only_the_named_columns_are_given() -> None:
    assert read(b"x,y,z\n1,2,3\n", columns=("z", "x"))[0] == [(2, ["3", "1"])]
    assert read(b'x,y,z\n"1",2,3\n', columns=("z", "x"))[0] == [(2, ["3", "1"])]


@pytest.mark.parametrize(
    ("content", "options", "said"),
    [
        (b"x,y\n", {"columns": ("z",)}, "has no column 'z'; it has x, y"),
        (b"1,2\n", {"header": False}, "has no header: name its columns"),
        (b'"x\n', {}, "has a header that cannot be read"),
    ],
)
def test_a_header_that_does_not_fit_is_refused(content: bytes, options: dict[str, Any], said: str) -> None:
    with pytest.raises(SchemaError, match=said):
        read(content, **options)


def test_a_quote_that_never_ends_costs_no_more_than_its_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "LONGEST_ROW_BYTES", 100)
    rows, bad = read(b'x,y\n0,"\n' + b"1,a\n" * 100, 20)
    assert len(rows) == 100 and bad == [(2, '0,"')]


def unpacked(content: bytes, compression: Any = "none", encoding: str = "utf-8") -> bytes:
    return b"".join(blocks_of(io.BytesIO(content), compression, encoding))


@pytest.mark.parametrize(
    ("compression", "pack"),
    [
        ("gzip", gzip.compress),
        ("bz2", bz2.compress),
        ("zstd", lambda text: pa.Codec("zstd").compress(text, asbytes=True)),
    ],
)
def test_packed_files_are_unpacked(compression: str, pack: Callable[[bytes], bytes]) -> None:
    assert unpacked(pack(b"a\nb\n"), compression) == b"a\nb\n"
    with pytest.raises(DataError, match=f"cut short, or not packed by {compression}"):
        unpacked(pack(b"a\nb\n" * 1000)[:-9], compression)
    if compression == "gzip":
        assert unpacked(pack(b"a\n") + pack(b"b\n"), compression) == b"a\nb\n"


@pytest.mark.parametrize("size", [1, 2, 3, 1000])
def test_texts_become_utf8(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "BLOCK_BYTES", size)
    for encoding in ("utf-8", "utf-8-sig", "utf-16", "cp1252"):
        assert unpacked("ö\né\n".encode(encoding), encoding=encoding) == "ö\né\n".encode(), encoding
    assert unpacked("\ufeffö\n".encode()) == "ö\n".encode()
    with pytest.raises(DataError, match="not encoded in utf-16"):
        unpacked(b"\xff\xfea\n\0", encoding="utf-16")


def test_a_line_without_end_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "LONGEST_LINE_BYTES", 5)
    monkeypatch.setattr(blocks, "BLOCK_BYTES", 2)
    with pytest.raises(DataError, match="a line of more than"):
        unpacked(b"abcdefgh")


def records(content: bytes, size: int = 1_000_000) -> tuple[list[Any], list[Any]]:
    found = [*read_json_lines(cut(content, size))]
    rows = [pair for each in found for pair in zip(each.numbers, each.values, strict=True)]
    return rows, [(line.number, line.reason) for each in found for line in each.bad]


@pytest.mark.parametrize("size", [1, 1_000])
def test_json_lines(size: int) -> None:
    content = b'{"a": 1}\n\n{"a": 1\n[1]\n{"a": NaN}\n{"a": "\\u0000"}\n{"a": "\\ud800"}\n{"a": "\xff"}\r\n{"a": 2}'
    rows, bad = records(content, size)
    assert rows == [(1, {"a": "1"}), (9, {"a": "2"})]
    assert [number for number, _ in bad] == [3, 4, 5, 6, 7, 8]
    assert bad[0][1] == "it is no JSON: Expecting ',' delimiter at character 8"
    assert records(b"[" * 100_000)[1][0][0] == 1


_JSON_TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=4)
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | _JSON_TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_JSON_TEXTS, inner, max_size=3),
    max_leaves=8,
)


@given(_JSON, st.booleans())
@settings(deadline=None)
def test_json_inside_of_json_stays_what_it_is(value: Any, escaped: bool) -> None:
    [(_, record)], bad = records(json.dumps({"v": value}, ensure_ascii=escaped).encode())
    assert bad == [] and json.loads(json_text(record["v"])) == value


def test_numbers_stay_as_they_are_written() -> None:
    [(_, record)], _ = records(b'{"v": {"a": [1.10, 1e400, 12345678901234567890123]}, "w": -0, "x": "1"}')
    values = [*record.values()]
    assert texts_of("v", values, "text") == ['{"a": [1.10, 1e400, 12345678901234567890123]}', "-0", "1"]
    assert texts_of("v", values, "jsonb") == ['{"a": [1.10, 1e400, 12345678901234567890123]}', "-0", '"1"']
    assert texts_of("v", [*record["v"].values(), None, ['a"', None]], "text[]") == [
        '{"1.10","1e400","12345678901234567890123"}', None, '{"a\\"",NULL}',
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("texts", "type_"),
    [
        (["1", "-20", None], "bigint"),
        (["1", "007"], "text"),
        (["9223372036854775808"], "numeric"),
        (["1", "2.50", "1.5e-7"], "numeric"),
        (["1e5"], "text"),
        (["+1"], "text"),
        (["true", "false"], "boolean"),
        (["t"], "text"),
        (["2026-01-31"], "date"),
        (["2026-02-31"], "text"),
        (["2026-01-31", "2026-01-31 10:00"], "timestamp without time zone"),
        (["2026-01-31T10:00:00.5Z", "2026-01-31 10:00+02"], "timestamp with time zone"),
        (["2026-01-31T10:00Z", "2026-01-31T10:00"], "text"),
        (["1", "true"], "text"),
        ([None], "text"),
        ([""], "text"),
    ],
)
def test_types_are_told_from_texts(texts: list[str | None], type_: str) -> None:
    assert told_type(kinds_of_texts(texts)) == type_


@pytest.mark.parametrize(
    ("line", "type_"),
    [
        (b'{"v": [1, "1"]}', "jsonb"),
        (b'{"v": "1"}', "text"),
        (b'{"v": 1}', "bigint"),
        (b'{"v": 1.0}', "numeric"),
        (b'{"v": 1e5}', "numeric"),
        (b'{"v": true}', "boolean"),
        (b'{"v": "2026-01-31"}', "date"),
    ],
)
def test_types_are_told_from_json(line: bytes, type_: str) -> None:
    [(_, record)], _ = records(line)
    assert told_type(kinds_of_json(record.values())) == type_
