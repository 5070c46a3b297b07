# Regente: the front door. `make run` and `make test` need nothing but python3, make and (once) the package registries.
SHELL := /bin/bash
PY := .venv/bin/python
PYTEST := $(PY) -m pytest

.DEFAULT_GOAL := help
.PHONY: help setup parts run up down test soak bench lint format docs requirements

help: ## what can be made
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-14s %s\n", $$1, $$2}'

setup: ## make .venv with the pinned packages (every other target does this first)
	@python3 deploy/local/setup.py

parts: setup ## fetch RabbitMQ, mongod and a browser, if the machine has none
	@$(PY) -m deploy.local parts

run: setup ## start everything with two demo robots, let the demo's tasks flow, stay up until Ctrl-C
	@exec $(PY) -m deploy.local run

up: setup ## start the stack in the background, without the demo
	@$(PY) -m deploy.local up

down: setup ## stop the stack that runs in the background
	@$(PY) -m deploy.local down

# Unit tests come first: they fail in seconds.
test: parts ## run all tests on a broker and a database of their own (TESTS=tests/unit for some)
	@$(PYTEST) $(or $(TESTS),tests/unit tests) $(PYTEST_ARGS)

# Long tests read REGENTE_SOAK for their size; a folder of them is added to SOAK.
SOAK := tests/fleet

soak: parts ## the long tests: 100,000 tasks, 200 robots, 8 schedulers that are killed at random
	@REGENTE_SOAK=1 $(PYTEST) -s $(or $(TESTS),$(SOAK)) $(PYTEST_ARGS)

bench: parts ## measure, print a table, write bench.json (BENCH=dispatch for one)
	@$(PY) -m tests.bench $(BENCH)

lint: setup ## ruff, mypy, the import rules
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy
	.venv/bin/lint-imports

format: setup ## let ruff format the code
	$(PY) -m ruff format .
	$(PY) -m ruff check --fix .

docs: setup ## write what is generated: diagrams and tables in ARCHITECTURE.md, docs/
	@$(PY) -m docs.generate

requirements: ## pin the packages of requirements*.in anew, with hashes (needs uv)
	uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links --custom-compile-command "make requirements" requirements.in -o requirements.txt
	uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links --custom-compile-command "make requirements" requirements-dev.in -o requirements-dev.txt
