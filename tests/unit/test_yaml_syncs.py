"""Syncs declared in YAML: each wrong value is told with its line, and hides no other sync."""

from __future__ import annotations

import cProfile
import inspect
import json
import pstats
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest
import yaml

import airflow_etl_sync
from airflow_etl_sync import ConfigurationError, dags_from_yaml, incremental_sync, refuse_invalid_syncs
from airflow_etl_sync.yaml_syncs.building import DAG_TERMS
from airflow_etl_sync.yaml_syncs.checking import REQUIRED, SCHEMA

if TYPE_CHECKING:
    from collections.abc import Callable

SAMPLE = Path(__file__).parents[2] / "dags" / "syncs.yaml"
DEFAULTS = """\
defaults:
  source_conn_id: shop_db
  destination_conn_id: warehouse
  cursor_field: updated_at
  schedule: "@hourly"
syncs:
"""
GOOD = "  good: {table: public.a, destination_table: public.b}\n"
MAKERS: dict[str, Any] = {
    "chain": airflow_etl_sync.incremental_sync,
    "one_task": airflow_etl_sync.IncrementalSyncOperator,
    "reconcile": airflow_etl_sync.ReconcileOperator,
    "cdc": airflow_etl_sync.CdcSyncOperator,
}


@pytest.fixture
def written(tmp_path: Path) -> Callable[[str], Path]:
    """A maker of files: takes a text, gives where it is."""

    def write(text: str) -> Path:
        path = tmp_path / "syncs.yaml"
        path.write_text(text, encoding="utf-8")
        return path

    return write


def said_of(path: Path) -> list[str]:
    """What is wrong with a file's syncs, a line each; nothing where all are right."""
    try:
        refuse_invalid_syncs(path)
    except ConfigurationError as error:
        return str(error).splitlines()
    return []


def task_ids(dag: Any) -> list[str]:
    return sorted(dag.task_ids)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("syncs: [", ": the file is no YAML"),
        ("a: b: c", "syncs.yaml, line 1: the file is no YAML"),
        ("syncs:\n  a: *b\n", "syncs.yaml, line 2: the file is no YAML: found undefined alias"),
        ("\x01", "the file is no YAML: it holds characters"),
        ("", "line 1: the file must be a mapping with the key syncs"),
        ("- a", "line 1: the file must be a mapping with the key syncs"),
        ("defaults: {}", "line 1: the key syncs is missing"),
        ("syncs: {}\nsync: {}", "line 2: the file has no key sync: it has defaults and syncs"),
        ("syncs: {}\nsyncs: {}", "line 2: the file has the key syncs twice"),
        ("syncs: [a]", "line 1: syncs must be a mapping"),
        ("defaults:\n  table: a\n  table: b\nsyncs: {}", "line 3: defaults has the key table twice"),
        ("defaults:\n  tabel: a\nsyncs: {}", "line 2: the defaults have no key tabel: did you mean table?"),
        ("defaults:\n  sync_key: a\nsyncs: {}", "line 2: the defaults have no key sync_key"),
        ("defaults: 5\nsyncs: {}", "line 1: defaults must be a mapping"),
    ],
)
def test_a_file_that_is_wrong_as_a_whole_is_refused(text: str, said: str, written: Callable[[str], Path]) -> None:
    path = written(text)
    with pytest.raises(ConfigurationError) as refused:
        dags_from_yaml(path)
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("path", "said"),
    [("syncs.yaml", "is not a full path: give one, such as Path(__file__)"), ("/no/such", "cannot be")],
)
def test_a_file_that_is_not_there_is_refused(path: str, said: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        dags_from_yaml(path)
    assert said in str(refused.value)


SOUND = "table: public.t, destination_table: public.u"


@pytest.mark.parametrize(
    ("entry", "line", "said"),
    [
        ("  bad: {tabel: a, destination_table: b}", 8, "chain has no key tabel: did you mean table?"),
        ("  bad:\n    table: a\n    destination_table: b\n    bogus: 1", 11, "chain has no key bogus."),
        ("  bad: {kind: cdc, destination_table: u}", 8, "did you mean destination_tables?"),
        ("  bad:\n    kind: chains\n    table: t", 9, 'kind "chains" is not known: use chain, one_task'),
        ("  bad: {table: a}", 8, "destination_table is missing."),
        ("  bad: 5", 8, "it must be a mapping."),
        ("  bad:", 8, "it must be a mapping."),
        (f"  bad: {{{SOUND}, lag: PT1M, lag: PT2M}}", 8, "the key lag is given twice."),
        (f"  bad: {{{SOUND}}}\n  bad: {{{SOUND}}}", 9, "the sync is there more than once, on the lines 8, 9."),
        ("  bad: !!python/object:os.system {}", 8, "could not determine a constructor"),
        (f"  bad: {{{SOUND}, max_errors: -1}}", 8, "max_errors must be a whole number of at least 0, or a template"),
        (f"  bad: {{{SOUND}, max_errors: many}}", 8, 'or a template, not "many".'),
        (f"  bad: {{{SOUND}, full_refresh: 'yes'}}", 8, "full_refresh must be true or false, or a"),
        (f"  bad: {{{SOUND}, conflict: i_win}}", 8, "conflict must be one of source_wins, dest_wins, latest_wins"),
        (f"  bad: {{{SOUND}, lag: 5 minutes}}", 8, "lag must be a duration such as PT5M"),
        (f"  bad: {{{SOUND}, tags: [a, 5]}}", 8, 'tags must be a list of texts, not ["a", 5].'),
        ("  bad:\n    table: a\n    destination_table: b\n    tags:\n      - a\n      - 5", 13, "tags must be a list"),
        ("  bad:\n    table: a.b.c\n    destination_table: b", 8, "'a.b.c' is not a table name"),
        (f"  bad: {{{SOUND}, sql: SELECT 1}}", 8, "Give exactly one of table, sql, endpoint and uri"),
        ("  bad:\n    sql: no.sql\n    destination_table: b", 9, "sql names the file 'no.sql', which is not in"),
        (f"  bad:\n    schedule: 61 * * * *\n    {SOUND.replace(', ', chr(10) + '    ')}", 9, "schedule '61"),
        (f"  bad: {{{SOUND}, timezone: Nowhere}}", 8, "timezone 'Nowhere' is not known"),
        (f"  bad: {{{SOUND}, start_date: yesterday}}", 8, "start_date must be a date or a moment, such as 2026-01-31"),
        (f"  bad: {{{SOUND}, catchup: true}}", 8, "start_date is missing: catchup makes up for every run since then."),
        (f"  bad: {{{SOUND}, retry_delay: '30'}}", 8, "retry_delay must be a duration such as PT30S, not '30'."),
        (f"  bad: {{{SOUND}, params: {{a: {{default: 5, type: string}}}}}}", 8, "its DAG is refused by Airflow: "),
        (f"  bad: {{{SOUND}, full_refresh: true, range_start: '1'}}", 8, "full_refresh and range_start/range_end"),
        (f"  bad: {{{SOUND}, schema_contract: discard_row}}", 8, "say with max_errors or max_error_percent"),
        ("  bad: {kind: reconcile, table: a, destination_table: b, delete: gently}", 8, "delete must be one of hard"),
        ("  bad: {kind: cdc, tables: [a, a]}", 8, "tables must be a list of names, none empty and none given twice"),
        (f"  'b d': {{{SOUND}}}", 8, "its DAG is refused by Airflow: "),
    ],
)  # fmt: skip
def test_a_sync_that_is_wrong_is_told_with_its_line_and_hides_no_other(
    entry: str, line: int, said: str, written: Callable[[str], Path]
) -> None:
    path = written(f"{DEFAULTS}{GOOD}{entry}\n")
    name = "b d" if "b d" in entry else "bad"
    [told] = said_of(path)
    assert told.startswith(f"syncs.yaml, line {line}: sync {name!r}: "), told
    assert said in told
    dags = dags_from_yaml(path)
    assert task_ids(dags["good"]) == ["sync.advance", "sync.extract", "sync.load"]
    [invalid] = [dag for dag_id, dag in dags.items() if dag_id != "good"]
    assert invalid.dag_id == ("b_d_invalid" if name == "b d" else "bad")
    assert invalid.tags == {"etl-sync", "etl-sync-invalid"}
    assert task_ids(invalid) == ["invalid_sync"]
    assert told in (invalid.doc_md or "")
    reason: Any = invalid.get_task("invalid_sync")
    assert reason.reason == told


def test_files_need_no_connection_and_all_else_does(written: Callable[[str], Path]) -> None:
    text = (
        DEFAULTS + "  a: {cursor_field: file_name, uri: /x/*.csv, primary_key: id, destination_table: b}\n"
    ).replace("  source_conn_id: shop_db\n", "")
    assert said_of(written(text)) == []
    text += (
        "  b: {table: t, destination_table: b}\n  c: {uri: /x/*.csv, destination_table: b, file_options: {haeder: 1}}\n"
    )
    assert [line.partition("sync ")[2] for line in said_of(written(text))] == [
        "'b': source_conn_id is missing.", "'c': file_options has no key 'haeder': did you mean header?",
    ]  # fmt: skip


def test_all_that_is_wrong_is_told_at_once_in_the_order_of_lines(written: Callable[[str], Path]) -> None:
    text = f"{DEFAULTS}  a:\n    conflict: no\n    max_errors: -1\n    tabel: t\n{GOOD}  b: {{}}\n"
    lines = [line.split(":")[0] for line in said_of(written(text))]
    assert lines == [f"syncs.yaml, line {number}" for number in (8, 9, 10, 12)]


def test_a_wrong_default_is_told_where_it_stands_and_only_of_syncs_that_take_it(written: Callable[[str], Path]) -> None:
    text = DEFAULTS.replace("syncs:", "  conflict: i_win\nsyncs:") + GOOD
    text += f"  own: {{{SOUND}, conflict: dest_wins}}\n  bare: {{{SOUND}, conflict: null}}\n"
    [told] = said_of(written(text))
    assert told.startswith("syncs.yaml, line 6: sync 'good': conflict must be one of")


def test_an_invalid_sync_keeps_its_schedule_where_that_is_sound(written: Callable[[str], Path]) -> None:
    text = f"{DEFAULTS}  a: {{tabel: t, schedule: 5 * * * *}}\n  b: {{{SOUND}, schedule: nonsense}}\n"
    dags = dags_from_yaml(written(text))
    schedules: list[Any] = [dags[name].schedule for name in ("a", "b")]
    assert schedules == ["5 * * * *", None]


def test_syncs_that_would_share_a_watermark_are_refused(written: Callable[[str], Path]) -> None:
    text = f"{DEFAULTS}{GOOD}  other: {{{SOUND}, sync_key: good}}\n"
    assert [line.partition(": its ")[2].split(":")[0] for line in said_of(written(text))] == [
        "sync_key 'good' is that of 'other' (line 8) too",
        "sync_key 'good' is that of 'good' (line 7) too",
    ]
    others = f"  backfill: {{{SOUND}, sync_key: good, range_start: '2026-01-01'}}\n"
    others += f"  deleted: {{kind: reconcile, {SOUND}, sync_key: good}}\n"
    assert said_of(written(DEFAULTS + GOOD + others)) == []


def test_what_a_sync_says_goes_before_the_defaults_and_null_takes_one_back(written: Callable[[str], Path]) -> None:
    text = DEFAULTS.replace("syncs:", "  where: id > 0\n  retries: 5\n  tags: [shop]\nsyncs:")
    text += f"  a: {{kind: one_task, {SOUND}}}\n"
    text += f"  b: {{kind: one_task, {SOUND}, where: null, retries: 0, tags: [mine], schedule: null, lag: 0:05:00}}\n"
    dags = dags_from_yaml(written(text))
    a, b = (dags[name].get_task("sync") for name in "ab")
    first: Any = a
    second: Any = b
    schedules: list[Any] = [dags[name].schedule for name in "ab"]
    assert (first.where, first.retries, first.sync_key, schedules[0]) == ("id > 0", 5, "a", "@hourly")
    assert (second.where, second.retries, second.sync_key, schedules[1]) == (None, 0, "b", None)
    assert second.lag == "0:05:00", "no number of seconds, as YAML 1.1 would have it"
    assert (dags["a"].tags, dags["b"].tags) == ({"etl-sync", "shop"}, {"etl-sync", "mine"})


def test_what_is_said_of_the_dag_and_its_tasks_arrives(written: Callable[[str], Path]) -> None:
    text = f"""{DEFAULTS}  a:
    {SOUND.replace(", ", chr(10) + "    ")}
    timezone: Europe/Berlin
    start_date: 2026-03-01
    end_date: 2026-12-31T12:00:00+00:00
    catchup: true
    max_active_runs: 3
    description: A table.
    doc_md: "# Docs"
    params: {{range: {{default: null, type: ["null", string]}}, full: false}}
    full_refresh: "{{{{ params.full }}}}"
    owner: data
    retries: 7
    retry_delay: PT1M
    execution_timeout: PT1H
    pool: slow
    queue: big
"""
    dag = dags_from_yaml(written(text))["a"]
    assert dag.start_date == datetime(2026, 2, 28, 23, tzinfo=timezone.utc)
    assert dag.end_date == datetime(2026, 12, 31, 12, tzinfo=timezone.utc)
    assert (dag.catchup, dag.max_active_runs, dag.description, dag.doc_md) == (True, 3, "A table.", "# Docs")
    assert dict(dag.params) == {"range": None, "full": False}
    task: Any = dag.get_task("sync.extract")
    assert (task.full_refresh, task.owner, task.retries, task.pool, task.queue) == (
        "{{ params.full }}", "data", 7, "slow", "big",
    )  # fmt: skip
    assert (task.retry_delay, task.execution_timeout) == (timedelta(minutes=1), timedelta(hours=1))


def test_every_argument_may_be_a_template(written: Callable[[str], Path]) -> None:
    for kind, maker in MAKERS.items():
        names = set(inspect.signature(maker).parameters) - {"group_id", "default_args", "kwargs"}
        of_others = {"sql", "endpoint", "uri", "file_options"} if "table" in names else set()  # one stream is read
        left_out = of_others | {"transform"}  # which is code
        templates = dict.fromkeys(names - left_out, "{{ params.x }}")
        text = yaml.safe_dump({"syncs": {"a": {"kind": kind, **templates}}})
        assert said_of(written(text)) == [], kind


def test_a_query_in_a_file_is_looked_for_beside_the_yaml(written: Callable[[str], Path], tmp_path: Path) -> None:
    (tmp_path / "orders.sql").write_text("SELECT 1 AS id, now() AS updated_at")
    path = written(f"{DEFAULTS}  a: {{kind: one_task, sql: orders.sql, primary_key: id, destination_table: b}}\n")
    dag: Any = dags_from_yaml(path)["a"]
    dag.fileloc = "/elsewhere/dags.py"
    dag.resolve_template_files()
    assert dag.get_task("sync").sql.startswith("SELECT 1")


def test_ids_are_those_of_the_file_each_time(written: Callable[[str], Path]) -> None:
    def described() -> dict[str, list[str]]:
        return {dag_id: task_ids(dag) for dag_id, dag in dags_from_yaml(SAMPLE).items()}

    assert described() == described()
    assert described() == {
        "shop_orders": ["sync.advance", "sync.extract", "sync.load"],
        "shop_users": ["sync"],
        "shop_orders_deleted": ["reconcile"],
        "shop_items_by_cdc": ["capture", "set_up"],
    }


def test_a_task_s_process_makes_its_own_dag_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("_AIRFLOW_PARSING_CONTEXT_DAG_ID", "shop_users")
    assert list(dags_from_yaml(SAMPLE)) == ["shop_users"]


@pytest.mark.parametrize("kind", sorted(MAKERS))
def test_the_schema_knows_exactly_what_the_operators_take(kind: str) -> None:
    schema = json.loads(SCHEMA.read_text())
    arguments = inspect.signature(MAKERS[kind]).parameters
    names = set(arguments) - {"group_id", "default_args", "kwargs"}
    assert set(schema["definitions"][kind]["properties"]) == names | DAG_TERMS
    needed = {name for name in names if arguments[name].default is inspect.Parameter.empty} - {"sync_key"}
    assert set(REQUIRED[kind]) == needed


def test_the_schema_is_one_that_editors_can_use() -> None:
    schema = json.loads(SCHEMA.read_text())
    jsonschema.Draft7Validator.check_schema(schema)
    editor = jsonschema.Draft7Validator(schema)
    sample = yaml.load(SAMPLE.read_text(), yaml.BaseLoader)
    sample["syncs"]["shop_users"]["max_errors"] = 10
    sample["syncs"]["shop_orders"]["params"]["full_refresh"]["default"] = False
    assert [error.message for error in editor.iter_errors(sample)] == []
    terms = schema["definitions"]["terms"]["properties"]
    assert all(term["description"] and term["errorMessage"] for term in terms.values())
    sample["syncs"]["shop_users"]["tabel"] = "public.users"
    assert any("tabel" in error.message for error in editor.iter_errors(sample))


def calls_of(work: Callable[[], object]) -> int:
    """How many functions are called: the same on every machine, whatever else it does."""
    profile = cProfile.Profile()
    profile.runcall(work)
    return int(pstats.Stats(profile).total_calls)  # type: ignore[attr-defined]


def many(count: int) -> str:
    lines = (
        f"  sync_{number}: {{table: public.t{number}, destination_table: public.t{number}}}" for number in range(count)
    )
    return DEFAULTS + "\n".join(lines) + "\n"


def test_reading_grows_with_the_number_of_syncs_and_no_faster(written: Callable[[str], Path]) -> None:
    dags_from_yaml(written(many(1)))
    fifty = calls_of(lambda: dags_from_yaml(written(many(50))))
    two_hundred = calls_of(lambda: dags_from_yaml(written(many(200))))
    assert two_hundred < 4.4 * fifty


def test_reading_costs_little_beside_what_the_same_dags_cost_in_python(written: Callable[[str], Path]) -> None:
    from airflow.sdk import DAG

    def by_hand() -> None:
        for number in range(50):
            with DAG(f"sync_{number}", schedule="@hourly") as dag:
                incremental_sync(
                    group_id="sync", sync_key=f"sync_{number}", source_conn_id="shop_db",
                    destination_conn_id="warehouse", cursor_field="updated_at", table=f"public.t{number}",
                    destination_table=f"public.t{number}",
                )  # fmt: skip
            dag.validate()  # type: ignore[no-untyped-call]

    path = written(many(50))
    dags_from_yaml(path)
    by_hand()
    assert calls_of(lambda: dags_from_yaml(path)) < 2.5 * calls_of(by_hand)
