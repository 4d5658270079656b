# Everything about this repository in one place; `make` lists the targets. Each sets up what it needs by itself.
SHELL := /bin/sh
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo test check bench bench-abuse bench-balance bench-harm bench-law bench-trial bench-limiter bench-quota bench-scale
.PHONY: bench-tokens
.PHONY: faults mutants generate lock clean setup programs

PYTHON ?= python3
ARGS ?=
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --no-input
PYTEST := $(BIN)/python -m pytest
# Those that wait longest begin first, so that the short ones fill what is left.
SUITES := $(wildcard tests/e2e tests/faults tests/integration tests/contract tests/unit)
STARTED := $(shell date +%s)
# How long this make has been running.
ELAPSED = seconds=$$(( $$(date +%s) - $(STARTED) )); printf '[make] %d min %02d s since the start\n' $$((seconds / 60)) $$((seconds % 60))

help:
	@echo 'make demo        the main job: a surge on a real control plane, about four minutes (ARGS="--speed 10")'
	@echo 'make test        everything that is checked: make check, then all tests'
	@echo 'make check       style, types, layers, generated files'
	@echo 'make bench       the demo without its view; measured values go to build/bench/'
	@echo 'make bench-abuse what hostile clients do to an agent and to honest ones, and a retry storm'
	@echo 'make bench-balance  requests divided over unequal GPUs by Envoy: by our load reports, in turn, to the least busy'
	@echo 'make bench-limiter  what a decision costs, against other limiters; values go to build/bench/limiter.json'
	@echo 'make bench-harm  whose work a loan breaks off, against other orders, on recorded research jobs'
	@echo 'make bench-law   our control law against AIMD, on/off and static limits, in simulated surges'
	@echo 'make bench-trial how often the trial of an update is wrong, and how many samples it takes'
	@echo 'make bench-tokens  what it costs to know who calls: by headers, by tokens seen before or not'
	@echo 'make bench-quota a million requests, a Valkey killed and flushed, limits that change, agents that are killed'
	@echo 'make bench-scale the whole operator on fleets of 500, 2,000 and 5,000 nodes; ARGS="--nodes 500" for one of them'
	@echo 'make faults      the crash and fault campaign on a real control plane; ARGS="--help" says what it takes'
	@echo 'make mutants     seeded bugs, each of which the checker must catch'
	@echo 'make generate    write the generated files anew'
	@echo 'make lock        pin the dependencies of pyproject.toml anew, with hashes'
	@echo 'make clean       remove .venv, build/ and the tools'\'' caches (not the programs in the user'\''s cache)'
	@echo 'The first run sets up .venv and builds the control plane once into the user'\''s cache: 20 to 25 minutes.'

demo: setup
	@$(BIN)/meltguard demo $(ARGS)

# One pytest run, so that there is one closing line; its exit code is kept for .ci/run, since make has codes of its own.
test: check programs
	@mkdir -p build/test
	@$(PYTEST) -q -n 3 --dist loadfile --no-loadscope-reorder --durations=15 $(ARGS) $(SUITES); code=$$?; echo $$code >build/test/exit; $(ELAPSED); exit $$code

check: setup
	@mkdir -p build
	@echo '[check] ruff check' && $(BIN)/ruff check --quiet
	@echo '[check] ruff format --check' && $(BIN)/ruff format --check --quiet
	@echo '[check] mypy --strict' && $(BIN)/mypy
	@echo '[check] lint-imports' && $(BIN)/lint-imports --no-logo >build/lint-imports.txt || { cat build/lint-imports.txt; exit 1; }
	@echo '[check] generated files' && $(BIN)/meltguard generate --check
	@$(BIN)/python -m meltguard.cli.render --check
	@$(ELAPSED)

bench: setup
	@$(BIN)/meltguard demo --headless $(ARGS)

bench-abuse: setup
	@$(BIN)/python tests/bench/bench_abuse.py $(ARGS)

bench-balance: setup
	@$(BIN)/python tests/bench/bench_balance.py $(ARGS)

bench-limiter: setup
	@$(BIN)/python tests/bench/bench_limiter.py $(ARGS)

bench-harm: setup
	@$(BIN)/python tests/bench/bench_harm.py $(ARGS)

bench-tokens: setup
	@$(BIN)/python tests/bench/bench_tokens.py $(ARGS)

bench-law: setup
	@$(BIN)/python tests/bench/bench_law.py $(ARGS)

bench-trial: setup
	@$(BIN)/python tests/bench/bench_trial.py

bench-quota: setup
	@$(BIN)/python tests/bench/bench_quota.py $(ARGS)

bench-scale: setup programs
	@$(BIN)/python tests/bench/bench_scale.py $(ARGS)

faults: setup programs
	@PYTHONPATH=tests $(BIN)/python -m faults.campaign $(ARGS)

mutants: setup programs
	@PYTHONPATH=tests $(BIN)/python -m faults.mutants $(ARGS)

generate: setup
	@$(BIN)/meltguard generate
	@$(BIN)/python -m meltguard.cli.render

lock: setup
	@$(BIN)/uv pip compile --quiet --universal --generate-hashes --all-extras --no-strip-extras --no-header --no-annotate \
		--no-emit-index-url --output-file requirements.lock pyproject.toml
	@$(MAKE) --no-print-directory generate

# Built before pytest starts, which would hide how far it is.
programs: setup
	@$(BIN)/meltguard local build

clean:
	rm -rf .venv build dist .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis .coverage
	find operator tests -name __pycache__ -type d -prune -exec rm -rf {} +

setup: .venv/.installed

# The project itself, in place; pyproject.toml says which commands it has.
.venv/.installed: .venv/.wheels pyproject.toml
	@$(PIP) install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

# Wheels only, each by its hash; done anew only when the lock changes.
.venv/.wheels: requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo 'error: $(PYTHON) is missing or older than 3.11; install Python 3.11 or newer, or name it: make PYTHON=python3.12' >&2; \
		exit 2; }
	@$(PYTHON) -c 'import ensurepip, venv' || { \
		echo 'error: $(PYTHON) has no venv module; install it (Debian and Ubuntu: apt install python3-venv)' >&2; \
		exit 2; }
	@echo "[setup] $$(grep -c '^[a-zA-Z0-9].*==' requirements.lock) pinned packages into .venv; once, about a minute"
	@$(PYTHON) -m venv .venv
	@$(PIP) install --only-binary :all: --require-hashes --requirement requirements.lock || { \
		echo 'error: the packages could not be installed (see above); is the package index reachable?' >&2; exit 2; }
	@touch $@
