"""The operator of a simulated swarm, who changes his mind about services and nodes.

He speaks to any manager that runs, with the API's own functions, and takes a refusal for an answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import TYPE_CHECKING, Any

from msgspec import UNSET
from msgspec.structs import replace

from swarmops.api.nodes import refuse_removal, removal
from swarmops.api.services import rebalancing, rolled_back, updated
from swarmops.errors import SwarmopsError
from swarmops.manager.places import is_job
from swarmops.model.base import given
from swarmops.model.defaults import container_spec, mode_name, task_spec
from swarmops.model.ids import new_id
from swarmops.model.node import Availability, Node, NodeSpec
from swarmops.model.service import (
    ContainerSpec,
    JobStatus,
    ReplicatedMode,
    Service,
    ServiceMode,
    UpdateConfig,
)
from swarmops.store import Store, Transaction
from tests.sim.manager import specs
from tests.sim.virtual_loop import virtual_now

if TYPE_CHECKING:
    from tests.sim.manager.swarm import Swarm

SERVICES_MAX = 6
_WRITE_S = 3.0
STEADY = {"w1": "a", "w4": "b"}
"""One worker a zone that stays, and takes tasks in the end, so that all may have a place."""

Write = Callable[[Store], Coroutine[Any, Any, None]]
Note = Callable[..., None]


class Operator:
    """His events; ``note`` writes down what he does."""

    def __init__(self, swarm: Swarm, note: Note) -> None:
        self._swarm = swarm
        self._rng = swarm.fork()
        self._note = note
        self._names = 0

    async def write(self, write: Write) -> bool:
        """Have some manager write; return whether it did."""
        running = [m for m in self._swarm.machines.values() if m.is_running]
        if not running:
            return False
        try:
            async with asyncio.timeout(_WRITE_S):
                await write(self._rng.choice(running).store)
        except (SwarmopsError, TimeoutError) as error:
            self._note("  refused:", str(error) or "no answer")
            return False
        return True

    async def until_done(self, work: Callable[[], Awaitable[bool]]) -> None:
        """Try until it is done."""
        while not await work():
            self._swarm.check()
            await asyncio.sleep(0.2)

    # Services ------------------------------------------------------------------------------------

    async def _change(self, change: Callable[[Service, Store], Service], which: str = "") -> bool:
        """Change a service as the API does."""

        async def write(store: Store) -> None:
            found = [s for s in store.services if not which or s.id == which]
            if found:
                chosen = self._rng.choice(found)
                self._note("  of", chosen.id)
                await store.modify(store.services, chosen.id, lambda old: change(old, store))

        return await self.write(write)

    async def create(self) -> None:
        """Create a service of any mode."""
        if len(self._swarm.store.services) >= SERVICES_MAX:
            return
        mode = self._rng.choice(specs.MODES)
        self._names += 1
        name = f"{mode}{self._names}"
        spec = specs.service(self._rng, name, mode)
        job = mode.endswith("job")
        status = JobStatus(last_execution=virtual_now()) if job else UNSET
        self._note("create", name)

        async def write(store: Store) -> None:
            tx = Transaction()
            tx.put(Service(id=name, spec=spec, job_status=status))
            await store.commit(tx)

        await self.write(write)

    async def scale(self) -> None:
        """Change a service's replicas."""
        count = self._rng.randint(0, 10)
        self._note("scale", count)

        def change(old: Service, store: Store) -> Service:
            if mode_name(old.spec) != "replicated":
                return old
            mode = ServiceMode(replicated=ReplicatedMode(replicas=count))
            return updated(old, replace(old.spec, mode=mode), store, virtual_now())

        await self._change(change)

    async def update(self) -> None:
        """Change what a service runs, and perhaps its ports and how it is updated."""
        rng = self._rng
        plain, job = specs.template(rng, job=False), specs.template(rng, job=True)
        config = specs.update_config(rng) if rng.random() < 0.5 else None
        endpoint = specs.endpoint(rng) if rng.random() < 0.3 else None
        self._note("update", given(container_spec(plain).args, []))

        def change(old: Service, store: Store) -> Service:
            spec = replace(old.spec, task_template=job if is_job(old) else plain)
            if config is not None and not is_job(old):
                spec = replace(spec, update_config=config)
            if endpoint is not None and not is_job(old):
                spec = replace(spec, endpoint_spec=endpoint)
            return updated(old, spec, store, virtual_now())

        await self._change(change)

    async def roll_back(self) -> None:
        """Go back to a service's former spec."""
        self._note("roll back")
        await self._change(lambda old, _store: rolled_back(old, virtual_now()))

    async def rebalance(self) -> None:
        """Ask for a service to be made even."""
        self._note("rebalance")
        await self._change(lambda old, _store: rebalancing(old, old, virtual_now()))

    async def run_again(self) -> None:
        """Begin another run of a job, as every update does."""
        self._note("run again")

        def change(old: Service, store: Store) -> Service:
            return updated(old, old.spec, store, virtual_now()) if is_job(old) else old

        await self._change(change)

    async def remove(self) -> None:
        """Remove a service."""

        async def write(store: Store) -> None:
            if len(store.services) > 2:
                gone = self._rng.choice(list(store.services))
                self._note("remove", gone.id)
                tx = Transaction()
                tx.delete(gone)
                await store.commit(tx)

        await self.write(write)

    async def put_right(self) -> None:
        """Give services whose tasks fail a spec that works, and tasks a place in each zone."""
        for name, zone in STEADY.items():
            changes = {"availability": Availability.ACTIVE, "labels": {specs.ZONE: zone}}
            await self.until_done(lambda name=name, c=changes: self.change_node(name, **c))  # type: ignore[misc]
        for service in list(self._swarm.store.services):
            if not is_job(service):
                await self.until_done(lambda which=service.id: self._put_right(which))  # type: ignore[misc]

    async def _put_right(self, which: str) -> bool:
        good = ContainerSpec(image="host", args=[new_id(self._rng)])

        def change(old: Service, store: Store) -> Service:
            tasks = store.tasks.by_service(old.id)
            previous = given(old.previous_spec, None)
            known = [old.spec, previous] if previous is not None else [old.spec]
            ill = any(map(specs.makes_bad_tasks, known)) or any(map(specs.is_bad, tasks))
            if not ill:
                return old
            self._note("put right", old.id)
            template = replace(task_spec(old.spec), container_spec=good)
            config = UpdateConfig(
                parallelism=0, monitor=specs.SECOND // 10, failure_action="continue"
            )
            spec = replace(old.spec, task_template=template, update_config=config)
            return updated(old, spec, store, virtual_now())

        return await self._change(change, which)

    # Nodes ---------------------------------------------------------------------------------------

    async def change_node(self, name: str, **changes: Any) -> bool:
        """Change a node's spec; return whether that was done."""

        async def write(store: Store) -> None:
            await store.modify(
                store.nodes, name, lambda old: replace(old, spec=replace(old.spec, **changes))
            )

        return await self.write(write)

    async def availability(self) -> None:
        """Drain, pause or activate a node."""
        name = self._rng.choice(list(self._swarm.agents))
        wanted = self._rng.choice(list(Availability))
        self._note(wanted.value, name)
        await self.change_node(name, availability=wanted)

    async def relabel(self) -> None:
        """Move a worker to another zone, by its label."""
        name = self._rng.choice([each for each in self._swarm.agents if each.startswith("w")])
        zone = self._rng.choice("ab")
        self._note("zone", name, zone)
        await self.change_node(name, labels={specs.ZONE: zone})

    async def remove_node(self, name: str) -> bool:
        """Remove a worker, by force where it answers; return whether that was done."""
        self._note("remove node", name)

        async def write(store: Store) -> None:
            stored = store.nodes.get(name)
            if stored is not None:  # else an attempt without an answer was one with success
                refuse_removal(stored, force=True)
                await store.commit(removal(store, stored, virtual_now()))

        return await self.write(write)

    async def add_node(self, name: str) -> bool:
        """Take a new worker into the swarm; return whether that was done."""
        zone = self._rng.choice("ab")
        self._note("add node", name)

        async def write(store: Store) -> None:
            if name not in store.nodes:
                tx = Transaction()
                tx.put(Node(id=name, spec=NodeSpec(labels={specs.ZONE: zone})))
                await store.commit(tx)

        return await self.write(write)
