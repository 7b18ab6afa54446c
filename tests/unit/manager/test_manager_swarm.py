"""What the whole manager promises, with fake agents on a virtual clock."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from functools import partial

import pytest
from msgspec.structs import replace

from swarmops.manager.registry import LOOPS
from swarmops.model.node import Availability, Node, NodeState
from swarmops.model.service import (
    ContainerSpec,
    GlobalMode,
    ReplicatedMode,
    RestartPolicy,
    Service,
    ServiceMode,
    ServiceSpec,
    TaskSpec,
    UpdateConfig,
)
from swarmops.model.task import Task, TaskState
from swarmops.store import Transaction
from tests.sim import manager_lab
from tests.sim.manager_lab import Lab, lab
from tests.sim.virtual_loop import virtual, virtual_now

WORKERS = ["w1", "w2", "w3", "w4"]


def spec(delay_s: float = 5.0, **fields: object) -> TaskSpec:
    """Return a task template with a restart delay."""
    policy = RestartPolicy(delay=int(delay_s * 1e9), **fields)  # type: ignore[arg-type]
    return TaskSpec(container_spec=ContainerSpec(image="host"), restart_policy=policy)


def scaled(replicas: int):
    """Return a change to this many replicas."""
    mode = ServiceMode(replicated=ReplicatedMode(replicas=replicas))
    return lambda old: replace(old, mode=mode)


async def drained_manager(swarm: Lab) -> None:
    """Keep the work on the workers."""
    for node_id in list(swarm.managers):
        await swarm.set_availability(node_id, Availability.DRAIN)


@virtual
async def test_four_replicas_are_spread_over_four_nodes() -> None:
    """Each of four nodes runs one of four tasks, and the tasks run within a second."""
    async with lab(managers=1, workers=4) as swarm:
        await drained_manager(swarm)
        web = await swarm.create("web", 4)
        took_s = await swarm.until(lambda: swarm.running_on(web) == WORKERS)
        assert took_s < 0.5
        assert {task.slot for task in swarm.store.tasks} == {1, 2, 3, 4}


@virtual
async def test_a_failed_task_is_replaced_after_its_delay() -> None:
    """The replacement is ready early, but starts only when the policy's delay is over."""
    async with lab(managers=1, workers=2) as swarm:
        web = await swarm.create("web", 1, spec(delay_s=5))
        await swarm.until(lambda: len(swarm.running_on(web)) == 1)
        [first] = swarm.store.tasks
        agent = swarm.agents[str(first.node_id)]
        agent.fails = lambda task: task.id == first.id
        await swarm.until(lambda: swarm.store.tasks[first.id].status.state is TaskState.FAILED)
        took_s = await swarm.until(lambda: len(swarm.running_on(web)) == 1)
        assert 4.9 < took_s < 5.5
        second = next(task for task in swarm.store.tasks if task.id != first.id)
        assert second.slot == first.slot
        assert swarm.store.tasks[first.id].desired_state is TaskState.SHUTDOWN


@pytest.fixture
def set_back(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Return what sets the clock of all managers back by an hour."""
    by: list[timedelta] = []
    monkeypatch.setattr(
        manager_lab, "virtual_now", lambda: virtual_now() - sum(by, start=timedelta())
    )
    return lambda: by.append(timedelta(hours=1))


def test_a_clock_that_is_set_back_holds_up_no_replacement(set_back: Callable[[], None]) -> None:
    """It starts within a minute, though by its delay it would start in an hour."""

    @virtual
    async def run() -> None:
        async with lab(managers=1, workers=2) as swarm:
            web = await swarm.create("web", 1, spec(delay_s=5))
            await swarm.until(lambda: len(swarm.running_on(web)) == 1)
            [first] = swarm.store.tasks
            swarm.agents[str(first.node_id)].fails = lambda task: task.id == first.id
            await swarm.until(lambda: len(swarm.store.tasks) > 1)
            set_back()
            await swarm.until(lambda: len(swarm.running_on(web)) == 1, within_s=70)

    run()


def test_a_clock_that_is_set_back_holds_up_no_update(set_back: Callable[[], None]) -> None:
    """What was told of new tasks an hour from now is as if it were told now."""

    @virtual
    async def run() -> None:
        async with lab(managers=1, workers=3) as swarm:
            web = await swarm.create("web", 3)
            await swarm.until(lambda: len(swarm.running_on(web)) == 3)
            new = TaskSpec(container_spec=ContainerSpec(image="host", args=["2"]))
            await swarm.change(web, lambda spec: replace(spec, task_template=new))
            await swarm.until(lambda: any(task.spec == new for task in swarm.store.tasks))
            await asyncio.sleep(1)
            set_back()

            def done() -> bool:
                status = swarm.store.services[web].update_status
                return bool(status) and status.state == "completed"  # type: ignore[union-attr]

            await swarm.until(done, within_s=200)

    run()


@virtual
async def test_a_silent_node_is_down_after_3_s_and_its_tasks_run_elsewhere() -> None:
    """Powered off without a word: DOWN within 3 to 4 s, tasks elsewhere at once after."""
    async with lab(managers=1, workers=4) as swarm:
        await drained_manager(swarm)
        web = await swarm.create("web", 4)
        await swarm.until(lambda: swarm.running_on(web) == WORKERS)
        await swarm.agents["w2"].power_off()
        down_s = await swarm.until(
            lambda: swarm.store.nodes["w2"].status.state is NodeState.DOWN, within_s=4.5
        )
        assert down_s > 1.9
        moved_s = await swarm.until(
            lambda: len([n for n in swarm.running_on(web) if n != "w2"]) == 4, within_s=1
        )
        assert moved_s < 0.5


@virtual
async def test_drain_moves_everything() -> None:
    """A drained node runs nothing after a moment, and nothing is missing elsewhere."""
    async with lab(managers=1, workers=3) as swarm:
        await drained_manager(swarm)
        web = await swarm.create("web", 6)
        await swarm.until(lambda: len(swarm.running_on(web)) == 6)
        await swarm.set_availability("w1", Availability.DRAIN)
        took_s = await swarm.until(
            lambda: (
                Counter(swarm.running_on(web)) == {"w2": 3, "w3": 3}
                and not swarm.agents["w1"].running()
            ),
            within_s=2,
        )
        assert took_s < 1


@virtual
async def test_pause_moves_nothing_and_takes_nothing() -> None:
    """A paused node keeps its tasks and gets none of the new ones."""
    async with lab(managers=1, workers=2) as swarm:
        await drained_manager(swarm)
        web = await swarm.create("web", 2)
        await swarm.until(lambda: swarm.running_on(web) == ["w1", "w2"])
        await swarm.set_availability("w1", Availability.PAUSE)
        await swarm.change(web, scaled(5))
        await swarm.until(lambda: len(swarm.running_on(web)) == 5)
        assert Counter(swarm.running_on(web)) == {"w1": 1, "w2": 4}


@virtual
async def test_scaling_goes_by_docker_rules() -> None:
    """Down: the fullest nodes lose first and the rest stays; up: the lowest free slots."""
    async with lab(managers=1, workers=2) as swarm:
        await drained_manager(swarm)
        web = await swarm.create("web", 4)
        await swarm.until(lambda: len(swarm.running_on(web)) == 4)
        before = {task.id for task in swarm.store.tasks}
        await swarm.change(web, scaled(2))
        await swarm.until(lambda: len(swarm.store.tasks) == 2)
        assert swarm.running_on(web) == ["w1", "w2"]
        assert {task.id for task in swarm.store.tasks} < before
        await swarm.change(web, scaled(4))
        await swarm.until(lambda: len(swarm.running_on(web)) == 4)
        assert {t.slot for t in swarm.store.tasks if _wanted(t)} == {1, 2, 3, 4}


@virtual
async def test_scaling_to_nothing_and_removing_leave_no_task() -> None:
    """Zero replicas and a removed service end with an empty table and idle agents."""
    async with lab(managers=1, workers=2) as swarm:
        web = await swarm.create("web", 3)
        api = await swarm.create("api", 3)
        await swarm.until(
            lambda: len(swarm.running_on(web)) == 3 and len(swarm.running_on(api)) == 3
        )
        await swarm.change(web, scaled(0))
        tx = Transaction()
        tx.delete(swarm.store.services[api])
        await swarm.store.commit(tx)
        await swarm.until(lambda: not len(swarm.store.tasks))
        await swarm.until(lambda: not any(agent.tasks for agent in swarm.agents.values()))


@virtual
async def test_a_broken_session_that_comes_back_elsewhere_is_no_outage() -> None:
    """An agent that returns on any manager within 3 s is never DOWN, and keeps its tasks."""
    async with lab(managers=3, workers=3) as swarm:
        await drained_manager(swarm)
        web = await swarm.create("web", 3)
        await swarm.until(lambda: len(swarm.running_on(web)) == 3)
        ids = {task.id for task in swarm.store.tasks.by_service(web)}
        with swarm.store.watch("nodes") as watch:
            for _ in range(10):
                for node_id in ("w1", "w2", "w3"):
                    await swarm.agents[node_id].break_session()
                await asyncio.sleep(1)
            await asyncio.sleep(10)
            events, _ = watch.take()
        states = {event.new.status.state for event in events if event.new}  # type: ignore[attr-defined]
        assert states == {NodeState.READY}
        assert {task.id for task in swarm.store.tasks} == ids
        assert all(swarm.agents[node_id].sessions > 10 for node_id in ("w1", "w2", "w3"))


@virtual
async def test_only_the_leader_runs_loops() -> None:
    """All loops run on the leader, none on the others; after a change it is the other way."""
    async with lab(managers=3, workers=1) as swarm:
        await swarm.until(lambda: len(swarm.managers["m1"].running_loops) == len(LOOPS))
        assert not swarm.managers["m2"].running_loops
        swarm.lead("m2")
        await swarm.until(lambda: len(swarm.managers["m2"].running_loops) == len(LOOPS))
        assert not swarm.managers["m1"].running_loops
        names = {task.get_name() for task in asyncio.all_tasks()}
        assert "scheduler" in names
        swarm.lead(None)
        await swarm.until(lambda: not swarm.managers["m2"].running_loops)
        names = {task.get_name() for task in asyncio.all_tasks()}
        assert not names & {name for name, _ in LOOPS}


@virtual
async def test_a_new_leader_goes_on_where_the_old_one_stopped() -> None:
    """A replacement that waits for its delay is started by the next leader, once."""
    async with lab(managers=3, workers=2) as swarm:
        await drained_manager(swarm)
        web = await swarm.create("web", 1, spec(delay_s=5))
        await swarm.until(lambda: len(swarm.running_on(web)) == 1)
        [first] = swarm.store.tasks
        swarm.agents[str(first.node_id)].fails = lambda task: task.id == first.id
        await swarm.until(lambda: len(swarm.store.tasks) == 2)
        await asyncio.sleep(1)
        swarm.lead("m3")
        took_s = await swarm.until(lambda: len(swarm.running_on(web)) == 1)
        assert 3 < took_s < 4.5
        assert len(swarm.store.tasks) == 2


@virtual
async def test_a_dead_manager_and_its_node_are_noticed_by_the_leader() -> None:
    """The leader's machine dies: the next leader finds its node DOWN and moves its tasks."""
    async with lab(managers=3, workers=2) as swarm:
        web = await swarm.create("web", 5)
        await swarm.until(lambda: len(swarm.running_on(web)) == 5)
        await asyncio.sleep(15)
        swarm.lead("m2")
        await swarm.kill_manager("m1")
        await swarm.until(
            lambda: swarm.store.nodes["m1"].status.state is NodeState.DOWN, within_s=4
        )
        await swarm.until(lambda: len(set(swarm.running_on(web)) - {"m1"}) == 4, within_s=1)
        others = [swarm.store.nodes[node_id] for node_id in ("m2", "m3", "w1", "w2")]
        assert all(node.status.state is NodeState.READY for node in others)


@virtual
async def test_a_change_of_leader_is_no_news_for_the_agents_of_others() -> None:
    """Of 30 nodes only those of the manager that died are written, and none is UNKNOWN or DOWN."""
    async with lab(managers=3, workers=30) as swarm:
        workers = [name for name in swarm.agents if name.startswith("w")]
        moving = {name for name in workers if swarm.agents[name].manager == "m1"}
        assert 0 < len(moving) < 30
        with swarm.stores["m2"].watch("nodes") as watch:
            await swarm.kill_manager("m1")
            swarm.lead("m2")
            await asyncio.sleep(20)
            nodes = [event.new for event in watch.take()[0] if isinstance(event.new, Node)]
        written = [node for node in nodes if node.id in workers]
        assert {node.id for node in written} == moving
        assert len(written) <= 2 * len(moving)
        assert {node.status.state for node in written} == {NodeState.READY}


@virtual
async def test_an_isolated_manager_sends_its_agents_away() -> None:
    """Without a leader for longer than its lease it closes its sessions; nobody goes DOWN."""
    async with lab(managers=3, workers=6) as swarm:
        held = [a for a in swarm.agents.values() if a.manager == "m3" and a.node_id != "m3"]
        assert held
        await swarm.isolate("m3")
        await swarm.until(lambda: all(a.manager not in {"", "m3"} for a in held), within_s=3)
        await asyncio.sleep(10)
        assert all(
            swarm.store.nodes[agent.node_id].status.state is NodeState.READY for agent in held
        )


@virtual
async def test_agents_are_kept_for_a_heartbeats_period_without_a_leader() -> None:
    """In a swarm of thousands, where it is longer, no election that takes a little moves them."""
    async with lab(managers=3, workers=6) as swarm:
        await swarm.set_heartbeat(4.0)
        held = [a for a in swarm.agents.values() if a.manager == "m3" and a.node_id != "m3"]
        await swarm.isolate("m3")
        await asyncio.sleep(3.5)
        assert held
        assert {agent.manager for agent in held} == {"m3"}
        await swarm.until(lambda: all(a.manager not in {"", "m3"} for a in held), within_s=3)


@virtual
async def test_a_task_waits_with_its_reason_and_runs_when_it_can() -> None:
    """No node has the executor: the reason stands on the task, until one comes."""
    async with lab(managers=1, workers=1) as swarm:
        for node_id in ("m1", "w1"):
            await swarm.agents[node_id].power_off()
            await swarm.until(partial(swarm.is_down, node_id))
            swarm.power_on(node_id, "process")
        await swarm.until(lambda: len(swarm.agents["w1"].news) > 0)
        busybox = TaskSpec(container_spec=ContainerSpec(image="busybox"))
        box = await swarm.create("box", 1, busybox)
        reason = "no suitable node (no container engine on 2 nodes)"
        await swarm.until(lambda: [task.status.err for task in swarm.store.tasks] == [reason])
        [task] = swarm.store.tasks
        assert task.status.state is TaskState.PENDING
        entries = len(swarm.log.entries)
        await asyncio.sleep(30)
        assert len(swarm.log.entries) == entries
        await swarm.agents["w1"].break_session()
        await swarm.agents["w1"].power_off()
        swarm.power_on("w1", "docker")
        await swarm.until(lambda: swarm.running_on(box) == ["w1"])


@virtual
async def test_a_rolling_update_replaces_one_after_the_other() -> None:
    """Stop-first, one at a time: never fewer than all but one, and then all are new."""
    async with lab(managers=1, workers=3) as swarm:
        web = await swarm.create("web", 3)
        await swarm.until(lambda: len(swarm.running_on(web)) == 3)
        old = {task.id for task in swarm.store.tasks}
        new = TaskSpec(container_spec=ContainerSpec(image="host", args=["2"]))
        await swarm.change(web, lambda spec: replace(spec, task_template=new))
        lows = []

        def done() -> bool:
            lows.append(len(swarm.running_on(web)))
            status = swarm.store.services[web].update_status
            return bool(status) and status.state == "completed"  # type: ignore[union-attr]

        await swarm.until(done, within_s=15)
        assert min(lows) == 2
        running = [t for t in swarm.store.tasks if t.status.state is TaskState.RUNNING]
        assert len(running) == 3
        assert not old & {task.id for task in running}
        assert all(task.spec == new for task in running)


@virtual
async def test_a_failing_update_pauses() -> None:
    """The first new task that fails stops the update; the other tasks stay old."""
    async with lab(managers=1, workers=3) as swarm:
        web = await swarm.create("web", 3)
        await swarm.until(lambda: len(swarm.running_on(web)) == 3)
        for agent in swarm.agents.values():
            agent.fails = lambda task: "bad" in str(task.spec)
        bad = TaskSpec(container_spec=ContainerSpec(image="host", args=["bad"]))
        slowly = UpdateConfig(parallelism=1, delay=1_000_000_000)
        await swarm.change(web, lambda spec: replace(spec, task_template=bad, update_config=slowly))

        def state() -> str:
            status = swarm.store.services[web].update_status
            return str(status.state) if status else ""

        await swarm.until(lambda: state() == "paused")
        await asyncio.sleep(3)
        assert len(swarm.running_on(web)) == 2


@virtual
async def test_a_global_service_is_on_every_node() -> None:
    """One task a node; a new node gets one, a drained one loses its own."""
    async with lab(managers=1, workers=2) as swarm:
        template = TaskSpec(container_spec=ContainerSpec(image="host"))
        mode = ServiceMode(global_=GlobalMode())
        tx = Transaction()
        tx.put(Service(id="g", spec=ServiceSpec(name="g", task_template=template, mode=mode)))
        await swarm.store.commit(tx)
        await swarm.until(lambda: swarm.running_on("g") == ["m1", "w1", "w2"])
        await swarm.set_availability("w1", Availability.DRAIN)
        await swarm.until(lambda: swarm.running_on("g") == ["m1", "w2"])
        await swarm.until(lambda: not swarm.agents["w1"].running())
        await swarm.set_availability("w1", Availability.ACTIVE)
        await swarm.until(lambda: swarm.running_on("g") == ["m1", "w1", "w2"])


@virtual
async def test_history_is_bounded() -> None:
    """A task that fails for ever leaves five tasks in its slot, the live one included."""
    async with lab(managers=1, workers=2) as swarm:
        for agent in swarm.agents.values():
            agent.fails = lambda _task: True
        await swarm.create("bad", 1, spec(delay_s=0.1))
        await asyncio.sleep(20)
        assert len(swarm.store.tasks) <= 6
        assert sum(len(agent.tasks) for agent in swarm.agents.values()) <= 6


@pytest.mark.parametrize("attempts", [2, 7])
def test_max_attempts_ends_the_restarts(attempts: int) -> None:
    """Two attempts: three tasks in all, and none more; so too with more than history keeps."""

    @virtual
    async def run() -> None:
        async with lab(managers=1, workers=1) as swarm:
            for agent in swarm.agents.values():
                agent.fails = lambda _task: True
            await swarm.create("bad", 1, spec(delay_s=0.1, max_attempts=attempts))
            await asyncio.sleep(40)
            assert len(swarm.store.tasks) == attempts + 1
            assert all(task.status.state is TaskState.FAILED for task in swarm.store.tasks)
            assert sum(len(agent.started) for agent in swarm.agents.values()) == attempts + 1

    run()


def _wanted(task: Task) -> bool:
    return task.desired_state is TaskState.RUNNING
