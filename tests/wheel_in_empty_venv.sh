#!/usr/bin/env bash
# Installs a wheel into an empty environment and proves that Airflow finds the provider there and its example DAGs import.
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

"$room/venv/bin/python" - <<'CODE'
import importlib
import pkgutil

from airflow.sdk import DAG

from airflow_etl_sync import example_dags

names = sorted(module.name for module in pkgutil.iter_modules(example_dags.__path__))
if not names:
    raise SystemExit("the wheel ships no example DAG")
for name in names:
    module = importlib.import_module(f"airflow_etl_sync.example_dags.{name}")
    dag_ids = sorted(value.dag_id for value in vars(module).values() if isinstance(value, DAG))
    if not dag_ids:
        raise SystemExit(f"the example {name} defines no DAG")
    print(f"example {name}: {', '.join(dag_ids)}")
CODE
