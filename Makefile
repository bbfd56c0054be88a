# `make help` lists the targets; what stands behind ## is their line.
PYTHON ?= python3
BIN := .venv/bin
export PATH := $(CURDIR)/$(BIN):$(PATH)
export MLFLOW_DISABLE_TELEMETRY := true
export DVC_NO_ANALYTICS := true
export HF_HUB_OFFLINE ?= 1
# Python compiles what is imported, when it is: all of it beforehand takes half of an installation.
PIP = $(BIN)/pip install -q --no-compile --disable-pip-version-check -c constraints.txt
PYTEST = $(BIN)/pytest -q -n 2 --dist loadfile --no-loadscope-reorder -m "not slow"
PROFILE ?=

.PHONY: bench bench-text help test coverage test-slow lint docs ui clean
.DELETE_ON_ERROR:

bench: .venv/.base  ## from nothing to reports/leaderboard.md; PROFILE=x takes another of profiles/
	$(if $(PROFILE),$(BIN)/metabench profile $(PROFILE))
	@$(BIN)/metabench repair
	$(BIN)/dvc repro
	@$(BIN)/metabench where

bench-text: .venv/.text  ## the profile text, with a pretrained language model
	$(BIN)/metabench profile text
	@$(BIN)/metabench repair
	$(BIN)/dvc repro
	@$(BIN)/metabench where

help:  ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "%-12s%s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

test: lint  ## ruff, mypy and pytest: under 8 minutes on 2 cores
	$(PYTEST)

coverage: lint  ## the same, and the share of lines that the tests run: a third slower
	$(PYTEST) --cov --cov-report=
	@echo "coverage: $$($(BIN)/coverage report --format=total) % of lines, without what only stages and workers run"

test-slow: .venv/.dev  ## the full-size checks
	$(BIN)/pytest -q -m slow

lint: .venv/.dev  ## ruff and mypy alone
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: .venv/.docs  ## the documents and an API reference as a site: build/site/index.html
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet

ui: .venv/.base  ## every run, curve and figure in MLflow, http://127.0.0.1:5000
	$(BIN)/metabench ui

clean:  ## remove .venv and all that was computed: data, runs, results, mlflow.db
	rm -rf .venv data backbones runs results mlflow.db

$(BIN)/pip:
	$(PYTHON) -m venv .venv

.venv/.base: $(BIN)/pip pyproject.toml constraints.txt
	$(PIP) -e .
	@touch $@

.venv/.text: .venv/.base
	$(PIP) -e '.[text]'
	@touch $@

.venv/.docs: .venv/.base
	$(PIP) -e '.[docs]'
	@touch $@

.venv/.dev: .venv/.text
	$(PIP) -e '.[dev,text,timm,photos]'
	@touch $@
