# Every target sets up what it needs. `make help` lists them.
SHELL := /bin/bash
.DEFAULT_GOAL := help

BIN := .venv/bin
READY := .venv/.ready
PYTEST := OMP_NUM_THREADS=1 $(BIN)/pytest -q

.PHONY: help setup robot-side demo test test-core test-flows fmt lint lock check bench stress clean

help: ## list the targets
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 14

$(READY): requirements.lock pyproject.toml scripts/setup
	@scripts/setup

setup: $(READY) ## create .venv and install the locked dependencies
	@git config --get core.hooksPath >/dev/null || $(BIN)/pre-commit install >/dev/null 2>&1 || true

robot-side: ## the PC beside a robot: .venv-robot (or ROBOT_VENV) without JAX, torch and Prefect
	@scripts/setup-robot-side

demo: $(READY) ## one RECAP iteration in simulation, with a report (about 6 minutes, CPU only)
	@$(BIN)/recap demo $(ARGS)

test: test-core ## unit tests; those of tasks start a local Prefect server
	$(PYTEST) -n 2 --dist loadfile tests/tasks tests/deployments

test-core: $(READY) ## unit tests of recap_core
	$(PYTEST) -n 2 --dist loadfile tests/core

test-flows: $(READY) ## flow tests against a real Prefect server
	$(PYTEST) tests/flows

e2e: $(READY) ## the plumbing demo through the real command line, twice
	$(PYTEST) tests/e2e

fmt: $(READY) ## format and fix
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

lint: $(READY) ## style, types, import contracts, spelling, lock file
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/pyright
	$(BIN)/typos
	scripts/check-lock

# One run: what talks to servers waits a lot, and leaves the cores to what computes.
check: lint ## everything CI runs
	$(PYTEST) -n 3 --dist loadfile --no-loadscope-reorder tests/e2e tests/flows tests/tasks tests/deployments tests/core

# Two sides of a benchmark share no compiled programs: each store keeps its own.
bench: $(READY) ## benchmarks; each prints a ratio measured in one run
	JAX_COMPILATION_CACHE_DIR= $(PYTEST) tests/benchmarks --benchmark-only --timeout=600 -p no:randomly \
	    -o addopts="--import-mode=importlib"

stress: $(READY) ## kill drills: every writer of datasets, values, labels, every stage of the demo; Ray, plugins
	RECAP_KILLS=50 $(PYTEST) tests/core/data/test_kills.py tests/core/data/test_export_kills.py
	RECAP_KILLS=50 $(PYTEST) -s tests/stress --timeout=7200
	RECAP_LONG=1 $(PYTEST) tests/core/training/test_many_devices.py \
	    tests/flows/test_full_size_presets.py --timeout=1800
	RECAP_LONG=1 $(PYTEST) $$(grep -rl --include='*.py' '^@given' tests) --timeout=1800
	scripts/test-ray
	scripts/test-plugins

lock: $(READY) ## resolve pyproject.toml anew into requirements.lock and requirements-robot.lock
	$(BIN)/uv pip compile pyproject.toml --group dev --generate-hashes \
	    --no-annotate --no-header --python-version 3.12 --quiet --upgrade -o requirements.lock
	scripts/lock-robot-side requirements-robot.lock

clean: ## remove the virtual environment and caches, keep RECAP_HOME
	rm -rf .venv .venv-robot .pytest_cache .ruff_cache .benchmarks
