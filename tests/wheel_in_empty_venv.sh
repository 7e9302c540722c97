#!/usr/bin/env bash
# Installs a wheel into an empty environment and proves that Airflow finds the provider and the page there, its command
# starts, and its example DAGs import.
# Usage: tests/wheel_in_empty_venv.sh PYTHON WHEEL
set -euo pipefail

python=$1
wheel=$(realpath "$2")
constraints=$(realpath "$(dirname "${BASH_SOURCE[0]}")/../constraints.txt")

room=$(mktemp -d)
trap 'rm -rf "$room"' EXIT
export AIRFLOW_HOME="$room/airflow" AIRFLOW__CORE__LOAD_EXAMPLES=False
unset PYTHONPATH

"$python" -m venv "$room/venv"
"$room/venv/bin/python" -m pip install --quiet --constraint "$constraints" "$wheel"
cd "$room" # so that nothing is imported from the checkout

"$room/venv/bin/airflow" providers list --output plain | tee "$room/providers"
grep --quiet '^airflow-etl-sync ' "$room/providers" || { echo "airflow providers list does not show airflow-etl-sync" >&2; exit 1; }

"$room/venv/bin/etl-sync" watermark rewind --help

"$room/venv/bin/airflow" plugins --output plain | tee "$room/plugins"
grep --quiet '^etl_sync ' "$room/plugins" || { echo "airflow plugins does not show etl_sync" >&2; exit 1; }

"$room/venv/bin/python" - <<'CODE'
from airflow_etl_sync.plugin.app import the_app
from airflow_etl_sync.plugin.pages import _templates, static_file

templates = _templates()
for name in ("list", "sync", "failed", "rewind", "reset", "replay", "trouble"):
    templates.get_template(f"{name}.html")
if not (static_file("page.css") and static_file("page.js")):
    raise SystemExit("the wheel lacks the page's style sheet or script")
print(f"page: {len(the_app().routes)} routes")
CODE

"$room/venv/bin/python" - <<'CODE'
from pathlib import Path

from airflow.dag_processing.dagbag import DagBag

from airflow_etl_sync import example_dags

[folder] = example_dags.__path__
files = sorted(path.name for path in Path(folder).glob("*.py"))
bag = DagBag(dag_folder=folder)
if bag.import_errors:
    raise SystemExit("\n".join(f"{path}: {error}" for path, error in bag.import_errors.items()))
makes_none = {"sync_factory_errors.py"}  # it only tells what is wrong with the DAGs of another file
without = set(files) - {Path(dag.fileloc).name for dag in bag.dags.values()} - makes_none
if without or not files:
    raise SystemExit(f"examples without a DAG: {sorted(without) or 'the wheel ships no example at all'}")
for dag_id, dag in sorted(bag.dags.items()):
    print(f"example {Path(dag.fileloc).name}: {dag_id}, {len(dag.tasks)} tasks")
CODE
