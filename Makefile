# make demo | test | docs | lint | format | dist | test-wheel | clean | help

PYTHON ?= python3
ARGS ?=

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: help demo test docs lint format dist test-wheel clean
.DEFAULT_GOAL := help

help:
	@echo 'make demo     the whole way on the sample data, into build/demo'
	@echo 'make test     the tests; ARGS="..." goes to pytest'
	@echo 'make docs     the documentation site, into build/docs'
	@echo 'make lint     ruff and mypy, changing nothing'
	@echo 'make format   let ruff mend and format'
	@echo 'make dist     the sdist, and the wheel made of it, into dist'
	@echo 'make test-wheel   the tests on that wheel, installed, in place of this tree'
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
	$(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt -e '.[demo,dev,docs]'
	@touch $@

demo: $(STAMP)
	rm -rf build/demo
	$(BIN)/lingraft demo --out build/demo

test: $(STAMP)
	$(BIN)/python -m pytest -n 2 $(ARGS)

docs: $(STAMP)
	$(BIN)/python -m sphinx --fail-on-warning --keep-going --quiet -b html docs build/docs

lint: $(STAMP)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

# By the backend that is installed, so that nothing is fetched.
dist: $(STAMP)
	rm -rf dist
	$(BIN)/python -m build --no-isolation

# Whatever the tests say, the tree is what is installed in the end.
test-wheel: dist
	$(BIN)/python -m pip install --disable-pip-version-check --no-deps --force-reinstall dist/*.whl
	@status=0; { \
		cd tests && ../$(BIN)/python -c 'import lingraft, sys; sys.exit("site-packages" not in lingraft.__file__)' && \
		cd .. && $(BIN)/python -m pytest -n 2 $(ARGS); \
	} || status=$$?; \
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -e .; \
	exit $$status

format: $(STAMP)
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

clean:
	rm -rf build dist .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find src tests -type d -name __pycache__ -prune -exec rm -rf {} +
