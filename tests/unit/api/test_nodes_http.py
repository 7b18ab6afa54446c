"""Nodes over HTTP: what is shown, what an update changes, and what a removal takes along."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from msgspec.structs import replace

from swarmops.model.node import NodeSpec, NodeState, Role
from swarmops.model.swarm import ClusterInternal, RemovedNode
from swarmops.model.task import Task, TaskState, TaskStatus
from tests.unit.api.conftest import Api
from tests.unit.api.fake_node import START


async def test_a_node_is_shown_without_what_only_managers_know(manager: Api):
    """No internal field leaves; only managers have a ManagerStatus."""
    await manager.node.add_node("w1")
    shown = {one["Description"]["Hostname"]: one for one in await manager.get("/nodes")}
    assert shown["a1"]["ManagerStatus"] == {
        "Leader": True,
        "Reachability": "reachable",
        "Addr": "10.0.0.1:2377",
    }
    assert "ManagerStatus" not in shown["w1"]
    assert "raft" not in str(shown).lower()
    assert await manager.get("/nodes/w1") == shown["w1"]
    assert await manager.get(f"/v1.41/nodes/{shown['w1']['ID'][:9]}") == shown["w1"]


async def test_lists_are_filtered(manager: Api):
    """By ID, hostname, engine and node labels, role and membership."""
    worker = await manager.node.add_node("w1")
    await manager.node.put(replace(worker, spec=NodeSpec(labels={"disk": "ssd"})))

    async def names(**filters: Any) -> list[str]:
        return sorted(
            one["Description"]["Hostname"] for one in await manager.get("/nodes", **filters)
        )

    assert await names() == ["a1", "w1"]
    assert await names(name=["w"]) == ["w1"]
    assert await names(id=[worker.id[:8]]) == ["w1"]
    assert await names(role=["Manager"]) == ["a1"]
    assert await names(role={"manager": True, "worker": True}) == ["a1", "w1"]
    assert await names(label=["zone=a1"]) == ["a1"]
    assert await names(**{"node.label": ["disk=ssd"]}) == ["w1"]
    assert await names(**{"node.label": ["disk=hdd"]}) == []
    assert await names(membership=["accepted"]) == ["a1", "w1"]
    assert await names(membership=["pending"]) == []


async def test_an_update_changes_the_spec_and_nothing_else(manager: Api):
    """Labels, availability and the wanted role; the observed role is the role manager's."""
    worker = await manager.node.add_node("w1")
    body = {"Labels": {"x": "y"}, "Role": "manager", "Availability": "drain"}
    answer = await manager.ask("POST", f"/nodes/w1/update?version={worker.version.index}", body)
    assert (answer.status, answer.body) == (200, "")
    store = manager.node.store
    assert store is not None
    after = store.nodes[worker.id]
    assert (await manager.get("/nodes/w1"))["Spec"] == body
    assert after.internal == worker.internal
    assert after.description == worker.description


async def test_a_manager_is_demoted_while_another_remains(manager: Api):
    """The quorum is asked of the node, and then the wanted role changes."""
    other = await manager.node.add_node("a2", Role.MANAGER)
    body = {"Role": "worker", "Availability": "active"}
    answer = await manager.ask("POST", f"/nodes/a2/update?version={other.version.index}", body)
    assert answer.status == 200
    assert manager.node.calls == [("check_demote", other.id)]
    assert (await manager.get("/nodes/a2"))["Spec"]["Role"] == "worker"


@pytest.mark.parametrize(
    ("state", "path"), [(NodeState.DOWN, "/nodes/w1"), (NodeState.READY, "/nodes/w1?force=1")]
)
async def test_a_removed_node_leaves_its_tasks_and_its_certificate(
    manager: Api, state: NodeState, path: str
):
    """At once: the node goes, its certificate is refused from now on, its tasks are orphaned."""
    node = manager.node
    store = node.store
    assert store is not None
    assert store.cluster is not None
    gone = RemovedNode(id="long-ago", until=START - timedelta(days=1))
    internal = store.cluster.internal
    assert isinstance(internal, ClusterInternal)
    await node.put(replace(store.cluster, internal=replace(internal, removed_nodes=[gone])))
    worker = await node.add_node("w1", state=state)
    live = Task(id="live", node_id=worker.id, status=TaskStatus(state=TaskState.RUNNING))
    ended = Task(id="ended", node_id=worker.id, status=TaskStatus(state=TaskState.FAILED))
    await node.put(live, ended)

    answer = await manager.ask("DELETE", path)

    assert (answer.status, answer.body) == (200, "")
    assert store.nodes.get(worker.id) is None
    assert store.tasks["live"].status.state is TaskState.ORPHANED
    assert store.tasks["ended"].status.state is TaskState.FAILED
    after = store.cluster.internal
    assert isinstance(after, ClusterInternal)
    assert [one.id for one in after.removed_nodes] == [worker.id]
    assert after.removed_nodes[0].until > START + timedelta(days=90)
    assert after.ca_key == internal.ca_key
