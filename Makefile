# The README's two commands are `make demo` and `make test`; each sets itself up.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready

.DEFAULT_GOAL := help
.PHONY: help demo demo-down test test-docker check format docs

help:
	@echo "make demo       three managers, two workers and a service, on loopback, without root"
	@echo "make demo-down  remove all of it"
	@echo "make check      the fast tests: format, lint, types, import layers, unit tests"
	@echo "make test       all that is ours; as root also on the lab of real hosts"
	@echo "make test-docker                 ours beside Docker's own swarm, in the lab (root)"
	@echo "make docs       docs/reference and schemas, made from the code"
	@echo "make lab-up N=6, make lab-down   the lab alone"
	@echo "make sim SEEDS=10000             groups of managers under faults, on a virtual clock"
	@echo "make sim-swarm SEEDS=300         whole swarms under changes and faults, likewise"

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "swarmops needs Python 3.11 or newer: make PYTHON=/path/to/python3.11 $(MAKECMDGOALS)"; exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || \
	  { echo "Python lacks its venv module: apt-get install python3-venv"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $(READY)

demo: $(READY)
	@$(BIN)/swarmops apply inventories/local.yml

demo-down: $(READY)
	@$(BIN)/swarmops destroy --yes inventories/local.yml
	@rm -rf .demo

format: $(READY)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

docs: $(READY)
	$(BIN)/python -m swarmops.cli.reference

check: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(BIN)/pytest -q -n 2 -m "not slow" tests/unit tests/sim

test: check
	$(BIN)/pytest -q -n 2 -m slow tests/unit tests/sim
	$(BIN)/pytest -q -m "not docker_swarm" tests/local tests/lab

test-docker: $(READY)
	$(BIN)/pytest -q -m docker_swarm tests/lab

include lab.mk sim.mk
