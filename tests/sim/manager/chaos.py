"""What happens to a simulated swarm: an operator who changes his mind, and faults, all from a seed.

The operator speaks to any manager that runs, with the API's own functions, and takes a refusal for
an answer. Nothing here checks anything.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from msgspec import UNSET
from msgspec.structs import replace

from swarmops.api.services import rebalancing, rolled_back, updated
from swarmops.errors import SwarmopsError
from swarmops.manager.places import is_job
from swarmops.model.base import given
from swarmops.model.defaults import container_spec, mode_name, task_spec
from swarmops.model.ids import new_id
from swarmops.model.node import Availability
from swarmops.model.service import (
    ContainerSpec,
    GlobalMode,
    JobStatus,
    Placement,
    ReplicatedJobMode,
    ReplicatedMode,
    RestartPolicy,
    Service,
    ServiceMode,
    ServiceSpec,
    TaskSpec,
    UpdateConfig,
)
from swarmops.model.task import Task
from swarmops.store import Store, Transaction
from tests.sim.manager.machines import Machine
from tests.sim.virtual_loop import virtual_now

if TYPE_CHECKING:
    from tests.sim.manager.swarm import Swarm

EVENTS = 30
SECOND = 1_000_000_000
SERVICES_MAX = 6
_WRITE_S = 3.0
_AGREE_S = 30.0
_MODES = ("replicated", "replicated", "replicated", "global", "replicated-job", "global-job")

Write = Callable[[Store], Coroutine[Any, Any, None]]


def is_bad(task: Task) -> bool:
    """Whether a task fails as soon as it runs: the operator made a mistake."""
    return "bad" in given(container_spec(task.spec).args, [])


def completes(task: Task) -> bool:
    """Let tasks of jobs end well, half a second after they were made."""
    late = virtual_now() - task.created_at > timedelta(seconds=0.5)
    return task.job_iteration is not UNSET and late


class Chaos:
    """Random events, drawn from the swarm's seed."""

    def __init__(self, swarm: Swarm) -> None:
        self._swarm = swarm
        self._rng = swarm.fork()
        self._names = 0
        self.off: set[str] = set()
        """Nodes without power."""
        self.history: list[str] = []
        self._events: list[Callable[[], Awaitable[None]]] = [
            *(self.create, self.create, self.scale, self.update, self.update, self.update),
            *(self.roll_back, self.rebalance, self.run_again, self.remove),
            *(self.availability, self.availability, self.relabel),
            *(self.power_off, self.power_on, self.break_session, self.fail_a_task),
            *(self.kill_manager, self.isolate, self.heal, self.hand_over),
        ]

    async def run(self) -> None:
        """Let things happen."""
        await self.create()
        for _ in range(EVENTS):
            self._swarm.check()
            event = self._rng.choice(self._events)
            await event()
            await asyncio.sleep(self._rng.choice([0.0, 0.02, 0.3, 1.0, 3.0]))

    def _note(self, *what: object) -> None:
        now_s = asyncio.get_running_loop().time()
        self.history.append(f"{now_s:.2f} " + " ".join(map(str, what)))

    # The operator --------------------------------------------------------------------------------

    async def _write(self, write: Write) -> bool:
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

    async def _change(self, change: Callable[[Service, Store], Service], which: str = "") -> bool:
        """Change a service as the API does."""

        async def write(store: Store) -> None:
            found = [s for s in store.services if not which or s.id == which]
            if found:
                chosen = self._rng.choice(found)
                self._note("  of", chosen.id)
                await store.modify(store.services, chosen.id, lambda old: change(old, store))

        return await self._write(write)

    async def create(self) -> None:
        """Create a service of any mode."""
        if len(self._swarm.store.services) >= SERVICES_MAX:
            return
        mode = self._rng.choice(_MODES)
        self._names += 1
        name = f"{mode}{self._names}"
        job = mode.endswith("job")
        spec = ServiceSpec(
            name=name,
            labels=self._labels() if not job else {},
            task_template=self._template(job=job),
            mode=self._mode(mode),
            update_config=UNSET if job else self._config(),
            rollback_config=UNSET if job else self._config(),
        )
        status = JobStatus(last_execution=virtual_now()) if job else UNSET
        self._note("create", name)

        async def write(store: Store) -> None:
            tx = Transaction()
            tx.put(Service(id=name, spec=spec, job_status=status))
            await store.commit(tx)

        await self._write(write)

    def _labels(self) -> dict[str, str]:
        rng = self._rng
        labels = {"swarmops.update.progress-deadline": "20s"}
        if rng.random() < 0.3:
            labels["swarmops.rebalance"] = "true"
        if rng.random() < 0.3:
            labels["swarmops.restart.backoff"] = "2"
            labels["swarmops.restart.backoff-max"] = "4s"
        return labels

    def _mode(self, mode: str) -> ServiceMode:
        rng = self._rng
        if mode == "global":
            return ServiceMode(global_=GlobalMode())
        if mode == "global-job":
            return ServiceMode(global_job=GlobalMode())
        if mode == "replicated":
            return ServiceMode(replicated=ReplicatedMode(replicas=rng.randint(0, 8)))
        some = ReplicatedJobMode(
            max_concurrent=rng.randint(1, 4), total_completions=rng.randint(1, 9)
        )
        return ServiceMode(replicated_job=some)

    def _template(self, *, job: bool) -> TaskSpec:
        rng = self._rng
        args = [str(rng.randrange(1000))]
        if not job and rng.random() < 0.15:
            args.append("bad")
        delay = rng.choice([0, SECOND // 2, SECOND])
        if rng.random() < 0.3:
            policy = RestartPolicy(condition="on-failure", delay=delay)
        else:
            policy = RestartPolicy(delay=delay)
        here = [f"node.labels.zone=={rng.choice('ab')}"] if rng.random() < 0.3 else []
        return TaskSpec(
            container_spec=ContainerSpec(image="host", args=args),
            restart_policy=policy,
            placement=Placement(constraints=here),
        )

    def _config(self) -> UpdateConfig:
        rng = self._rng
        return UpdateConfig(
            parallelism=rng.randint(0, 3),
            delay=rng.choice([0, 0, SECOND // 2]),
            monitor=rng.choice([SECOND // 10, SECOND]),
            failure_action=rng.choice(["pause", "continue", "rollback"]),
            max_failure_ratio=rng.choice([0.0, 0.3]),
            order=rng.choice(["stop-first", "start-first"]),
        )

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
        """Change what a service runs, and perhaps how it is updated."""
        plain, job = self._template(job=False), self._template(job=True)
        config = self._config() if self._rng.random() < 0.5 else None
        self._note("update", given(container_spec(plain).args, []))

        def change(old: Service, store: Store) -> Service:
            spec = replace(old.spec, task_template=job if is_job(old) else plain)
            if config is not None and not is_job(old):
                spec = replace(spec, update_config=config)
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

        await self._write(write)

    async def _change_node(self, name: str, **changes: Any) -> bool:
        async def write(store: Store) -> None:
            await store.modify(
                store.nodes, name, lambda old: replace(old, spec=replace(old.spec, **changes))
            )

        return await self._write(write)

    async def availability(self) -> None:
        """Drain, pause or activate a node."""
        name = self._rng.choice(list(self._swarm.agents))
        wanted = self._rng.choice(list(Availability))
        self._note(wanted.value, name)
        await self._change_node(name, availability=wanted)

    async def relabel(self) -> None:
        """Move a worker to another zone, by its label."""
        name = self._rng.choice([each for each in self._swarm.agents if each.startswith("w")])
        zone = self._rng.choice("ab")
        self._note("zone", name, zone)
        await self._change_node(name, labels={"zone": zone})

    # Faults --------------------------------------------------------------------------------------

    async def power_off(self) -> None:
        """Let a machine vanish; never so many that nobody could decide for long."""
        down = [name for name in self.off if name.startswith("m")]
        names = [
            name
            for name in self._swarm.agents
            if name not in self.off and (name.startswith("w") or not down)
        ]
        if len(names) > 4:
            await self._lose(self._rng.choice(names))

    async def _lose(self, name: str) -> None:
        self._note("power off", name)
        self.off.add(name)
        await self._swarm.agents[name].power_off()
        if name in self._swarm.machines:
            await self._end(self._swarm.machines[name], power=True)

    async def power_on(self) -> None:
        """Let a machine come back, without its tasks."""
        if self.off:
            await self.start(self._rng.choice(sorted(self.off)))

    async def start(self, name: str) -> None:
        """Power a machine on."""
        self._note("power on", name)
        self.off.discard(name)
        machine = self._swarm.machines.get(name)
        if machine is not None:
            await machine.start("open")
        self._swarm.power_on(name)
        self.prepare(name)

    def prepare(self, name: str) -> None:
        """Let a node's agent know what its tasks do, and how long they take to stop."""
        agent = self._swarm.agents[name]
        agent.stop_s = self._rng.choice([0.05, 1.0])
        agent.completes = completes
        agent.fails = is_bad

    async def _end(self, machine: Machine, *, power: bool) -> None:
        self._swarm.isolated.discard(machine.name)
        await machine.kill(power=power)

    async def break_session(self) -> None:
        """Let an agent's connection break."""
        name = self._rng.choice(list(self._swarm.agents))
        self._note("session of", name)
        await self._swarm.agents[name].break_session()

    async def fail_a_task(self) -> None:
        """Let some running task fail."""
        agent = self._swarm.agents[self._rng.choice(list(self._swarm.agents))]
        if running := agent.running():
            doomed = self._rng.choice(running).id
            self._note("task fails", doomed)
            agent.fails = lambda task: task.id == doomed or is_bad(task)

    async def kill_manager(self) -> None:
        """Kill a manager's process, often the leader's; its supervisor starts it again."""
        machine = self._one()
        if machine is not None:
            self._note("kill", machine.name)
            await self._end(machine, power=False)
            await asyncio.sleep(self._rng.choice([0.1, 1.0]))
            await machine.start("open")

    async def isolate(self) -> None:
        """Cut a manager off from the others, often the leader; its agents stay with it a while."""
        machine = self._one()
        if machine is None or self._swarm.isolated:
            return
        self._note("isolate", machine.name)
        self._swarm.isolated.add(machine.name)
        me = machine.me.raft_id
        others = [m.me.raft_id for m in self._swarm.machines.values() if m is not machine]
        self._swarm.network.cut_links([(me, o) for o in others] + [(o, me) for o in others])

    async def heal(self) -> None:
        """Let everyone reach everyone again."""
        if self._swarm.isolated:
            self._note("heal")
        self._swarm.isolated.clear()
        self._swarm.network.heal()

    async def hand_over(self) -> None:
        """Let the leader hand over."""
        self._note("hand over")
        self._swarm.spawn(self._swarm.transfer())

    def _one(self) -> Machine | None:
        """Choose a manager that runs, often the leader; none where that would be one too many."""
        if any(name.startswith("m") for name in self.off):
            return None
        leader = self._swarm.leader
        if leader is not None and self._rng.random() < 0.5:
            return leader
        return self._rng.choice([m for m in self._swarm.machines.values() if m.is_running])

    # Peace ---------------------------------------------------------------------------------------

    async def make_peace(self) -> None:
        """End all faults, and let the operator put right what he did wrong.

        Some machines never come back: nobody may go on counting on them.
        """
        await self.heal()
        lost = {name for name in _DISPENSABLE if self._rng.random() < _LOST}
        for name in sorted(lost - self.off):
            await self._lose(name)
        for name in sorted(self.off - lost):
            await self.start(name)
        for name in self._swarm.agents:
            self.prepare(name)
        # What is wrong, he reads from some manager: none may still be behind.
        await self._swarm.until(self._swarm.agrees, _AGREE_S, "all managers hold the same")
        for name in ("w1", "w4"):
            await self._until_done(lambda name=name: self._change_node(name, **_GOOD[name]))  # type: ignore[misc]
        for service in list(self._swarm.store.services):
            if not is_job(service):
                await self._until_done(lambda which=service.id: self._put_right(which))  # type: ignore[misc]

    async def _until_done(self, work: Callable[[], Awaitable[bool]]) -> None:
        while not await work():
            self._swarm.check()
            await asyncio.sleep(0.2)

    async def _put_right(self, which: str) -> bool:
        """Give a service whose tasks fail a spec that works."""
        good = ContainerSpec(image="host", args=[new_id(self._rng)])

        def change(old: Service, store: Store) -> Service:
            tasks = store.tasks.by_service(old.id)
            previous = given(old.previous_spec, None)
            specs = [old.spec, previous] if previous is not None else [old.spec]
            ill = any(_bad(spec) for spec in specs) or any(map(is_bad, tasks))
            if not ill:
                return old
            self._note("put right", old.id)
            template = replace(task_spec(old.spec), container_spec=good)
            config = UpdateConfig(parallelism=0, monitor=SECOND // 10, failure_action="continue")
            spec = replace(old.spec, task_template=template, update_config=config)
            return updated(old, spec, store, virtual_now())

        return await self._change(change, which)


_DISPENSABLE = ("w2", "w3", "w5", "w6")
_LOST = 0.2
"""How likely each of them is gone for good."""
_GOOD = {
    "w1": {"availability": Availability.ACTIVE, "labels": {"zone": "a"}},
    "w4": {"availability": Availability.ACTIVE, "labels": {"zone": "b"}},
}
"""One node a zone takes tasks in the end, so that all have a place."""


def _bad(spec: ServiceSpec) -> bool:
    return "bad" in given(container_spec(task_spec(spec)).args, [])
