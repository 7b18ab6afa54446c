"""All scenarios, in the order in which the table lists them."""

from tests.lab.oracle import (
    containers,
    listing,
    logs,
    modes,
    networks,
    nodes,
    placement,
    ports,
    references,
    refusals,
    restarts,
    task_life,
    updates,
)
from tests.lab.oracle.table import SCENARIOS

MODULES = (
    modes,
    task_life,
    restarts,
    updates,
    placement,
    containers,
    references,
    ports,
    refusals,
    listing,
    logs,
    networks,
    nodes,
)
ALL = tuple(SCENARIOS)
