# `make help` lists what there is. Everything is made in .venv, target and build; nothing outside the folder is changed.

PYTHON ?= $(shell .ci/python)
VENV ?= .venv
BIN := $(VENV)/bin
REPORTS := build/reports
# The backends there are. A new one is one more word here: its tests must then run, and keep its promises, in CI too.
BACKENDS := memory redis postgres
MATRIX := 3.12 3.13
# What Debian brings to the matrix: the oldest servers that are supported, a pooler, certificates, locales.
DEBIAN := redis-server postgresql pgbouncer openssl locales
WHEELS := 3.11 3.12 3.13

# off, report or strict: whether a promise of the contract without a passing test fails the run.
PROMISES ?= report
# Given to pytest, to the demo or to the bench: make test ARGS="-k claim"
ARGS ?=

empty :=
SCOPES := unit$(subst $(empty) $(empty),$(empty),$(BACKENDS:%=,%))
# A cargo that rustup installed is not always on PATH.
export PATH := $(PATH):$(HOME)/.cargo/bin
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PYO3_PYTHON := $(abspath $(BIN)/python)
PIP_INSTALL = $(BIN)/python -m pip install --quiet --constraint constraints.txt

RUST := $(shell find rust -name '*.rs' -o -name Cargo.toml) Cargo.toml Cargo.lock
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
MAKEFLAGS += --no-builtin-rules
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help backends demo test test-matrix lint format types rust bench bench-smoke bench-redis bench-postgres instructions
.PHONY: scale scale-redis scale-postgres wheels servers pin clean

help: ## This list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

backends: # for .ci/run
	@echo $(BACKENDS)

# ---------------------------------------------------------------- what is set up once, and again when its causes change

$(VENV)/.made:
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed" >&2; exit 1; }
	@command -v cargo >/dev/null || { echo "cargo is needed: Rust 1.89 or newer" >&2; exit 1; }
	@echo "setting up $(VENV) with $(PYTHON)"
	@.ci/venv "$(PYTHON)" "$(VENV)"
	@touch $@

$(VENV)/.maturin: $(VENV)/.made constraints.txt
	@$(PIP_INSTALL) maturin
	@touch $@

# The native module, with optimisations: the first build takes a minute or two, a later one what changed.
$(VENV)/.built: $(VENV)/.maturin pyproject.toml $(RUST)
	@echo "building the native module for $(VENV)"
	@PATH="$(abspath $(BIN)):$$PATH" $(PIP_INSTALL) --no-build-isolation --editable '.[cli]'
	@touch $@

# The package is there already: these add what its extras name.
$(VENV)/.tools: $(VENV)/.built
	@$(PIP_INSTALL) 'ferroq[redis,postgres,cli,test,dev]'
	@touch $@

$(VENV)/.peers: $(VENV)/.built
	@$(PIP_INSTALL) 'ferroq[cli,test,bench]'
	@touch $@

$(VENV)/.servers: $(VENV)/.tools
	@$(PIP_INSTALL) 'ferroq[redis,postgres,cli,test,bench]'
	@touch $@

# ---------------------------------------------------------------- what one does

demo: $(VENV)/.built ## Index a folder's files by jobs while a worker dies (ARGS="FOLDER --storage URL --workers N")
	@$(BIN)/python examples/index_files.py $(ARGS)

test: $(VENV)/.tools ## The whole suite on one interpreter (ARGS="-k claim", PROMISES=strict)
	@mkdir -p $(REPORTS)
	@$(BIN)/python -m pytest --promises=$(PROMISES) --promises-scopes=$(SCOPES) --junitxml=$(REPORTS)/test.xml $(ARGS)

test-matrix: test-debian $(MATRIX:%=test-%) ## Debian's servers, pooler, TLS, cluster; memory on other interpreters

# What is missing is an error in CI, and elsewhere a part that is left out and said so.
.PHONY: test-debian
test-debian: $(VENV)/.tools
	@if .ci/debian $(DEBIAN); then \
	    mkdir -p $(REPORTS); \
	    FERROQ_TEST_FLAVOUR=debian $(BIN)/python -m pytest -m 'matrix or not matrix' --promises=$(PROMISES) \
	        --promises-scopes=redis,postgres --junitxml=$(REPORTS)/debian.xml \
	        tests/contract/test_redis.py tests/contract/test_postgres.py tests/redis tests/postgres $(ARGS); \
	elif [[ -n "$${CI:-}" ]]; then exit 1; else echo "left out: Debian's servers"; fi

# Each has its environment and its build; one that is not installed is an error in CI and is left out elsewhere.
.PHONY: $(MATRIX:%=test-%)
$(MATRIX:%=test-%): test-%:
	@if interpreter=$$(.ci/python $*); then \
	    CARGO_TARGET_DIR=target/python-$* $(MAKE) --no-print-directory memory-suite \
	        VENV=.venv-$* PYTHON="$$interpreter" SUITE=python-$*; \
	elif [[ -n "$${CI:-}" ]]; then exit 1; else echo "left out: CPython $*"; fi

.PHONY: memory-suite
memory-suite: $(VENV)/.tools
	@mkdir -p $(REPORTS)
	@$(BIN)/python -m pytest --promises=$(PROMISES) --promises-scopes=memory --junitxml=$(REPORTS)/$(SUITE).xml \
	    tests/contract/test_memory.py tests/contract/test_suite.py tests/memory tests/unit $(ARGS)

lint: $(VENV)/.tools ## ruff and rustfmt, as CI runs them
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@cargo fmt --check

format: $(VENV)/.tools ## Let ruff and rustfmt rewrite what they can
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .
	@cargo fmt

types: $(VENV)/.tools ## Strict mypy, and the stubs against the built native module
	@$(BIN)/python -m mypy
	@$(BIN)/python -m mypy.stubtest ferroq._native --concise --mypy-config-file pyproject.toml

rust: $(VENV)/.made ## clippy with warnings as errors, the core's tests, and the core without Python
	@cargo clippy --workspace --all-targets --locked -- -D warnings
	@! cargo tree --locked -p ferroq-core -e all --prefix none | grep -i '^pyo3' \
	    || { echo "the core depends on Python" >&2; exit 1; }
	@PYO3_PYTHON=/nonexistent cargo test --locked -p ferroq-core

bench: $(VENV)/.peers ## Memory backend against a pure-Python store, its peers and the floors (benches/README.md)
	@$(BIN)/python -m benches.life $(ARGS)

bench-smoke: $(VENV)/.peers ## Short benches with half the goals as gates, and the tests of the yardstick
	@mkdir -p $(REPORTS)
	@$(BIN)/python -m pytest --quiet --junitxml=$(REPORTS)/benches.xml benches
	@$(BIN)/python -m benches.life --smoke
	@$(BIN)/python -m benches.growth --smoke

instructions: $(VENV)/.peers ## Instruction counts against the committed table (needs valgrind; ARGS=--update renews it)
	@$(BIN)/python -m benches.instructions $(if $(ARGS),$(ARGS),--check)

scale: $(VENV)/.peers ## Costs by what is stored, up to a million jobs: takes minutes and gigabytes
	@$(BIN)/python -m benches.growth $(ARGS)

bench-redis: $(VENV)/.servers ## The Redis backend beside SAQ and BullMQ (wants node and npm; ARGS="--batches 100")
	@$(BIN)/python -m benches.redis.compare $(ARGS)

scale-redis: $(VENV)/.servers ## What the Redis backend costs the server, at 10^3 to 10^6 stored jobs: takes minutes
	@$(BIN)/python -m benches.redis.scale $(ARGS)

# Peers of the Postgres backend that come from npm. No lock file: it would record where the packages were fetched from.
build/peers/.made: benches/postgres/package.json
	@mkdir -p $(@D)
	@cp $< $(@D)/package.json
	@cd $(@D) && npm install --no-package-lock --no-audit --no-fund --silent
	@touch $@

bench-postgres: $(VENV)/.servers build/peers/.made ## Postgres against pgqueuer, graphile-worker and pgbench (node, npm, pgbench)
	@$(BIN)/python -m benches.postgres.peers $(ARGS)

scale-postgres: $(VENV)/.servers ## Postgres by what is stored, up to millions of jobs, and its plans: takes an hour and gigabytes
	@$(BIN)/python -m benches.postgres.scale $(ARGS)
	@FERROQ_PLAN_ROWS=1000000 $(BIN)/python -m pytest -q tests/postgres/test_plans.py

wheels: $(VENV)/.maturin ## Wheels for CPython 3.11 to 3.13 and the sdist, in dist/
	@for version in $(WHEELS); do .ci/python $$version >/dev/null; done
	@rm -rf dist
	@CARGO_TARGET_DIR=target/wheels $(BIN)/maturin build --quiet --release --out dist \
	    --interpreter $(foreach version,$(WHEELS),"$$(.ci/python $(version))")
	@$(BIN)/maturin sdist --out dist
	@ls -1 dist

servers: $(VENV)/.tools ## Start a Valkey and a PostgreSQL to play with, until interrupted
	@$(BIN)/python -m tests.servers redis postgres

pin: $(VENV)/.made ## Renew constraints.txt with the newest versions that the extras allow
	@.ci/venv "$(PYTHON)" build/pin
	@build/pin/bin/python -m pip install --quiet '.[redis,postgres,cli,test,bench,dev]'
	@{ grep '^#' constraints.txt; build/pin/bin/python -m pip freeze --exclude ferroq; } > build/constraints.txt
	@mv build/constraints.txt constraints.txt

clean: ## Remove all that was made
	@rm -rf .venv .venv-* target build dist python/ferroq/*.so
	@rm -rf .mypy_cache .pytest_cache .ruff_cache .hypothesis
	@find python tests examples benches -name __pycache__ -type d -prune -exec rm -rf {} +
