# make env         the environment (.venv), with pinned versions
# make quickstart  tune ResNet-20 on real digits; ends by naming the folder with the results
# make test        what CI runs: linters, types, documentation, all tests
# make ncs2        OpenVINO 2021.4.2 for the tests, where the host has a Python for it
# make lint        linters and types only
# make bench      all benchmarks (or ONLY="overhead search"), into benchmarks/RESULTS.md: an hour
# make docs        the documentation site, into site/
# make build       wheel and source distribution, into dist/
# make test-packaging  install the wheel into an empty environment and run a search there; with
#                  CONSTRAINTS=constraints-oldest.txt PYTHON=python3.10 on the oldest versions

PYTHON ?= python3
BIN := .venv/bin
export OMP_NUM_THREADS ?= 1

.PHONY: env ncs2 quickstart test test-packaging lint bench docs build clean

env: .venv/.made

.venv/.made: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(None if v >= (3, 10) else \
	  "Python 3.10 or newer is needed, $(PYTHON) is %d.%d; try make PYTHON=python3.11" % v[:2])'
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev,docs]'
	@touch $@

quickstart: env
	$(BIN)/python examples/quickstart.py $(ARGS)

bench ncs2 test: export RAYTUNE_EDGE_NCS2 ?= $(CURDIR)/.venv-ncs2

ncs2: env
	@$(BIN)/raytune-edge ncs2 install >/dev/null || test $$? = 3  # 3: the host lacks a Python for it

test: lint docs ncs2
	$(BIN)/python -m pytest --durations=25

test-packaging: export RAYTUNE_EDGE_PYTHON = $(PYTHON)
test-packaging: export RAYTUNE_EDGE_CONSTRAINTS = $(abspath $(or $(CONSTRAINTS),constraints.txt))
test-packaging: env
	$(BIN)/python -m pytest tests/packaging -m packaging

lint: env
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: ncs2
	$(BIN)/python benchmarks/suite.py $(ONLY)

docs: env
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	@echo "$(CURDIR)/site/index.html"

build: env
	$(BIN)/python -m build

clean:
	rm -rf build dist site *.egg-info .mypy_cache .pytest_cache .ruff_cache
