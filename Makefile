# make setup   the environment in .venv, from the locks
# make demo    a seeded quarter of a small network, from its facts to the identities
# make test    everything, in some minutes
# make servers Kafka and PostgreSQL for development, in .servers; `make stop` ends them
# make check   format, lint, types, import contracts, fast tests: under a minute, before each commit
.PHONY: setup demo test servers stop check format bench lock clean python

PYTHON ?= python3
BIN := .venv/bin
WORKERS ?= 3

# Hundreds of tests start processes: what these import is compiled once.
unexport PYTHONDONTWRITEBYTECODE

setup: .venv/.stamp .venv/.stamp-native

# Redone only when the locks or the project file change.
.venv/.stamp: requirements.lock pyproject.toml
	@$(MAKE) --no-print-directory python
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --require-hashes -r requirements.lock
	$(BIN)/pip install --quiet --no-deps --no-build-isolation -e .
	@touch $@

# What C does faster; without a compiler Python does it, and this says so.
.venv/.stamp-native: events/native.c .venv/.stamp
	@$(BIN)/python -m events.native
	@touch $@

.venv/.stamp-bench: requirements-bench.lock .venv/.stamp
	$(BIN)/pip install --quiet --require-hashes -r requirements-bench.lock
	@touch $@

# Name exactly what is missing before anything is built.
python:
	@command -v $(PYTHON) >/dev/null || \
	  { echo "missing: $(PYTHON); install Python 3.11 or newer, or name one: make PYTHON=..." >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "missing: Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) -V 2>&1)" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
	  { echo "missing: the venv module of $(PYTHON) (Debian and Ubuntu: package python3-venv)" >&2; exit 1; }

demo: setup
	@$(BIN)/omnisync demo

# Needs Java 17 and, the first time, Maven for what it runs; what is missing is named.
test: setup
	$(BIN)/python -m dev run -- $(BIN)/pytest -n $(WORKERS) --dist worksteal -ra

servers: setup
	@$(BIN)/python -m dev up --folder .servers

stop: setup
	@$(BIN)/python -m dev down --folder .servers

check: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(BIN)/pytest -n 2 --dist worksteal -q -m "not slow" --hypothesis-profile=quick

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: .venv/.stamp-bench .venv/.stamp-native
	$(BIN)/python -m benchmarks

# Pin anew after a change of dependencies; the locks carry hashes and no address.
LOCK := $(BIN)/pip-compile --quiet --generate-hashes --strip-extras --allow-unsafe --no-header \
  --no-emit-index-url --no-emit-find-links --no-emit-trusted-host
lock: setup
	$(LOCK) --extra dev -o requirements.lock pyproject.toml
	$(LOCK) --extra bench -c requirements.lock -o requirements-bench.lock pyproject.toml

# The environment and the caches, Kafka's jars too; never a data directory.
clean:
	rm -rf .venv build dist *.egg-info .hypothesis
	rm -rf .cache .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
