"""Whether a manager may come, go or restart, for every number of managers that answer."""

from __future__ import annotations

import pytest
from msgspec import UNSET

from swarmops.fleet.quorum import gate_refusal, quorum, tolerance
from swarmops.fleet.steps import Gate
from swarmops.model.node import ManagerStatus, Node, NodeSpec, Reachability, Role

ANSWERING, SILENT = "m0", "m-silent"


def nodes(count: int, reachable: int) -> list[Node]:
    """Return so many managers, of which so many answer, and a worker."""
    names = [f"m{index}" for index in range(reachable)]
    names += [SILENT, *(f"s{index}" for index in range(count - reachable - 1))][: count - reachable]
    managers = [
        Node(
            id=name,
            spec=NodeSpec(role=Role.MANAGER),
            manager_status=ManagerStatus(
                leader=index == 0,
                reachability=Reachability.REACHABLE
                if index < reachable
                else Reachability.UNREACHABLE,
            ),
        )
        for index, name in enumerate(names)
    ]
    return [*managers, Node(id="w", spec=NodeSpec(role=Role.WORKER), manager_status=UNSET)]


# Managers → of how many that answer at least the gate is open, for one of those that do.
RESTARTS_FROM = {1: 1, 2: 1, 3: 3, 4: 4, 5: 5, 6: 6, 7: 7}
REMOVES_LIVE_FROM = {1: 9, 2: 2, 3: 3, 4: 4, 5: 5, 6: 6, 7: 7}
REMOVES_SILENT_FROM = {1: 9, 2: 1, 3: 2, 4: 2, 5: 3, 6: 3, 7: 4}
ADDS_FROM = {1: 1, 2: 2, 3: 3, 4: 3, 5: 4, 6: 4, 7: 5}


@pytest.mark.parametrize("count", range(1, 8))
def test_gates(count: int) -> None:
    """Each gate is open exactly where the rest is a quorum, and of three on bears a loss too."""
    for reachable in range(1, count + 1):
        there = nodes(count, reachable)

        def opened(gate: Gate, node_id: str = "", there: list[Node] = there) -> bool:
            return gate_refusal(gate, there, node_id) is None

        assert opened(Gate.NONE)
        assert opened(Gate.ADD_MANAGER) == (reachable >= ADDS_FROM[count]), reachable
        assert opened(Gate.RESTART_MANAGER, ANSWERING) == (reachable >= RESTARTS_FROM[count])
        live = opened(Gate.REMOVE_MANAGER, ANSWERING)
        assert live == (reachable >= REMOVES_LIVE_FROM[count]), reachable
        if reachable < count:
            assert opened(Gate.RESTART_MANAGER, SILENT), "its restart may be the cure"
            silent = opened(Gate.REMOVE_MANAGER, SILENT)
            assert silent == (reachable >= REMOVES_SILENT_FROM[count]), reachable


@pytest.mark.parametrize("gate", [Gate.RESTART_MANAGER, Gate.REMOVE_MANAGER])
@pytest.mark.parametrize("node_id", ["w", "gone"])
def test_who_is_no_manager_passes(gate: Gate, node_id: str) -> None:
    """Who was demoted or forgotten meanwhile costs the managers nothing."""
    assert gate_refusal(gate, nodes(3, 2), node_id) is None


@pytest.mark.parametrize("count", range(3, 8))
def test_a_restart_leaves_one_to_lose(count: int) -> None:
    """A manager that answers is restarted where the rest is a quorum; of five, less one more."""
    for reachable in range(1, count + 1):
        if gate_refusal(Gate.RESTART_MANAGER, nodes(count, reachable), ANSWERING) is None:
            assert reachable - 1 >= quorum(count)
            assert tolerance(count) < 2 or reachable - 2 >= quorum(count)


def test_a_refusal_says_how_it_stands() -> None:
    """A person learns the numbers and the cure."""
    refusal = gate_refusal(Gate.RESTART_MANAGER, nodes(5, 4), ANSWERING)
    assert refusal == (
        "its restart could cost the quorum (4 of 5 managers answer): bring the others back first"
    )
