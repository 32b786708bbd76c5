# medimg. Each target makes the virtual environment if it is not there or if requirements.lock has changed.

SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
READY := $(VENV)/.ready
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)

.PHONY: help demo cluster-demo test slow lint bench docs campaigns nights clean

help: ## list what make can do
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | awk -F'\t' '{printf "make %-12s %s\n", $$1, $$2}'

$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "medimg needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) --version). Name another: make PYTHON=python3.12"; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check -r requirements.lock
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

demo: $(READY) ## write the demo study, run the whole pipeline, say the result
	@medimg demo && dvc repro && medimg result

cluster-demo: $(READY) ## the demo study on a Ray cluster of three nodes here, one of which dies in training
	@python -m cluster.demo

test: $(READY) ## run the tests that are not slow
	pytest -n 2 --dist loadfile

slow: $(READY) ## run the slow tests
	pytest -m slow -n 2 --dist loadfile --durations=20

lint: $(READY) ## ruff and mypy
	ruff check . && ruff format --check . && mypy

bench: $(READY) ## measure ratios, write BENCHMARKS.md (TOPICS="loading …" for some)
	python -m benchmarks.run $(TOPICS)

docs: $(READY) ## build the documentation as a site, into site/
	@$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check -r requirements-docs.lock
	NO_MKDOCS_2_WARNING=1 mkdocs build --quiet --strict

campaigns: $(READY) ## run every fault campaign whole
	MEDIMG_CAMPAIGN=all pytest -m campaign

nights: $(READY) ## play ten nights that go well, wrong, or are cut off, and check what must hold after each
	PYTHONPATH=. python tests/play_nights.py

clean: ## remove the environment, what the pipeline made, and caches (data/ and splits.csv stay)
	rm -rf $(VENV) .medimg artifacts site .dvc/cache .dvc/tmp .pytest_cache .mypy_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
