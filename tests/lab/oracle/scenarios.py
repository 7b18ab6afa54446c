"""All scenarios, in the order in which the table lists them."""

from tests.lab.oracle import containers, modes, placement, restarts, task_life, updates
from tests.lab.oracle.table import SCENARIOS

MODULES = (modes, task_life, restarts, updates, placement, containers)
ALL = tuple(SCENARIOS)
