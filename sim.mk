# The simulations of whole raft groups and of whole swarms: make sim SEEDS=10000, make sim-swarm.
# Included by the Makefile.
SIM_PYTHON ?= .venv/bin/python
SEEDS ?= 1000
START ?= 0

.PHONY: sim sim-swarm
sim:
	$(SIM_PYTHON) -m tests.sim.raft --seeds $(SEEDS) --start $(START)

sim-swarm:
	$(SIM_PYTHON) -m tests.sim.manager --seeds $(SEEDS) --start $(START)
