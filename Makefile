# `make` shows what there is. Everything runs in .venv, which is made on first use.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
VERSION := $(shell sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
COMPILE = $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --strip-extras --generate-hashes --no-annotate \
	--no-header --upgrade

.DEFAULT_GOAL := help
.PHONY: help demo demo-prefect test unit browser prometheus local without-docker faults deploy release lint bench \
	up down lock clean

help: ## Show the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(VENV)/installed ## Build a graph in a real Neo4j from Celery workers; KEEP=1 leaves them running
	@$(BIN)/lightrag-neo4j demo $(if $(KEEP),--keep)

demo-prefect: $(VENV)/installed ## The same from a Prefect flow, compared with it; KEEP=1 leaves the servers running
	@$(BIN)/lightrag-neo4j demo --prefect $(if $(KEEP),--keep)

test: $(VENV)/installed ## Run all tests, on a real Neo4j
	@$(BIN)/python -m pytest

unit: $(VENV)/installed ## Run the tests that need no server
	@$(BIN)/python -m pytest tests/unit

browser: $(VENV)/installed ## Look at Prefect's pages of real runs in Chromium, which must be there
	@$(BIN)/python -m pytest tests/browser -n0

prometheus: $(VENV)/installed ## Read every figure through a real Prometheus, which must be there
	@$(BIN)/python -m pytest tests/prometheus -n0

local: $(VENV)/installed ## Start, use and stop the Neo4j that needs no Docker, and run the demo
	@$(BIN)/python -m pytest tests/local

without-docker: $(VENV)/installed ## Run the tests of drivers, storages and a worker on the Neo4j that needs no Docker
	@env -u NEO4J_URI DOCKER_HOST=unix:///none $(BIN)/python -m pytest -n0 tests/integration/test_connection.py \
		tests/integration/test_driver_lifetimes.py tests/integration/test_schema.py tests/integration/test_testing.py \
		tests/integration/test_worker_ends.py

faults: $(VENV)/installed ## Kill, stop and restart everything under real workers: 40 minutes, or 5 with QUICK=1
	@$(BIN)/python -m pytest tests/faults $(if $(QUICK),,--all-faults)

deploy: $(VENV)/installed ## Build the image, and kill and restart what compose.yaml runs; needs Docker
	@$(BIN)/python -m pytest tests/deploy -n0

release: $(VENV)/installed ## Build the packages, and install them into empty environments with each extra alone
	@$(BIN)/python -m pytest tests/release -n0

lint: $(VENV)/installed ## Check style and types
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy

bench: $(VENV)/installed ## Measure what lifetimes and figures cost, on a real Neo4j
	@$(BIN)/python -m benchmarks.lifetimes
	@$(BIN)/python -m benchmarks.detection
	@$(BIN)/python -m benchmarks.observing

up: ## Start Neo4j, RabbitMQ, Redis and two workers in Docker
	@deploy/compose/make-secrets
	@VERSION=$(VERSION) docker compose up --build --detach --wait

down: ## Stop them; the data stays (docker compose down --volumes deletes it)
	@docker compose down

lock: $(VENV)/installed ## Write the lock files anew from pyproject.toml and deploy/image
	@$(BIN)/python -m pip install --quiet uv
	@$(COMPILE) --extra dev pyproject.toml --output-file requirements.lock
	@$(COMPILE) --extra celery --extra lightrag --extra opentelemetry --constraint requirements.lock \
		pyproject.toml deploy/image/requirements.in --output-file requirements-image.lock
	@$(COMPILE) --constraint requirements.lock deploy/image/build.in --output-file deploy/image/build.lock
	@$(COMPILE) --constraint requirements-image.lock deploy/image/flower.in --output-file deploy/image/flower.lock

clean: ## Stop the local Neo4j and delete what was made, .venv and its data included
	@if [ -x $(BIN)/lightrag-neo4j ]; then $(BIN)/lightrag-neo4j neo4j stop || true; fi
	@rm -rf $(VENV) .lightrag .mypy_cache .pytest_cache .ruff_cache build dist
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/installed: pyproject.toml requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or later is needed: make PYTHON=python3.11")'
	@echo "setting up $(VENV) (once) ..."
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes --requirement requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@
