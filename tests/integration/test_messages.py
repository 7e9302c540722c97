"""No value of a row is in an error, in what hangs on to it, or in the log."""

from __future__ import annotations

import logging
import traceback
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest

from airflow_etl_sync.core.model import Counts, LoadRules, Stream, TableName
from airflow_etl_sync.errors import ConfigurationError, DataError, DestinationError, EtlSyncError, SchemaError
from tests.carrying import FORMS, Carrier, Form

VALUE = "Lovelace"
STREAM = Stream(sync_key="t", cursor_field="c", table=TableName("t"))
TARGET = TableName("t")
RAISES = """
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN RAISE EXCEPTION 'no % here', NEW.v USING ERRCODE = '{}', DETAIL = NEW.v, HINT = NEW.v; END $$
"""
DYNAMIC = """
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN EXECUTE NEW.v; RETURN NEW; END $$
"""
FIRES = "CREATE TRIGGER refuse BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION refuse()"
CHECKS = [
    """
    CREATE FUNCTION is_fine(v text) RETURNS boolean LANGUAGE plpgsql AS
    $$ BEGIN RAISE EXCEPTION 'no % here', v; END $$
    """,
    "ALTER TABLE t ADD CHECK (is_fine(v))",
]


@pytest.fixture
def carrier(source: psycopg.Connection, source_db: str, warehouse_db: str, tmp_path: Path) -> Carrier:
    source.execute("CREATE TABLE t (id bigint PRIMARY KEY, c bigint NOT NULL, v text)")
    source.execute("INSERT INTO t VALUES (1, 1, %s)", [VALUE])
    return Carrier(source_db, warehouse_db, tmp_path / "staging")


@pytest.fixture
def target(warehouse: psycopg.Connection) -> psycopg.Connection:
    warehouse.execute("CREATE TABLE t (id bigint PRIMARY KEY, c bigint NOT NULL, v text)")
    return warehouse


def refusal(carrier: Carrier, form: Form, caplog: pytest.LogCaptureFixture, stream: Stream = STREAM) -> EtlSyncError:
    """The error that a sync ends with, after looking for the value wherever it could have got."""
    with caplog.at_level(logging.DEBUG), pytest.raises(EtlSyncError) as caught:
        carrier.carry(form, stream, TARGET)
    shown = [caplog.text]
    error: BaseException | None = caught.value
    while error is not None:
        shown += [repr(error), *traceback.format_exception(error)]
        error = error.__cause__ or error.__context__
    assert not [text for text in shown if VALUE in text]
    return caught.value


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("sqlstate", "kind"),
    [
        ("P0001", DataError),
        ("MY001", DataError),
        ("23514", DataError),
        ("22023", DataError),
        ("42501", ConfigurationError),
        ("42P01", SchemaError),
        ("40001", DestinationError),
    ],
)
def test_a_trigger_that_raises_with_the_rows_value(
    form: Form,
    sqlstate: str,
    kind: type[EtlSyncError],
    carrier: Carrier,
    target: psycopg.Connection,
    caplog: pytest.LogCaptureFixture,
) -> None:
    target.execute(RAISES.format(sqlstate))
    target.execute(FIRES)
    error = refusal(carrier, form, caplog)
    assert (type(error), error.sqlstate, error.is_retryable) == (kind, sqlstate, kind is DestinationError)
    assert sqlstate in str(error)


@pytest.mark.parametrize("form", FORMS)
def test_a_trigger_that_makes_sql_of_the_rows_value(
    form: Form, carrier: Carrier, target: psycopg.Connection, caplog: pytest.LogCaptureFixture
) -> None:
    target.execute(DYNAMIC)
    target.execute(FIRES)
    assert refusal(carrier, form, caplog).sqlstate == "42601"


@pytest.mark.parametrize("sqlstate", ["P0001", "MY001"])
@pytest.mark.parametrize("form", FORMS)
def test_a_row_that_a_trigger_refuses_may_be_set_aside(
    form: Form,
    sqlstate: str,
    carrier: Carrier,
    source: psycopg.Connection,
    target: psycopg.Connection,
    caplog: pytest.LogCaptureFixture,
) -> None:
    source.execute("INSERT INTO t VALUES (2, 2, 'fine')")
    target.execute(RAISES.format(sqlstate))
    target.execute(FIRES.replace("EXECUTE", "WHEN (NEW.v <> 'fine') EXECUTE"))
    with caplog.at_level(logging.DEBUG):
        assert carrier.carry(form, STREAM, TARGET, LoadRules(max_errors=1)) == Counts(inserted=1, errors=1)
    assert target.execute("SELECT sqlstate FROM etl_sync.failed_record").fetchall() == [(sqlstate,)]
    assert VALUE not in caplog.text


def test_a_check_whose_function_raises(
    carrier: Carrier, target: psycopg.Connection, caplog: pytest.LogCaptureFixture
) -> None:
    for statement in CHECKS:
        target.execute(statement)
    assert isinstance(refusal(carrier, "chain", caplog), DataError)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("expression", ["CASE WHEN id > 49990 THEN v::integer::text ELSE v END", "checked(id, v)"])
def test_a_stream_that_breaks_off_at_a_row(
    form: Form, expression: str, carrier: Carrier, source: psycopg.Connection, caplog: pytest.LogCaptureFixture
) -> None:
    source.execute("INSERT INTO t SELECT i, i, %s FROM generate_series(2, 50000) AS i", [VALUE])
    source.execute("""
        CREATE FUNCTION checked(id bigint, v text) RETURNS text LANGUAGE plpgsql AS
        $$ BEGIN IF id > 49990 THEN RAISE EXCEPTION 'no % here', v; END IF; RETURN v; END $$
    """)
    stream = replace(STREAM, table=None, sql=f"SELECT id, c, {expression} AS v FROM t", primary_key=("id",))
    assert isinstance(refusal(carrier, form, caplog, stream), DataError)


@pytest.mark.parametrize(
    "broken",
    [
        "ALTER TABLE etl_sync.extracted_chunk RENAME TO gone",
        "CREATE TRIGGER refuse BEFORE UPDATE ON etl_sync.sync_run FOR EACH ROW EXECUTE FUNCTION refuse()",
    ],
    ids=["where a chunk is noted", "where the end is noted"],
)
def test_state_tables_that_cannot_be_written(
    broken: str, carrier: Carrier, target: psycopg.Connection, caplog: pytest.LogCaptureFixture
) -> None:
    carrier.chain(STREAM, TARGET)
    target.execute(RAISES.replace("NEW.v", "NEW.sync_key").format("P0001"))
    target.execute(broken)
    error = refusal(carrier, "chain", caplog)
    assert "write the state tables" in str(error)
    assert not error.is_retryable
