# The verbs a newcomer would guess. `make demo` and `make test` prepare everything they need by themselves.
SHELL := /bin/sh
PYTHON ?= python3
UV := $(shell command -v uv 2>/dev/null)
BIN := .venv/bin
ARGS ?=

.PHONY: demo test check lint fix types contracts attack model soak mutate fuzz backtest clean help

help:
	@echo "make demo     a street from meter to bill, about a minute   (ARGS=\"--exit --json\" for one JSON object)"
	@echo "make test     the whole test suite"
	@echo "make check    types, lint, import contracts, tests"
	@echo "make attack   the attacks of the demo against a running system of its own"
	@echo "make model    the symbolic model of the link, where ProVerif is installed"
	@echo "make soak     the long runs: trials at full size, every process killed at many moments"
	@echo "make bench    rates, each beside what bounds it in the same run"
	@echo "make backtest how good validation and estimation are, over a street and the sample meters of another package"
	@echo "make mutate   small faults in link and crypto, and which of them no test notices"
	@echo "make fuzz     coverage-guided fuzzing of every parser"

# Two stamps: the demo waits for what runs, only the tests for what tests.
.venv/.stamp: EXTRA =
.venv/.stamp-test: EXTRA = [test]
.venv/.stamp .venv/.stamp-test: pyproject.toml constraints.txt hatch_build.py
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "meterseal needs Python 3.11 or newer; this is $$($(PYTHON) --version). Try: make PYTHON=python3.12 demo"; exit 2; }
ifneq ($(UV),)
	@test -x $(BIN)/python || $(UV) venv --no-project -q --python $(PYTHON) .venv
	@$(UV) pip install -q --python $(BIN)/python -c constraints.txt -e '.$(EXTRA)'
else
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo "This Python has no venv module. On Debian and Ubuntu: apt install python3-venv"; exit 2; }
	@test -x $(BIN)/pip || $(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install -q --disable-pip-version-check --prefer-binary -c constraints.txt -e '.$(EXTRA)'
endif
	@touch $@

# Its seven programs are compiled once, whatever the environment says; else each of them compiles all that it imports.
demo: .venv/.stamp
	@PYTHONDONTWRITEBYTECODE= $(BIN)/meterseal demo $(ARGS)

# Tests start many programs; what these import is compiled once, whatever the environment says.
test: .venv/.stamp-test
	@PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest -n 2 --dist worksteal -m "not soak" $(ARGS)

check: lint types contracts test

lint: .venv/.stamp-test
	@$(BIN)/ruff check src tests hatch_build.py
	@$(BIN)/ruff format --check -q src tests hatch_build.py || { echo "run: make fix"; exit 1; }

fix: .venv/.stamp-test
	@$(BIN)/ruff check --fix -q src tests hatch_build.py; $(BIN)/ruff format -q src tests hatch_build.py

types: .venv/.stamp-test
	@$(BIN)/mypy

contracts: .venv/.stamp-test
	@$(BIN)/lint-imports --no-cache

bench: .venv/.stamp
	@$(BIN)/meterseal bench all $(ARGS)

# The sample meters come in a package of which nothing runs: without what it needs, and away from everything else.
backtest:
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo "This Python has no venv module. On Debian and Ubuntu: apt install python3-venv"; exit 2; }
	@test -x .venv-backtest/bin/pip || $(PYTHON) -m venv .venv-backtest
	@.venv-backtest/bin/python -m pip install -q --disable-pip-version-check --prefer-binary -c constraints.txt -e .
	@.venv-backtest/bin/python -m pip install -q --disable-pip-version-check --no-deps -c constraints.txt opendsm
	@.venv-backtest/bin/meterseal vee backtest --samples --dwellings 60 --page docs/validation.md $(ARGS)

attack: .venv/.stamp
	@$(BIN)/meterseal demo --dwellings 4 --days 3 --exit $(ARGS)

model: .venv/.stamp
	@$(BIN)/python model/run.py

soak: .venv/.stamp-test
	@$(BIN)/python -m pytest -m soak --timeout 7200 $(ARGS)

mutate: .venv/.stamp-test
	@$(BIN)/python -m tests.mutation.run $(ARGS)

fuzz: .venv/.stamp-test
	@for target in tests/fuzz/fuzz_*.py; do echo "$$target"; $(BIN)/python $$target -atheris_runs=$${RUNS:-300000} || exit 1; done

clean:
	@rm -rf .venv .venv-backtest dist .pytest_cache .mypy_cache .ruff_cache
