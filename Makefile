# Regente: the front door. `make run` and `make test` need nothing but python3, make and (once) the package registries.
SHELL := /bin/bash
PY := .venv/bin/python
PYTEST := $(PY) -m pytest

.DEFAULT_GOAL := help
.PHONY: help setup parts run up cluster down test soak chaos images sim bench lint format docs requirements

help: ## what can be made
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-14s %s\n", $$1, $$2}'

setup: ## make .venv with the pinned packages (every other target does this first)
	@python3 deploy/local/setup.py

parts: setup ## fetch RabbitMQ, mongod, a browser and Prometheus, if the machine has none
	@$(PY) -m deploy.local parts

run: setup ## start everything with two demo robots, let the demo's tasks flow, stay up until Ctrl-C
	@exec $(PY) -m deploy.local run

up: setup ## start the stack in the background, without the demo
	@$(PY) -m deploy.local up

cluster: setup ## as up, with three nodes of RabbitMQ, three members of MongoDB and two of each service
	@$(PY) -m deploy.local cluster

down: setup ## stop the stack that runs in the background
	@$(PY) -m deploy.local down

# Tests that measure times or start the whole stack run one by one, after the others, which run side by side, each
# process of them with a broker and a database of its own. The simulations compute and never wait: they take what the
# ones that wait leave of the processors, and are told of at the end.
ALONE := tests/e2e tests/fleet tests/local_stack tests/partners tests/integration/scheduler/test_dispatch.py
BESIDE := -n auto --maxprocesses=4 --dist worksteal

test: parts ## run all tests on a broker and a database of their own (TESTS=tests/unit for some)
ifdef TESTS
	@$(PYTEST) $(TESTS) $(PYTEST_ARGS)
else
	@failed=0; \
	$(PYTEST) tests/unit tests $(addprefix --ignore=,$(ALONE) tests/sim) $(BESIDE) $(PYTEST_ARGS) || failed=1; \
	said=$$(mktemp); sim=; trap 'kill $$sim 2>/dev/null; rm -f "$$said"' EXIT; trap 'exit 130' INT TERM; \
	nice -n 19 $(PYTEST) tests/sim $(BESIDE) $(PYTEST_ARGS) >"$$said" 2>&1 & sim=$$!; \
	$(PYTEST) $(ALONE) $(PYTEST_ARGS) || failed=1; \
	wait $$sim || failed=1; \
	cat "$$said"; \
	exit $$failed
endif

chaos: parts ## a cluster, tasks, and every node and instance killed and frozen once (ONLY='freeze broker' for some)
	@$(PY) -m tests.chaos $(if $(ONLY),--only '$(ONLY)') $(if $(WRITE),--write $(WRITE))

IMAGES := console collector scheduler executor delivery alerts cli standalone
VERSION := $(shell sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)

images: ## build an image per service, regente/<service>:<version> (needs a container engine: DOCKER=podman for another)
	@$(or $(DOCKER),docker) info >/dev/null 2>&1 || { echo "no container engine answers; start one, or name it: DOCKER=podman make images" >&2; exit 1; }
	@set -e; for image in $(IMAGES); do \
	  $(or $(DOCKER),docker) build -f deploy/images/Dockerfile --target $$image -t $(or $(REGISTRY),regente)/$$image:$(VERSION) .; \
	done

# Long tests read REGENTE_SOAK for their size; a folder of them is added to SOAK.
SOAK := tests/fleet tests/partners/test_kills.py tests/sim/test_traces.py

soak: parts ## the long tests: 100,000 tasks, 200 robots, 8 schedulers killed at random; 50,000 tasks pushed and delivered
	@REGENTE_SOAK=1 $(PYTEST) -s $(or $(TESTS),$(SOAK)) $(PYTEST_ARGS)

sim: setup ## simulate the executor and the scheduler: SEEDS=n of them, or SEED=s alone, with its trace
	@$(PY) -m tests.sim $(if $(SEED),--seed $(SEED),--seeds $(or $(SEEDS),2000)) $(SIM_ARGS)

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
