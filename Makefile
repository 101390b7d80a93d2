# One verb per action. Everything a verb needs it installs itself, into .venv (and, as root, through apt).
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export PIP_DISABLE_PIP_VERSION_CHECK := 1
# Empty: compiled modules are kept, or each of the many processes of the tests compiles all of them again.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: help demo test test-fast test-long test-system check bench bench-ssh faults lock clean

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 14

$(VENV)/.installed: pyproject.toml requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "opsqueue needs Python 3.11 or newer; found `$(PYTHON) --version 2>&1`. Say which one: make PYTHON=python3.12 …"; exit 2; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing opsqueue into $(VENV) (once) …"
	@$(BIN)/python -m pip install --quiet --constraint requirements.lock --editable . 2>$(VENV)/pip.log || { cat $(VENV)/pip.log; exit 1; }
	@$(BIN)/python -m compileall -q opsqueue # as pip does with what is not editable
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	@$(BIN)/python -m pip install --quiet --constraint requirements.lock --editable '.[dev]' 2>$(VENV)/pip.log || { cat $(VENV)/pip.log; exit 1; }
	@touch $@

demo: $(VENV)/.installed ## a real guarded operation on this machine, in a minute
	@$(BIN)/python tools/demo.py

test: $(VENV)/.installed-dev ## install what the tests need, and run all of them
	@sh tools/test_system.sh
	@$(BIN)/python -m pytest -q tests/unit tests/operations -n 2
	@$(BIN)/python tools/with_neighbours.py tests/cli tests/pipeline tests/contract tests/integration -m "not long" -n 6 --dist loadgroup
	@$(BIN)/python tools/with_neighbours.py tests/acceptance --ignore=tests/acceptance/faults -m "not long" -n 5 --dist loadgroup
	@$(BIN)/python tools/with_neighbours.py tests/acceptance/faults -n 3

test-long: $(VENV)/.installed-dev ## what takes too long for every change: every moment at which something can be killed, other ways
	@sh tools/test_system.sh
	@HYPOTHESIS_PROFILE=thorough $(BIN)/python -m pytest -q tests/unit -n 2
	@$(BIN)/python -m pytest -q tests/pipeline tests/integration tests/acceptance -m long -n 2 --dist loadgroup

test-fast: $(VENV)/.installed-dev ## the tests that need no server: under five seconds
	@$(BIN)/python -m pytest -q tests/unit tests/operations -n 2

faults: $(VENV)/.installed-dev ## the fault stories, ten times in a row
	@for n in 1 2 3 4 5 6 7 8 9 10; do echo "== $$n of 10"; $(BIN)/python -m pytest -q tests/acceptance/faults -n 2 || exit 1; done

check: $(VENV)/.installed-dev ## lint, types, floors, circles, budgets
	@$(BIN)/ruff format --check --quiet . || { echo "run: $(BIN)/ruff format ."; exit 1; }
	@$(BIN)/ruff check --quiet .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo
	@$(BIN)/python tools/budgets.py

bench: $(VENV)/.installed-dev ## operations a second and start-up, beside a bare Celery chain; the metric store; how good the forecasts are
	@sh tools/test_system.sh
	@$(BIN)/python tools/bench/bench.py
	@$(BIN)/python tools/bench/samples.py
	@$(BIN)/python tools/bench/forecast_bench.py
	@$(BIN)/python tools/bench/kpi.py

bench-ssh: $(VENV)/.installed-dev ## the same facts from 20 and 200 hosts over SSH, beside Ansible, pyinfra and others
	@sh tools/test_system.sh
	@$(BIN)/python tools/bench/ssh.py $(ARGS)

lock: ## write down the versions that CI uses
	@$(BIN)/python tools/lock.py > requirements.lock.new && mv requirements.lock.new requirements.lock

clean: ## forget what was built
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
