# Two commands: `make book` measures and builds the book, `make test` runs linting, types and tests.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
WORKERS := 2
# Python compiles what it imports, once, unless it is told not to keep that; compiling all that is installed
# beforehand takes a minute.
export PYTHONDONTWRITEBYTECODE :=
PIP := $(BIN)/python -m pip install --disable-pip-version-check --no-input --no-compile
SHELL := /bin/bash

.PHONY: book lab test test-ray test-llama-cpp peers setup setup-test browser lint clean

book: setup
	@$(BIN)/vlmnb sweep sweeps/{quickstart,pictures,cards}.yaml; code=$$?; \
	if [ $$code -gt 1 ]; then exit $$code; fi; \
	$(BIN)/vlmnb book || exit $$?; exit $$code

# Opens the notebooks in JupyterLab, which is installed at the first time.
lab: $(VENV)/.installed-lab
	$(BIN)/jupyter lab notebooks

# Two processes share the tests (tests/conftest.py); of the slow ones many wait, so there is one process more.
test: setup-test browser lint
	$(BIN)/python -m pytest -n $(WORKERS) -m "not slow"
	$(BIN)/python -m pytest -n $$(($(WORKERS) + 1)) -m "slow and not long"

# What `make test` skips: two minutes more of kills, hangs and the benchmark of the overhead.
test-long: setup-test
	$(BIN)/python -m pytest -m long

# What `make test` skips: sweeps on a Ray cluster of three nodes, all on this machine; Ray is 260 MB.
test-ray: setup-test
	$(PIP) -r requirements-ray.txt -c constraints.txt
	$(BIN)/python -m pytest -m slow tests/sweep/test_ray.py

# What `make test` does for the pages of one model and one report: every page with axe-core.
test-pages: setup-test browser
	VLMNB_ALL_PAGES=1 $(BIN)/python -m pytest -m slow tests/book/test_accessible.py

# What `make test` skips: llama.cpp as the engine.
test-llama-cpp: setup-test
	$(PIP) -r requirements-llama-cpp.txt -c constraints.txt
	$(BIN)/python -m pytest -m slow tests/measure/test_llama_cpp.py

# Compares with optimum-benchmark, which needs an older transformers and so an environment of its own.
peers: setup
	test -x $(VENV)-peers/bin/python || $(PYTHON) -m venv $(VENV)-peers
	$(VENV)-peers/bin/python -m pip install --disable-pip-version-check --no-input -r requirements-peers.txt
	$(BIN)/python benchmarks/peers.py $(VENV)-peers/bin/python

lint: setup-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

setup: $(VENV)/.installed
setup-test: $(VENV)/.installed-test

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or newer is needed; name one with: make PYTHON=/path/to/python3.11 $(MAKECMDGOALS)"; exit 2; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: requirements.txt constraints.txt pyproject.toml | $(VENV)/bin/python
	@echo "Installing the pinned requirements into $(VENV) (once, a few minutes; about 2 GB)"
	$(PIP) -r requirements.txt -c constraints.txt
	$(PIP) --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)/.installed-lab: requirements-lab.txt $(VENV)/.installed
	$(PIP) -r requirements-lab.txt -c constraints.txt
	@touch $@

$(VENV)/.installed-test: requirements-dev.txt $(VENV)/.installed
	$(PIP) -r requirements-dev.txt -c constraints.txt
	@touch $@

# The browser tests drive Chromium; it comes as a Debian package where it is missing.
browser:
	@command -v chromium >/dev/null || command -v google-chrome >/dev/null || { \
	  echo "Installing Chromium for the browser tests"; \
	  as_root=; [ "$$(id -u)" = 0 ] || as_root=sudo; \
	  $$as_root apt-get update -qq && $$as_root apt-get install -y -qq --no-install-recommends chromium; } || \
	  echo "Chromium could not be installed; install it by hand for the browser tests"

clean:
	rm -rf _build book/runs book/generated runs
