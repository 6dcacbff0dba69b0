# Everything a contributor or CI runs. Needs Python 3.10-3.13, git and make; makes its own .venv.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
UV     := $(BIN)/uv
DEMO   := .demo

.PHONY: help install demo test lint types bench format constraints clean

help:
	@echo "make demo         document a small dbt project on DuckDB, offline, and show the result"
	@echo "make test         run all tests"
	@echo "make lint types   ruff, mypy"
	@echo "make bench        beside dbt-osmosis's own synthesis: requests, tokens, cost"
	@echo "make constraints  pin the newest versions that fit"

$(VENV)/installed: pyproject.toml constraints.txt src/dbt_osmosis_llm.pth
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check "uv>=0.5"
	$(UV) pip install --quiet --python $(BIN)/python --constraint constraints.txt --group dev --editable .
	@touch $@

install: $(VENV)/installed

demo: install
	@PATH="$(CURDIR)/$(BIN):$$PATH" sh tests/projects/demo/run.sh $(DEMO)

test: install
	$(BIN)/python -m pytest

lint: install
	$(BIN)/ruff check src tests benchmarks
	$(BIN)/ruff format --check src tests benchmarks

types: install
	$(BIN)/mypy

bench: install
	$(BIN)/python benchmarks/compare.py

format: install
	$(BIN)/ruff check --fix src tests benchmarks
	$(BIN)/ruff format src tests benchmarks

constraints: $(VENV)/installed
	$(UV) pip compile --quiet --upgrade --universal --python-version 3.10 --no-emit-index-url --no-header \
	  --group dev --all-extras pyproject.toml --output-file constraints.txt

clean:
	rm -rf $(VENV) $(DEMO) build dist .mypy_cache .pytest_cache .ruff_cache
