# make env         the environment (.venv), with pinned versions
# make quickstart  tune ResNet-20 on real digits; ends by naming the folder with the results
# make test        what CI runs: linters, types, all tests
# make lint        linters and types only

PYTHON ?= python3
BIN := .venv/bin
export OMP_NUM_THREADS ?= 1

.PHONY: env quickstart test lint build clean

env: .venv/.made

.venv/.made: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(None if v >= (3, 10) else \
	  "Python 3.10 or newer is needed, $(PYTHON) is %d.%d; try make PYTHON=python3.11" % v[:2])'
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

quickstart: env
	$(BIN)/python examples/quickstart.py $(ARGS)

test: lint
	$(BIN)/python -m pytest

lint: env
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

build: env
	$(BIN)/python -m build

clean:
	rm -rf build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache
