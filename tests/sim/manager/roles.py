"""Promotion and demotion in a simulated swarm: what the operator wants, and what nodes do about it.

The role manager makes a wanted role real; here is the part of the node's own runtime: a manager
ends once it has no role any more and forgets its log, a worker joins the group once it has one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from swarmops.errors import SwarmopsError
from swarmops.model.base import given
from swarmops.model.node import Node, NodeInternal, Role
from swarmops.store import Store
from tests.sim.manager.faults import Faults
from tests.sim.manager.operator import Note, Operator

if TYPE_CHECKING:
    from tests.sim.manager.swarm import Swarm

_ROLE_S = 60.0
_JOIN_S = 10.0


class Roles:
    """Its events."""

    def __init__(self, swarm: Swarm, operator: Operator, faults: Faults, note: Note) -> None:
        self._swarm = swarm
        self._operator = operator
        self._faults = faults
        self._note = note

    async def demote(self) -> None:
        """Make a manager a worker, often the leader, where all managers are well."""
        if not self._faults.managers_are_whole:
            return
        machine = self._faults.some_manager()
        self._note("demote", machine.name)
        await self._want(machine.name, Role.WORKER)
        await machine.kill(power=False)
        del self._swarm.machines[machine.name]

    async def promote(self) -> None:
        """Make one who was a manager a manager again, if he has power."""
        away = [
            name
            for name in self._swarm.agents
            if name.startswith("m") and name not in {*self._swarm.machines, *self._faults.off}
        ]
        if not away or any(not each.is_running for each in self._swarm.machines.values()):
            return
        self._note("promote", away[0])
        await self._want(away[0], Role.MANAGER)
        await self._join(away[0])

    async def _join(self, name: str) -> None:
        machine = self._swarm.new_machine(name)

        async def add() -> bool:
            try:
                leader = self._swarm.leader
                peers = (
                    await leader.raft.add_member(machine.me, timeout_s=_JOIN_S) if leader else ()
                )
            except SwarmopsError:
                return False
            if peers:
                self._swarm.machines[name] = machine
                await machine.start("join", peers)
            return bool(peers)

        async def remember(store: Store) -> None:
            def change(node: Node) -> Node:
                internal = given(node.internal, NodeInternal())
                return replace(node, internal=replace(internal, raft_id=machine.me.raft_id))

            await store.modify(store.nodes, name, change)

        await self._operator.until_done(add)
        await self._operator.until_done(lambda: self._operator.write(remember))

    async def _want(self, name: str, role: Role) -> None:
        """Give a node a role, and wait until it has it."""

        def done() -> bool:
            node = self._swarm.store.nodes.get(name)
            return node is not None and given(node.internal, NodeInternal()).role is role

        operator = self._operator
        await operator.until_done(lambda: operator.change_node(name, role=role))
        await self._swarm.until(done, _ROLE_S, f"{name} has the role {role.value}")
