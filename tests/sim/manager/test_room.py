"""The judge of places judges a decision by what whoever made it could know."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from swarmops.model.node import Node, NodeSpec, NodeState, NodeStatus
from swarmops.model.service import Placement, PlacementPreference, SpreadOver, TaskSpec
from swarmops.model.task import Task, TaskState, TaskStatus
from swarmops.store import Store, Transaction
from tests.sim.manager.room import QUIET, Room
from tests.sim.virtual_loop import EPOCH

SPREAD = TaskSpec(
    placement=Placement(
        preferences=[PlacementPreference(spread=SpreadOver(spread_descriptor="node.labels.zone"))]
    )
)
READY = NodeStatus(state=NodeState.READY)
HOUR = EPOCH + timedelta(hours=1)
SECOND = timedelta(seconds=1)


class Judged:
    """A store whose every entry is judged."""

    def __init__(self) -> None:
        self.store, self.room = Store(), Room()
        self._watch = self.store.watch()

    def apply(self, tx: Transaction, decided: datetime, applied: datetime) -> None:
        """Apply what was decided then."""
        self.store.apply(self.store.applied + 1, tx.encode(decided))
        self.room.check(self.store, self._watch.take()[0], applied)


@pytest.mark.parametrize("late", [False, True], ids=["in time", "late"])
def test_a_decision_is_judged_by_what_was_there_when_it_was_made(*, late: bool) -> None:
    """A third task beside two, where a zone was empty: wrong, unless the zone came meanwhile."""
    swarm, tx = Judged(), Transaction()
    for name, zone in (("n1", "a"), ("n2", "b")):
        there = NodeStatus(state=NodeState.DOWN) if name == "n2" else READY
        tx.put(Node(id=name, spec=NodeSpec(labels={"zone": zone}), status=there))
    for number in (1, 2, 3):
        tx.put(Task(id=f"t{number}", service_id="web", slot=number, spec=SPREAD))
    swarm.apply(tx, EPOCH, EPOCH)
    assigned = TaskStatus(state=TaskState.ASSIGNED)
    for number in (1, 2):
        tx = Transaction()
        tx.patch_task(f"t{number}", node_id="n1", status=assigned)
        swarm.apply(tx, HOUR, HOUR)
    tx = Transaction()
    tx.put(Node(id="n2", spec=NodeSpec(labels={"zone": "b"}), status=READY), expected=1)
    swarm.apply(tx, HOUR, HOUR)
    tx = Transaction()
    tx.patch_task("t3", node_id="n1", status=assigned)
    applied = HOUR + QUIET + SECOND
    if late:
        swarm.apply(tx, HOUR, applied)
    else:
        with pytest.raises(AssertionError, match="task t3 went to zone 'a'"):
            swarm.apply(tx, applied, applied)
