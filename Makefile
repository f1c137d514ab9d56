# Each target works alone on a fresh clone, with nothing but Python 3.11+ and make.

PYTHON ?= python3

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
PINS := requirements-dev.txt
INSTALL := $(PIP) install --quiet --constraint $(PINS) --editable
# Folders with code; a wildcard, so that one that is not there is left out.
TYPED := $(wildcard src tests bench)

.DEFAULT_GOAL := help
# Targets share .venv, so they take turns.
.NOTPARALLEL:
# The tests of what travels, and of what errors show of it.
PICKLING = $(wildcard tests/unit/test_pickling*.py) $(wildcard tests/conformance/test_identity*.py) \
	tests/unit/test_payloads.py tests/unit/test_blame.py tests/unit/test_sources.py tests/unit/test_failures.py \
	tests/conformance/test_task_errors.py tests/conformance/test_users_code.py

.PHONY: help demo test test-long test-pickling check bench docs diagrams pins clean

help: ## show this
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

demo: $(VENV)/.installed ## a census of the Python code on this machine; ARGS="--compare" goes to bndl demo
	$(BIN)/bndl demo $(ARGS)

test: $(VENV)/.installed-dev $(VENV)/.iproute $(VENV)/.browser ## all tests; ARGS="tests/unit -x" goes to pytest
	$(BIN)/python -m pytest -n 4 --dist loadfile --no-loadscope-reorder $(ARGS)

test-long: $(VENV)/.installed-dev ## thousands of simulated clusters with faults, longer runs of the state machines, a worker held for a minute
	BNDL_SIM_SEEDS=0-4999 HYPOTHESIS_PROFILE=long $(BIN)/python -m pytest tests/sim tests/stateful $(ARGS)
	BNDL_LONG=1 $(BIN)/python -m pytest tests/faults/test_held.py $(ARGS)

test-pickling: $(VENV)/.installed-dev ## what travels, with the oldest and with the newest cloudpickle that is supported
	for wanted in "==3.1.0" ">=3.1,<4"; do \
		rm -rf build/cloudpickle && $(BIN)/pip install -q --no-deps --target build/cloudpickle "cloudpickle$$wanted" && \
		PYTHONPATH=$(CURDIR)/build/cloudpickle $(BIN)/python -m pytest -n 4 $(PICKLING) $(ARGS) || exit 1; \
	done

check: $(VENV)/.installed-dev ## lint, format, types, import contracts, changelog fragments
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy $(TYPED)
	$(BIN)/lint-imports --no-logo
	$(BIN)/towncrier build --draft --version next >/dev/null

bench: $(VENV)/.installed-dev ## start-up, cost of a task next to multiprocessing.Pool, the scheduler, a million tasks, 50 workers; profiling
	$(BIN)/python bench/startup.py
	$(BIN)/python bench/overhead.py
	$(BIN)/python bench/scheduler.py
	$(BIN)/python bench/scale.py
	$(BIN)/python bench/cluster.py
	$(BIN)/python bench/profiling.py

docs: $(VENV)/.installed-docs ## docs/ as HTML in site/
	$(BIN)/python -m sphinx --fail-on-warning --keep-going --quiet -b html docs site
	@echo "open site/index.html"

diagrams: $(VENV)/.installed ## draw the diagrams in docs/ anew, from the code
	$(BIN)/python docs/diagrams.py

pins: $(VENV)/.created ## renew requirements-dev.txt; use the oldest Python supported, so that all others can install it
	rm -rf build/pins
	$(PYTHON) -m venv build/pins
	build/pins/bin/python -m pip install --quiet '.[dev,docs,memray,ray,sampling,shell]'
	sed -n '/^#/p' $(PINS) >build/pins.txt
	build/pins/bin/python -m pip freeze | grep -v '^bndl' >>build/pins.txt
	mv build/pins.txt $(PINS)
	rm -rf build/pins

clean: ## remove all that is made here, .venv too
	rm -rf $(VENV) build dist site .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Stamps: a venv and what was installed into it. Each is written last, so an interrupted step is done again.

$(VENV)/.created:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
		echo "bndl needs Python 3.11 or newer, but '$(PYTHON)' is: $$($(PYTHON) --version 2>&1)." >&2; \
		echo "Name another one: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { \
		echo "'$(PYTHON) -m venv' failed. Some systems package it apart, such as python3-venv." >&2; exit 1; }
	@touch $@

$(VENV)/.installed: pyproject.toml $(PINS) $(VENV)/.created
	@echo "installing bndl into $(VENV)"
	@$(INSTALL) .
	@touch $@

$(VENV)/.installed-dev: pyproject.toml $(PINS) $(VENV)/.created
	@echo "installing bndl and its development tools into $(VENV)"
	@$(INSTALL) '.[dev,memray,ray,sampling,shell]'
	@touch $(VENV)/.installed $@

# For the tests of clusters of several machines, which are network namespaces. Those tests are skipped if there is no ip
# and it cannot be installed.
$(VENV)/.iproute: $(VENV)/.created
	@command -v ip >/dev/null || { \
		if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
			echo "installing iproute2, for the tests of several machines"; \
			{ apt-get -qq update && apt-get -qq install --yes --no-install-recommends iproute2; } >/dev/null 2>&1; \
		else false; fi; } || \
		echo "there is no ip, so the tests of several machines are skipped" >&2
	@touch $@

# For the tests of reports that are pages. Those tests are skipped if there is none and it cannot be installed.
$(VENV)/.browser: $(VENV)/.created
	@{ command -v chromium || command -v chromium-browser || command -v google-chrome; } >/dev/null || { \
		if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
			echo "installing chromium, for the tests of reports"; \
			{ apt-get -qq update && apt-get -qq install --yes --no-install-recommends chromium; } >/dev/null 2>&1; \
		else false; fi; } || \
		echo "there is no chromium, so the tests of reports that are pages are skipped" >&2
	@touch $@

$(VENV)/.installed-docs: pyproject.toml $(PINS) $(VENV)/.created
	@echo "installing bndl and its documentation tools into $(VENV)"
	@$(INSTALL) '.[docs]'
	@touch $(VENV)/.installed $@
