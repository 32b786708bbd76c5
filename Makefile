# medimg. Each target makes the virtual environment if it is not there or if requirements.lock has changed.

SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
READY := $(VENV)/.ready
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)

.PHONY: help demo test slow lint bench campaigns clean

help: ## list what make can do
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /\1\t/' | awk -F'\t' '{printf "make %-10s %s\n", $$1, $$2}'

$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "medimg needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) --version). Name another: make PYTHON=python3.12"; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check -r requirements.lock
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

demo: $(READY) ## write the demo study, run the whole pipeline, say the result
	@medimg demo && dvc repro && medimg result

test: $(READY) ## run the tests (under 10 minutes on 2 cores)
	pytest

slow: $(READY) ## run the slow tests
	pytest -m slow

lint: $(READY) ## ruff and mypy
	ruff check . && ruff format --check . && mypy

bench: $(READY) ## measure ratios, write BENCHMARKS.md
	python benchmarks/run.py

campaigns: $(READY) ## run every fault campaign whole
	MEDIMG_CAMPAIGN=all pytest -m campaign

clean: ## remove the environment, what the pipeline made, and caches (data/ and splits.csv stay)
	rm -rf $(VENV) .medimg artifacts .dvc/cache .dvc/tmp .pytest_cache .mypy_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
