"""Promotion and demotion: in the one order that is safe, and never below a quorum."""

from __future__ import annotations

import asyncio

from swarmops.model.base import given
from swarmops.model.node import ManagerStatus, NodeInternal, Reachability, Role
from swarmops.raft.seam import Member
from swarmops.store import Transaction
from tests.sim.manager_lab import Lab, lab
from tests.sim.virtual_loop import virtual


def role(swarm: Lab, node_id: str) -> Role:
    """Return the observed role."""
    return given(swarm.store.nodes[node_id].internal, NodeInternal()).role


def standing(swarm: Lab, node_id: str) -> ManagerStatus | None:
    """Return what is shown of a manager."""
    return given(swarm.store.nodes[node_id].manager_status, None)


@virtual
async def test_managers_show_who_leads_and_who_is_reachable() -> None:
    """Leader, reachability and address follow the group within a second."""
    async with lab(managers=3, workers=1) as swarm:
        await swarm.until(lambda: standing(swarm, "m3") is not None, within_s=1)
        leader = standing(swarm, "m1")
        assert leader == ManagerStatus(
            leader=True, reachability=Reachability.REACHABLE, addr="ip-m1:2377"
        )
        assert standing(swarm, "w1") is None
        await swarm.isolate("m3")
        await swarm.until(
            lambda: given(standing(swarm, "m3"), leader).reachability is Reachability.UNREACHABLE,
            within_s=1,
        )
        swarm.lead("m2")
        await swarm.until(lambda: given(standing(swarm, "m2"), leader).leader is True, within_s=1)
        assert given(standing(swarm, "m1"), leader).leader is not True


@virtual
async def test_a_promoted_node_learns_its_role() -> None:
    """The role changes at once, and the agent is told, so that its runtime can join the group."""
    async with lab(managers=1, workers=1) as swarm:
        await swarm.set_role("w1", Role.MANAGER)
        await swarm.until(lambda: role(swarm, "w1") is Role.MANAGER, within_s=0.5)

        def told() -> bool:
            node = swarm.agents["w1"].news[-1].node
            return given(node.internal, NodeInternal()).role is Role.MANAGER

        await swarm.until(told, within_s=0.5)
        assert standing(swarm, "w1") is None
        swarm.members = [*swarm.members, Member("raft-w1", "w1", "ip-w1:2377")]
        await swarm.until(lambda: standing(swarm, "w1") is not None, within_s=0.5)


@virtual
async def test_a_demoted_manager_leaves_the_group_before_its_role_changes() -> None:
    """The member is removed first; then role, member ID and standing are taken."""
    async with lab(managers=3, workers=1) as swarm:
        roles_at_removal = []

        def on_entry(_data: bytes) -> None:
            if swarm.log_of:
                roles_at_removal.append(role(swarm, "m3"))

        swarm.log.on_entry = on_entry
        await swarm.set_role("m3", Role.WORKER)
        await swarm.until(lambda: role(swarm, "m3") is Role.WORKER, within_s=1)
        assert swarm.log_of == ["removed raft-m3"]
        assert roles_at_removal[0] is Role.MANAGER
        assert given(swarm.store.nodes["m3"].internal, NodeInternal()).raft_id == ""
        assert standing(swarm, "m3") is None


@virtual
async def test_a_demoted_leader_hands_over_first() -> None:
    """Another manager leads before the old leader's member is removed, by the new one."""
    async with lab(managers=3, workers=1) as swarm:
        await swarm.set_role("m1", Role.WORKER)
        await swarm.until(lambda: swarm.leader != "m1", within_s=1)
        await swarm.until(lambda: role(swarm, "m1") is Role.WORKER, within_s=2)
        assert swarm.log_of == ["removed raft-m1"]


@virtual
async def test_a_demotion_that_would_lose_the_quorum_waits() -> None:
    """With one of three unreachable the other can't go, until the first is back."""
    async with lab(managers=3, workers=1) as swarm:
        await swarm.isolate("m3")
        await swarm.set_role("m2", Role.WORKER)
        await asyncio.sleep(5)
        assert role(swarm, "m2") is Role.MANAGER
        assert not swarm.log_of
        swarm.cut.clear()
        swarm.log.heal(swarm.stores["m3"])
        await swarm.until(lambda: role(swarm, "m2") is Role.WORKER, within_s=3)


@virtual
async def test_the_only_manager_stays_one() -> None:
    """Nobody can take the lead, so the role is kept."""
    async with lab(managers=1, workers=1) as swarm:
        await swarm.set_role("m1", Role.WORKER)
        await asyncio.sleep(5)
        assert role(swarm, "m1") is Role.MANAGER
        assert swarm.leader == "m1"


@virtual
async def test_a_removed_nodes_member_goes_and_its_tasks_move() -> None:
    """Deleting the node object is enough: member, session and tasks follow."""
    async with lab(managers=3, workers=2) as swarm:
        web = await swarm.create("web", 5)
        await swarm.until(lambda: len(swarm.running_on(web)) == 5)
        for node_id in ("m3", "w1"):
            tx = Transaction()
            tx.delete(swarm.store.nodes[node_id])
            await swarm.store.commit(tx)
        await swarm.until(lambda: swarm.log_of == ["removed raft-m3"], within_s=1)
        await swarm.until(
            lambda: len([n for n in swarm.running_on(web) if n not in {"m3", "w1"}]) == 5
        )
        assert swarm.agents["w1"].manager == ""
