"""Whatever happens to a swarm, it settles as it should be once it is left in peace."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from datetime import timedelta

import pytest
from msgspec import UNSET
from msgspec.structs import replace

from swarmops.manager.filters import available
from swarmops.manager.jobs import totals
from swarmops.manager.places import is_job, run_of, service_run, spec_version
from swarmops.manager.restarts import moved_by
from swarmops.model.defaults import mode_name, replicas
from swarmops.model.node import Availability, NodeState
from swarmops.model.service import (
    ContainerSpec,
    GlobalMode,
    ReplicatedJobMode,
    ReplicatedMode,
    RestartPolicy,
    Service,
    ServiceMode,
    ServiceSpec,
    TaskSpec,
    UpdateConfig,
)
from swarmops.model.task import Task, TaskState
from swarmops.store import Transaction, place_of
from tests.sim.manager_lab import Lab, lab
from tests.sim.virtual_loop import virtual, virtual_now

EVENTS = 25
SETTLE_S = 75.0


class Chaos:
    """Random events, drawn from one seed."""

    def __init__(self, swarm: Lab, seed: int) -> None:
        self.swarm = swarm
        self.rng = random.Random(seed)
        self.services: list[str] = []
        self.jobs: list[str] = []
        self.off: set[str] = set()
        self.history: list[str] = []

    async def event(self) -> None:
        """Let one thing happen."""
        events: list[Callable[[], Awaitable[None]]] = [
            self.create,
            self.create_job,
            self.run_again,
            self.scale,
            self.scale,
            self.update,
            self.remove,
            self.power_off,
            self.power_on,
            self.availability,
            self.availability,
            self.break_session,
            self.fail_a_task,
            self.change_leader,
        ]
        chosen = self.rng.choice(events)
        self.history.append(chosen.__name__)
        await chosen()
        await asyncio.sleep(self.rng.choice([0.0, 0.02, 0.3, 2.0]))

    async def create(self) -> None:
        """Create a service."""
        name = f"s{len(self.history)}"
        spec = TaskSpec(
            container_spec=ContainerSpec(image="host"),
            restart_policy=RestartPolicy(delay=int(self.rng.choice([0, 1e9]))),
        )
        labels = {"swarmops.rebalance": "true"} if self.rng.random() < 0.5 else {}
        await self.swarm.create(name, self.rng.randint(0, 8), spec, labels=labels)
        self.services.append(name)

    async def create_job(self) -> None:
        """Create a job of either mode."""
        name = f"j{len(self.history)}"
        each = ServiceMode(global_job=GlobalMode())
        some = ReplicatedJobMode(
            max_concurrent=self.rng.randint(1, 4), total_completions=self.rng.randint(1, 9)
        )
        mode = self.rng.choice([each, ServiceMode(replicated_job=some)])
        policy = RestartPolicy(delay=int(self.rng.choice([0, 1e9])))
        spec = TaskSpec(container_spec=ContainerSpec(image="host"), restart_policy=policy)
        await self.swarm.create(name, spec=spec, mode=mode)
        self.jobs.append(name)

    async def run_again(self) -> None:
        """Begin another run of a job."""
        if self.jobs:
            await self.swarm.run_again(self.rng.choice(self.jobs))

    async def scale(self) -> None:
        """Change a service's replicas."""
        mode = ServiceMode(replicated=ReplicatedMode(replicas=self.rng.randint(0, 10)))
        await self._change(lambda spec: replace(spec, mode=mode))

    async def update(self) -> None:
        """Change what a service runs."""
        args = [str(self.rng.random())]
        order = self.rng.choice(["stop-first", "start-first"])
        config = UpdateConfig(
            parallelism=self.rng.randint(0, 3),
            order=order,
            monitor=100_000_000,
            failure_action="continue",
        )

        def change(spec: ServiceSpec) -> ServiceSpec:
            template = spec.task_template
            assert isinstance(template, TaskSpec)
            container = ContainerSpec(image="host", args=args)
            return replace(
                spec,
                task_template=replace(template, container_spec=container),
                update_config=config,
            )

        await self._change(change)

    async def _change(self, change: Callable[[ServiceSpec], ServiceSpec]) -> None:
        if self.services:
            await self.swarm.change(self.rng.choice(self.services), change)

    async def remove(self) -> None:
        """Remove a service."""
        if len(self.services) > 2:
            name = self.services.pop(self.rng.randrange(len(self.services)))
            await self.swarm.store.modify(self.swarm.store.services, name, lambda old: old)
            tx = Transaction()
            tx.delete(self.swarm.store.services[name])
            await self.swarm.store.commit(tx)

    async def power_off(self) -> None:
        """Let a worker vanish."""
        up = [node_id for node_id in self._workers() if node_id not in self.off]
        if len(up) > 2:
            node_id = self.rng.choice(up)
            self.off.add(node_id)
            await self.swarm.agents[node_id].power_off()

    async def power_on(self) -> None:
        """Let a worker come back without its tasks."""
        if self.off:
            node_id = self.rng.choice(sorted(self.off))
            self.off.discard(node_id)
            self.swarm.power_on(node_id).completes = complete_job

    async def availability(self) -> None:
        """Drain, pause or activate a worker."""
        node_id = self.rng.choice(self._workers())
        await self.swarm.set_availability(node_id, self.rng.choice(list(Availability)))

    async def break_session(self) -> None:
        """Let an agent's connection break."""
        await self.swarm.agents[self.rng.choice(self._workers())].break_session()

    async def fail_a_task(self) -> None:
        """Let some running task fail."""
        agent = self.swarm.agents[self.rng.choice(self._workers())]
        if running := agent.running():
            doomed = self.rng.choice(running).id
            agent.fails = lambda task: task.id == doomed

    async def change_leader(self) -> None:
        """Let another manager lead, after a moment without any or with two that think so."""
        following = self.rng.choice(sorted(self.swarm.managers))
        if self.rng.random() < 0.5:
            self.swarm.lead(None)
            await asyncio.sleep(self.rng.choice([0.0, 0.5]))
            self.swarm.lead(following)
        else:
            self.swarm.lead(following, told_after_s=1.0)

    def _workers(self) -> list[str]:
        return [f"w{i}" for i in range(1, 7)]


def live(task: Task) -> bool:
    """Whether the task is wanted; a completed one has done what it was wanted for."""
    wanted = task.desired_state.rank <= TaskState.COMPLETE.rank
    return wanted and task.status.state is not TaskState.COMPLETE


def complete_job(task: Task) -> bool:
    """Let tasks of jobs end well, half a second after they were made."""
    late = virtual_now() - task.created_at > timedelta(seconds=0.5)
    return task.job_iteration is not UNSET and late


def check_always(swarm: Lab) -> None:
    """Assert what must be true after every single entry, while anything happens."""
    live_ones = [task for task in swarm.store.tasks if live(task)]
    slots = Counter((task.service_id, place_of(task)) for task in live_ones)
    assert max(slots.values(), default=0) <= 2, "more than start-first's two live in a slot"
    ids = {task.id for task in live_ones}
    versions = Counter(
        (t.service_id, place_of(t), spec_version(t), run_of(t))
        for t in live_ones
        if moved_by(t) not in ids
    )
    assert max(versions.values(), default=0) <= 1, "two live tasks of one spec in a slot"


def check_job(swarm: Lab, service: Service) -> None:
    """Assert that each place of the present run is complete, once, and nothing else goes on."""
    tasks = swarm.store.tasks.by_service(service.id)
    places = Counter(
        place_of(task)
        for task in tasks
        if run_of(task) == service_run(service) and task.status.state is TaskState.COMPLETE
    )
    assert not [task for task in tasks if live(task)]
    if mode_name(service.spec) == "global-job":
        assert set(places) >= {node.id for node in swarm.store.nodes if available(node)}
    else:
        assert set(places) == {str(slot) for slot in range(totals(service)[1])}
    assert set(places.values()) == {1}, "a place completed twice"
    assert all(count <= 5 for count in Counter(place_of(task) for task in tasks).values())


def check(swarm: Lab) -> None:
    """Assert what must be true of a swarm that has settled."""
    store = swarm.store
    for service in store.services:
        if is_job(service):
            check_job(swarm, service)
            continue
        tasks = store.tasks.by_service(service.id)
        wanted = [task for task in tasks if live(task)]
        slots = Counter(task.slot for task in wanted)
        assert not [slot for slot, count in slots.items() if count > 1], "two live in a slot"
        assert len(wanted) == replicas(service.spec)
        for task in wanted:
            assert task.status.state is TaskState.RUNNING
            assert task.spec == service.spec.task_template
        assert all(count <= 5 for count in Counter(t.slot for t in tasks).values())
    for task in store.tasks:
        assert task.service_id in store.services, "a task outlived its service"
        node = store.nodes.get(str(task.node_id))
        if live(task):
            assert node is not None
            assert node.status.state is NodeState.READY
            assert node.spec.availability is not Availability.DRAIN
    for agent in swarm.agents.values():
        if agent.silent:
            continue
        told = {task.id for task in agent.running()}
        wanted_here = {t.id for t in store.tasks.by_node(agent.node_id) if live(t)}
        assert told == wanted_here, f"{agent.node_id} runs what it should not"


@pytest.mark.parametrize("seed", range(8))
def test_a_swarm_settles_after_anything(seed: int) -> None:
    """Services, updates, drains, deaths, failures, leader changes: replicas are restored.

    After every entry no slot has two live tasks, but for start-first's. In the end each has one
    live task of the present spec on a node that may have it, history is bounded,
    agents run exactly what they should, all replicas are equal, and only the leader runs loops.
    """

    @virtual
    async def run() -> None:
        async with lab(managers=3, workers=6, seed=seed) as swarm:
            for i in range(1, 4):
                await swarm.set_availability(f"m{i}", Availability.DRAIN)
            chaos = Chaos(swarm, seed)
            for agent in swarm.agents.values():
                agent.completes = complete_job
            swarm.log.on_entry = lambda _data: check_always(swarm)
            await chaos.create()
            for _ in range(EVENTS):
                await chaos.event()
            for node_id in ("w1", "w2"):
                await swarm.set_availability(node_id, Availability.ACTIVE)
                if node_id in chaos.off:
                    swarm.power_on(node_id).completes = complete_job
                    chaos.off.discard(node_id)
            await asyncio.sleep(SETTLE_S)
            try:
                check(swarm)
            except AssertionError as error:
                error.add_note(f"{chaos.history}\n{swarm.picture()}")
                raise
            entries = len(swarm.log.entries)
            await asyncio.sleep(30)
            assert len(swarm.log.entries) == entries, "a settled swarm still writes"
            stores = list(swarm.stores.values())
            assert all(list(each.tasks) == list(stores[0].tasks) for each in stores)
            idle = [swarm.managers[m] for m in swarm.managers if m != swarm.leader]
            assert not any(manager.running_loops for manager in idle)

    run()
