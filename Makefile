# Everything runs from .venv, which the first target that needs it creates. `make help` lists the targets.
PYTHON ?= python3
ROWS ?=
PYTEST_ARGS ?=
WORKERS ?= 2
WHAT ?= sync
PAIRS ?= 3.1:3.10 3.2:3.13
MINUTES ?= 30
SEED ?=
ROUNDS ?= 3
LARGEST ?= 1000000
BENCH_ARGS ?= --write tests/benchmarks/RESULTS.md
SHELL := /bin/bash

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
BIGQUERY := .venv-bigquery
BIGQUERY_STAMP := $(BIGQUERY)/.installed

.DEFAULT_GOAL := help
.PHONY: help test test-system test-compat soak bench bench-growth lint format types wheel demo ui pictures clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

$(STAMP): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[demo,test,dev]'
	touch $@

# The emulator of BigQuery takes another DuckDB and sqlglot than the rest of the tests.
$(BIGQUERY_STAMP): tests/bigquery_emulator.txt
	test -x $(BIGQUERY)/bin/python || $(PYTHON) -m venv $(BIGQUERY)
	$(BIGQUERY)/bin/python -m pip install --quiet --requirement tests/bigquery_emulator.txt
	touch $@

test: $(STAMP) $(BIGQUERY_STAMP) ## run every test, by WORKERS processes; PYTEST_ARGS="-k name" chooses
	ETL_SYNC_REQUIRE_BIGQUERY=1 $(BIN)/python -m pytest tests --numprocesses $(WORKERS) --dist loadfile --durations=15 $(PYTEST_ARGS)

test-system: $(STAMP) $(BIGQUERY_STAMP) ## run the integration tests on the system's PostgreSQL 15, where it is installed, by WORKERS processes
	ETL_SYNC_REQUIRE_BIGQUERY=1 tests/system_postgres.sh $(BIN)/python -m pytest tests/integration --numprocesses $(WORKERS) --dist loadfile \
		--durations=5 $(PYTEST_ARGS)

test-compat: $(STAMP) ## run a part of the tests on PAIRS="3.1:3.10 3.2:3.13" of Airflow and Python, with our oldest dependencies
	$(BIN)/python -m tests.compatibility --workers $(WORKERS) $(PAIRS)

soak: $(STAMP) ## for MINUTES, kill syncs (or captures: WHAT=cdc, WHAT=binlog) beside busy writers, compare every row; SEED= repeats
	$(BIN)/python -m tests.scenarios.soak --what "$(WHAT)" --minutes "$(MINUTES)" --seed "$(SEED)"

bench: $(STAMP) ## compare with COPY and with dlt: ROWS rows, ROUNDS rounds, BENCH_ARGS="--no-dlt --no-airflow"
	$(BIN)/python -m tests.benchmarks --rows "$(or $(ROWS),2000000)" --rounds "$(ROUNDS)" $(BENCH_ARGS)

bench-growth: $(STAMP) ## draw how cost grows, up to LARGEST rows
	$(BIN)/python -m tests.benchmarks.growth --largest "$(LARGEST)" --draw tests/benchmarks/growth.svg

lint: $(STAMP) ## check style and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(STAMP) ## mend style and format where ruff can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: $(STAMP) ## check types strictly
	$(BIN)/mypy

wheel: $(STAMP) ## build the wheel and prove that it works in an empty environment
	rm -rf dist
	$(BIN)/python -m build --no-isolation --outdir dist .
	tests/wheel_in_empty_venv.sh $(BIN)/python dist/*.whl

demo: $(STAMP) ## sync a shop of ROWS orders between two databases, then capture its changes, and check every row
	$(BIN)/python -m airflow_etl_sync.demo --rows "$(or $(ROWS),100000)"

ui: $(STAMP) ## the same, then leave Airflow running until Ctrl-C
	$(BIN)/python -m airflow_etl_sync.demo --ui --rows "$(or $(ROWS),100000)"

pictures: $(STAMP) ## take the pictures in docs/images anew; needs Chromium and ChromeDriver
	$(BIN)/python -m tests.page.pictures docs/images

clean: ## remove what the other targets made
	rm -rf $(VENV) $(BIGQUERY) .bench .compat dist build .demo .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
