"""Declared syncs → DAGs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import yaml
from airflow.providers.common.compat.sdk import AirflowException
from airflow.sdk import DAG, Param

from airflow_etl_sync.errors import ConfigurationError
from airflow_etl_sync.factory import PATIENCE, incremental_sync
from airflow_etl_sync.operators import _arguments as arguments
from airflow_etl_sync.operators import _journey_terms as journey_terms
from airflow_etl_sync.operators._transform_terms import check_transform
from airflow_etl_sync.operators.cdc import CdcSyncOperator
from airflow_etl_sync.operators.cdc_slot import CdcSetUpOperator
from airflow_etl_sync.operators.reconcile import ReconcileOperator
from airflow_etl_sync.operators.sync import IncrementalSyncOperator
from airflow_etl_sync.yaml_syncs.checking import DeclaredSync, is_templated

if TYPE_CHECKING:
    from datetime import tzinfo

TAG = "etl-sync"
_BEGINNING = datetime(2000, 1, 1, tzinfo=timezone.utc)
"""Without catch-up a start only has to lie in the past."""

_OF_DAG = ("schedule", "timezone", "start_date", "end_date", "catchup", "max_active_runs", "tags", "description")
_OF_DAG_TOO = ("doc_md", "params")
_OF_TASKS = ("owner", "retries", "retry_delay", "execution_timeout", "pool", "queue")
DAG_TERMS = frozenset({"kind", *_OF_DAG, *_OF_DAG_TOO, *_OF_TASKS})
"""What an entry says of its DAG and tasks; all else are arguments of operators."""

_STAND_INS: dict[str, Any] = {
    **dict.fromkeys(
        ("sync_key", "cursor_field", "table", "destination_table", "sql", "endpoint", "transform_sql"), "x"
    ),
    "uri": "/x",
    "max_errors": 1,
}
"""In place of a value that only the run knows, so that the others can be looked at before."""


def build(sync: DeclaredSync, folder: Path) -> DAG:
    """Make the DAG of a sync.

    :param folder: where ``.sql`` files are looked for
    :returns: a DAG that is not registered yet
    :raises ConfigurationError: where one of its values cannot be
    """
    given = {name: value for name, value in sync.terms.items() if name not in DAG_TERMS}
    given.setdefault("sync_key", sync.name)
    _refuse_wrong(sync.kind, given, folder)
    dag = new_dag(sync, folder)
    with _explaining("it"), dag:
        _TASKS[sync.kind](given)
    return dag


def new_dag(sync: DeclaredSync, folder: Path, **others: Any) -> DAG:
    """Make the sync's DAG, without tasks.

    :param others: what is said of the DAG in place of what the sync says
    :raises ConfigurationError: where its schedule, or another of its terms, cannot be
    """
    terms = sync.terms
    said = {
        **_schedule(terms),
        "max_active_runs": terms.get("max_active_runs", 1),
        "tags": sorted({TAG, *terms.get("tags", ())}),
        "description": terms.get("description"),
        "doc_md": terms.get("doc_md") or _told(sync),
        "params": {name: _param(value) for name, value in terms.get("params", {}).items()},
        "default_args": {**PATIENCE, **_task_terms(terms)},
    }
    with _explaining("its DAG"):
        dag = DAG(sync.name, template_searchpath=[str(folder)], auto_register=False, **{**said, **others})
    with _explaining(f"schedule {terms['schedule']!r}" if terms.get("schedule") else "its DAG"):
        dag.validate()  # type: ignore[no-untyped-call] # of the schedule, above all
    return dag


def _told(sync: DeclaredSync) -> str:
    """What the sync says, as YAML, for those who look at its DAG."""
    dumper: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
    text = yaml.dump(dict(sync.terms), Dumper=dumper, sort_keys=False, allow_unicode=True, width=110)
    return f"A sync declared in YAML:\n\n```yaml\n{text}```\n"


def _schedule(terms: Mapping[str, Any]) -> dict[str, Any]:
    zone = _zone(terms.get("timezone"))
    start, end = (_moment(name, terms.get(name), zone) for name in ("start_date", "end_date"))
    catchup = terms.get("catchup", False)
    if catchup and start is None:
        raise ConfigurationError("start_date is missing: catchup makes up for every run since then.")
    start = start or _BEGINNING.replace(tzinfo=zone)
    return {"schedule": terms.get("schedule"), "start_date": start, "end_date": end, "catchup": catchup}


@contextmanager
def _explaining(what: str) -> Iterator[None]:
    """Turn what Airflow says of a DAG that cannot be into our error.

    :raises ConfigurationError: with Airflow's own words
    """
    try:
        yield
    except (AirflowException, ValueError, TypeError) as error:
        raise ConfigurationError(f"{what} is refused by Airflow: {error}") from error


def _refuse_wrong(kind: str, given: Mapping[str, Any], folder: Path) -> None:
    """Look at the values as the run will, as far as they are known before.

    :raises ConfigurationError: naming what is wrong
    """
    for name in ("sql", "transform_sql"):
        sql = given.get(name, "")
        if sql.endswith(".sql") and not is_templated(sql) and not (folder / sql).is_file():
            raise ConfigurationError(f"{name} names the file {sql!r}, which is not in the folder of the YAML file.")
    known = {name: _STAND_INS.get(name) if is_templated(value) else value for name, value in given.items()}
    asked = SimpleNamespace(**{**_UNSAID, **known})
    for term in _LOOKS[kind]:
        term(asked)
    for name in ("destination_table", "table"):
        if known.get(name) is not None:
            journey_terms.table_of(name, known[name])


_UNSAID: dict[str, Any] = dict.fromkeys(
    "sync_key cursor_field table sql endpoint primary_key columns where on_cursor_null lag initial_value range_start "
    "range_end full_refresh transform transform_sql lookups conflict conflict_field create_table synced_at_column "
    "schema_contract max_errors max_error_percent delete max_delete_percent destination_where add_column "
    "destination_tables tables uri file_options".split()
)
_LOOKS: dict[str, tuple[Callable[[Any], object], ...]] = {
    "chain": (journey_terms.stream_of, journey_terms.window_rules_of, journey_terms.load_rules_of, check_transform),
    "one_task": (journey_terms.stream_of, journey_terms.window_rules_of, journey_terms.load_rules_of, check_transform),
    "reconcile": (journey_terms.key_stream_of, journey_terms.reconcile_rules_of),
    "cdc": (journey_terms.load_rules_of, lambda asked: arguments.as_tables("tables", asked.tables)),
}


def _task_terms(terms: Mapping[str, Any]) -> dict[str, Any]:
    given = {name: terms[name] for name in _OF_TASKS if terms.get(name) is not None}
    for name in {"retry_delay", "execution_timeout"} & given.keys():
        given[name] = _duration(name, given[name])
    return given


def _param(value: Any) -> Any:
    is_schema = isinstance(value, Mapping) and "default" in value
    return Param(**value) if is_schema else value


def _duration(name: str, value: Any) -> timedelta:
    try:
        duration = arguments.as_lag(name, value)
    except ConfigurationError:
        duration = 0
    if not isinstance(duration, timedelta) or not duration:
        raise ConfigurationError(f"{name} must be a duration such as PT30S, not {value!r}.")
    return duration


def _zone(name: str | None) -> tzinfo:
    import pendulum

    try:
        return pendulum.timezone(name or "UTC")
    except ValueError:
        raise ConfigurationError(f"timezone {name!r} is not known: use a name such as Europe/Berlin.") from None


def _moment(name: str, value: str | None, zone: tzinfo) -> datetime | None:
    import pendulum
    from pendulum.parsing.exceptions import ParserError

    if value is None:
        return None
    try:
        moment: object = pendulum.parse(value, tz=zone)
    except (ParserError, ValueError):
        moment = None
    if not isinstance(moment, datetime):
        raise ConfigurationError(f"{name} must be a date or a moment, such as 2026-01-31, not {value!r}.")
    return moment


def _chain(given: dict[str, Any]) -> None:
    incremental_sync(group_id="sync", **given)


def _one_task(given: dict[str, Any]) -> None:
    IncrementalSyncOperator(task_id="sync", **given)


def _reconcile(given: dict[str, Any]) -> None:
    ReconcileOperator(task_id="reconcile", **given)


def _cdc(given: dict[str, Any]) -> None:
    of_slot = {name: given[name] for name in ("source_conn_id", "tables", "slot", "publication") if name in given}
    CdcSetUpOperator(task_id="set_up", **of_slot) >> CdcSyncOperator(task_id="capture", **given)


_TASKS: dict[str, Callable[[dict[str, Any]], None]] = {
    "chain": _chain,
    "one_task": _one_task,
    "reconcile": _reconcile,
    "cdc": _cdc,
}
