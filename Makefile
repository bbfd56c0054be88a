# make bench            default profile: from nothing to reports/leaderboard.md
# make bench PROFILE=x  another profile of profiles/
# make test             ruff, mypy, pytest (under 8 minutes on 2 cores)
# make test-slow        the full-size checks
# make ui               MLflow in the browser
PYTHON ?= python3
BIN := .venv/bin
export PATH := $(CURDIR)/$(BIN):$(PATH)
export MLFLOW_DISABLE_TELEMETRY := true
export DVC_NO_ANALYTICS := true
export HF_HUB_OFFLINE ?= 1
PIP = $(BIN)/pip install -q --disable-pip-version-check -c constraints.txt
PROFILE ?=

.PHONY: bench bench-text test test-slow lint ui clean
.DELETE_ON_ERROR:

bench: .venv/.base
	$(if $(PROFILE),$(BIN)/metabench profile $(PROFILE))
	@$(BIN)/metabench repair
	$(BIN)/dvc repro
	@$(BIN)/metabench where

bench-text: .venv/.text
	$(BIN)/metabench profile text
	@$(BIN)/metabench repair
	$(BIN)/dvc repro
	@$(BIN)/metabench where

test: lint
	$(BIN)/pytest -q -n 2 --dist loadfile --no-loadscope-reorder -m "not slow"

test-slow: .venv/.dev
	$(BIN)/pytest -q -m slow

lint: .venv/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

ui: .venv/.base
	$(BIN)/metabench ui

clean:
	rm -rf .venv data runs results mlflow.db

$(BIN)/pip:
	$(PYTHON) -m venv .venv

.venv/.base: $(BIN)/pip pyproject.toml constraints.txt
	$(PIP) -e .
	@touch $@

.venv/.text: .venv/.base
	$(PIP) -e '.[text]'
	@touch $@

.venv/.dev: .venv/.text
	$(PIP) -e '.[dev,text,timm]'
	@touch $@
