"""Which files are read and how: what endings and options tell, and what is refused by name."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest

from airflow_etl_sync import ConfigurationError, incremental_sync
from airflow_etl_sync.core.columns import ColumnTypes, noted
from airflow_etl_sync.core.files import FileSet
from airflow_etl_sync.core.unread import UNREAD, Sieve, Unread, unread_field
from airflow_etl_sync.errors import DataError
from airflow_etl_sync.operators import _arguments as arguments


@pytest.mark.parametrize(
    ("name", "form", "compression", "delimiter"),
    [
        ("a.csv", "csv", "none", ","),
        ("x.y/a.TSV.gz", "csv", "gzip", "\t"),
        ("a.jsonl.bz2", "jsonl", "bz2", ","),
        ("a.ndjson.zst", "jsonl", "zstd", ","),
        ("a.b.parquet", "parquet", "none", ","),
    ],
)
def test_the_ending_tells(name: str, form: str, compression: str, delimiter: str) -> None:
    files = FileSet.parse("/x/*", {})
    assert (files.format_of(name), files.compression_of(name)) == (form, compression)
    assert files.delimiter_of(name.lower()) == delimiter


def test_what_the_author_says_goes_before() -> None:
    files = FileSet.parse("/x/*", {"format": "csv", "compression": "gzip", "delimiter": "tab", "header": "false"})
    assert (files.format_of("a"), files.compression_of("a"), files.delimiter_of("a")) == ("csv", "gzip", "\t")
    assert files.header is False


@pytest.mark.parametrize("name", ["a", "a.gz", "x.csv/a", ".csv.txt"])
def test_an_ending_that_tells_nothing_is_refused(name: str) -> None:
    with pytest.raises(ConfigurationError, match="an ending that tells no format"):
        FileSet.parse("/x/*", {}).format_of(name)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"delimeter": ";"}, "file_options has no key 'delimeter': did you mean delimiter?"),
        ({"zzz": 1}, "file_options has no key 'zzz': it has format, compression,"),
        ({"format": "xml"}, "format of file_options must be one of csv, jsonl, parquet, not 'xml'"),
        ({"compression": "zip"}, "compression of file_options must be one of none, gzip, bz2, zstd"),
        ({"delimiter": ";;"}, "delimiter of file_options must be one ASCII character"),
        ({"delimiter": "ß"}, "delimiter of file_options must be one ASCII character"),
        ({"quote": "|"}, "quote of file_options must be"),
        ({"header": 5}, "header of file_options must be true or false"),
        ({"encoding": "utf-9"}, "encoding of file_options must be an encoding that Python knows"),
        ({"null_values": [None]}, "null_values of file_options must be a list of texts"),
        ({"column_types": {"a": 5}}, "column_types of file_options must be a mapping of columns to types"),
        ({"column_types": ["a"]}, "column_types of file_options must be a mapping of columns to types"),
        ({"file_columns": ["name"]}, "file_columns of file_options must be some of file_modified, file_name, file_row"),
    ],
)
def test_a_wrong_option_is_refused_by_name(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        FileSet.parse("/x/*", options)
    assert said in str(refused.value) and "\n" not in str(refused.value)


@pytest.mark.parametrize(("uri", "said"), [(" ", "uri is empty"), ("s3://c@b/x?.csv", "uri holds '?'")])
def test_a_uri_that_cannot_be_is_refused(uri: str, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said.replace("?", r"\?")):
        FileSet.parse(uri, {})


@pytest.mark.parametrize("given", ['{"header": false}', "{'header': False}", {"header": False}])
def test_options_come_as_a_mapping_or_as_its_text(given: object) -> None:
    assert arguments.as_options("file_options", given) == {"header": False}
    assert arguments.as_options("file_options", None) == {}
    with pytest.raises(ConfigurationError, match="file_options must be a mapping of options to values"):
        arguments.as_options("file_options", "header")


def test_a_source_is_named_unless_it_is_files() -> None:
    with pytest.raises(ConfigurationError, match="source_conn_id is missing"):
        incremental_sync(
            group_id="g", sync_key="s", table="t", cursor_field="c", destination_conn_id="w", destination_table="t"
        )


def test_records_that_could_not_be_read_are_taken_out() -> None:
    schema = pa.schema([noted("id", pa.string(), ColumnTypes("text", "text")), unread_field()])
    unread = Unread(place="a.csv, line 2", reason="it is none", text="se cret")
    batch = pa.RecordBatch.from_pydict({"id": ["1", None], UNREAD: [None, unread.to_text()]}, schema=schema)
    sieve = Sieve(schema, [batch, batch.slice(0, 1)])
    assert [each.to_pydict() for each in sieve] == [{"id": ["1"]}, {"id": ["1"]}] and sieve.schema.names == ["id"]
    [failed] = sieve.failed(("id",))
    assert (failed.key, failed.error) == ((None,), "a.csv, line 2: it is none")
    assert failed.payload == {"id": None, UNREAD: unread.to_text()}
    assert "se cret" not in repr(failed) + repr(unread)
    with pytest.raises(DataError, match="is not what this package writes"):
        Unread.from_text("5")


def test_rows_of_other_sources_pass_as_they_are() -> None:
    batch = pa.RecordBatch.from_pydict({"id": [1]})
    sieve = Sieve(batch.schema, [batch])
    assert next(iter(sieve)) is batch and sieve.failed(("id",)) == ()
