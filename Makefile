# Everything here works as an ordinary user on a Debian with Python >= 3.11, make and venv.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
SCENARIO ?= recovers
PARALLEL ?= -n auto --maxprocesses 4 --dist worksteal
MINUTES ?= 10
KILLS ?= 1000
SEED ?=

.PHONY: install demo test faults soak kills fuzz coverage check bench format requirements clean
.DEFAULT_GOAL := help

help:
	@echo "make demo     a real rollback, on real servers, in under a minute (SCENARIO=recovers|innocent|blame-off|prometheus-down|fails)"
	@echo "make test     all tests, those on real servers too"
	@echo "make faults   the fault catalogue, the heavy rows too; writes docs/faults.md"
	@echo "make soak     the real daemon among random faults (MINUTES=10, SEED=)"
	@echo "make kills    the real daemon killed at random moments (KILLS=1000, SEED=)"
	@echo "make fuzz     whatever may be sent to the API, for as long as you like (MINUTES=10)"
	@echo "make coverage branch coverage of action, decision and flow"
	@echo "make check    lint, types and architecture"
	@echo "make bench    the benchmarks"

# The lock file decides the versions, the hashes what is in them; the project itself is installed beside.
$(VENV)/.installed: requirements.txt pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r requirements.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

install: $(VENV)/.installed

demo: install
	$(BIN)/rollbackd demo --scenario $(SCENARIO)

test: install
	$(BIN)/python -m pytest $(PARALLEL)

faults: install
	$(BIN)/python -m pytest $(PARALLEL) -m "" --faults-page=docs/faults.md

soak: install
	$(BIN)/python -m tests.soak --minutes $(MINUTES) --keep soak $(if $(SEED),--seed $(SEED))

kills: install
	$(BIN)/python -m tests.soak --kills $(KILLS) --keep kills $(if $(SEED),--seed $(SEED))

fuzz: install
	MINUTES=$(MINUTES) $(BIN)/python -m pytest tests/faults/test_fuzz.py -m nightly

coverage: install
	$(BIN)/python -m coverage run -m pytest -q tests/unit tests/flow
	$(BIN)/python -m coverage report --skip-covered --sort=cover

check: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: install
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: install
	$(BIN)/python -m benchmarks

# Versions are resolved anew from the lower bounds in pyproject.toml; the file names no registry.
requirements:
	uv export --quiet --upgrade --no-emit-project --all-groups --no-annotate --no-header --output-file requirements.txt

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
