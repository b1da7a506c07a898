# make demo | test | lint | format | clean | help

PYTHON ?= python3
ARGS ?=

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: help demo test lint format clean
.DEFAULT_GOAL := help

help:
	@echo 'make demo     the whole way on the sample data, into build/demo'
	@echo 'make test     the tests; ARGS="..." goes to pytest'
	@echo 'make lint     ruff and mypy, changing nothing'
	@echo 'make format   let ruff mend and format'
	@echo 'make clean    remove builds and caches, keep $(VENV)'
	@echo
	@echo 'The first of them installs into $(VENV); PYTHON=python3.12 chooses the interpreter.'

# Installed once, and again only when what is to be installed has changed.
$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { \
		echo 'lingraft needs Python 3.10 or newer; PYTHON=$(PYTHON) is'; \
		$(PYTHON) --version; \
		echo 'Choose another: make PYTHON=python3.12 ...'; \
		exit 1; \
	} >&2
	$(PYTHON) -m venv $(VENV)
	@# an editable install from a pyproject.toml needs pip 21.3
	@$(BIN)/python -c 'import pip, sys; sys.exit(tuple(map(int, pip.__version__.split(".")[:2])) < (21, 3))' \
		|| $(BIN)/python -m pip install --upgrade 'pip>=21.3'
	$(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt -e '.[demo,dev]'
	@touch $@

demo: $(STAMP)
	rm -rf build/demo
	$(BIN)/lingraft demo --out build/demo

test: $(STAMP)
	$(BIN)/python -m pytest -n 2 $(ARGS)

lint: $(STAMP)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

format: $(STAMP)
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

clean:
	rm -rf build dist .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find src tests -type d -name __pycache__ -prune -exec rm -rf {} +
