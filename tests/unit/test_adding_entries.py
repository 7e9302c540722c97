"""An entry comes into a YAML file of syncs, and all else stays as its author wrote it."""

from __future__ import annotations

from pathlib import Path

import pytest

from airflow_etl_sync.errors import ConfigurationError
from airflow_etl_sync.yaml_syncs.adding import add_entry
from airflow_etl_sync.yaml_syncs.checking import check
from airflow_etl_sync.yaml_syncs.reading import read

TERMS = {
    "source_conn_id": "a", "destination_conn_id": "b", "table": "public.t", "destination_table": "public.t",
    "cursor_field": "updated_at", "schedule": "@hourly",
}  # fmt: skip
FILE = """# kept
defaults: {tags: [x]}
syncs:
    one: # kept too
        {source_conn_id: a, destination_conn_id: b, destination_table: t, table: t, cursor_field: id}
    two:
        source_conn_id: a
        destination_conn_id: b
        destination_table: u
        table: u
        cursor_field: id
"""


@pytest.mark.parametrize("text", [None, "syncs:\n", FILE, FILE.rstrip("\n"), FILE + "# the end\n"])
def test_an_entry_is_added(text: str | None, tmp_path: Path) -> None:
    path = tmp_path / "syncs.yaml"
    if text is not None:
        path.write_text(text)
    add_entry(path, "new", TERMS, replacing=False)
    syncs = {sync.name: sync for sync in check(read(path))}
    assert syncs["new"].problems == () and syncs["new"].terms.items() >= TERMS.items()
    assert len(syncs) == (3 if text and "one" in text else 1)
    assert path.read_text().startswith((text or "syncs:\n").rstrip("\n").removesuffix("# the end").rstrip("\n"))
    assert [each.name for each in tmp_path.iterdir()] == ["syncs.yaml"]


def test_an_entry_of_that_name_is_replaced_only_when_asked(tmp_path: Path) -> None:
    path = tmp_path / "syncs.yaml"
    path.write_text(FILE)
    with pytest.raises(ConfigurationError, match="has a sync 'one' already"):
        add_entry(path, "one", TERMS, replacing=False)
    assert path.read_text() == FILE
    add_entry(path, "one", TERMS, replacing=True)
    syncs = {sync.name: sync.terms["cursor_field"] for sync in check(read(path))}
    assert syncs == {"one": "updated_at", "two": "id"}
    assert path.read_text().startswith("# kept\ndefaults: {tags: [x]}\nsyncs:\n")


@pytest.mark.parametrize(
    ("text", "said"),
    [("syncs: {}\n", "line by line"), ("a: [\n", "no YAML"), ("other: 1\n", "no key syncs"), ("", "no key syncs")],
)
def test_a_file_that_cannot_take_one_stays_as_it_is(text: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "syncs.yaml"
    path.write_text(text)
    with pytest.raises(ConfigurationError, match=said):
        add_entry(path, "new", TERMS, replacing=False)
    assert path.read_text() == text


def test_an_entry_that_would_be_wrong_is_not_written(tmp_path: Path) -> None:
    path = tmp_path / "syncs.yaml"
    with pytest.raises(ConfigurationError, match="cursor_feld"):
        add_entry(path, "new", {**TERMS, "cursor_feld": "x"}, replacing=False)
    assert not path.exists()
