# The simulation of whole raft groups (tests/sim/raft): make sim SEEDS=10000. Included by the Makefile.
SIM_PYTHON ?= .venv/bin/python
SEEDS ?= 1000
START ?= 0

.PHONY: sim
sim:
	$(SIM_PYTHON) -m tests.sim.raft --seeds $(SEEDS) --start $(START)
