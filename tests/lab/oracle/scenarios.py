"""All scenarios, in the order in which the table lists them."""

from tests.lab.oracle import modes, restarts, task_life
from tests.lab.oracle.table import SCENARIOS

MODULES = (modes, task_life, restarts)
ALL = tuple(SCENARIOS)
