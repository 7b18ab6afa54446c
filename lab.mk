# The lab of real hosts (tests/lab): make lab-up N=6, lab-reset, lab-down. Included by the Makefile.
LAB_PYTHON ?= .venv/bin/python
N ?= 6

.PHONY: lab-up lab-reset lab-down
lab-up:
	$(LAB_PYTHON) -m tests.lab up $(N) $(if $(WITHOUT_ENGINE),--without-engine $(WITHOUT_ENGINE))

lab-reset:
	$(LAB_PYTHON) -m tests.lab reset

lab-down:
	$(LAB_PYTHON) -m tests.lab down
