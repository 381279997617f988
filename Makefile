# Every target does its own set-up: nothing but Debian and Python 3.11 or newer is needed beforehand.
# `make help` lists the targets. ARGS goes to the tool behind a target: make test ARGS='-k rollup -x'.

SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help venv demo test check lint format types reference bench services services-stop services-status clean

BIN := .venv/bin
ARGS ?=
# Two are as fast as two cores can; 0 runs the tests in pytest itself, for a debugger.
WORKERS ?= 2

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

venv: ## make or refresh .venv (uv when present, else python3 -m venv and pip)
	@deploy/venv.sh

demo: venv ## a bill total goes from 1.0 s to 1.2 s and totals lose their details: both are found, in three minutes
	@$(BIN)/cxgauge demo $(ARGS)

test: venv ## run the tests in WORKERS processes; those whose service does not run are skipped by name and counted
	@$(BIN)/pytest --numprocesses $(WORKERS) --dist worksteal $(ARGS)

check: lint types test ## lint, types and tests

lint: venv ## ruff: rules and format
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

format: venv ## let ruff rewrite the sources
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

types: venv ## mypy, strict; tests, bench and deploy included
	@$(BIN)/mypy -p cxgauge

reference: venv ## fill the key tables of docs/reference from the models
	@$(BIN)/python docs/reference/generate.py

bench: venv ## run the benchmarks one after the other; each prints its figures and the machine's facts
	@set -e; for script in bench/[!_]*.py; do \
	  if [ -e "$$script" ]; then echo "== $$script"; $(BIN)/python "$$script" $(ARGS); fi; done

services: venv ## install and start what the tests need for real: TimescaleDB, Prometheus, Alertmanager, Chromium
	@$(BIN)/python -m deploy.services start $(ARGS)

services-stop: venv ## end exactly what `make services` started
	@$(BIN)/python -m deploy.services stop

services-status: venv ## what runs, where, and what is lacking
	@$(BIN)/python -m deploy.services status

clean: services-stop ## remove what the targets above made, services and .venv included
	@$(BIN)/python -m deploy.services remove
	@rm -rf .venv build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
