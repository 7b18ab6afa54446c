"""The manager's side of an agent's session, frame by frame."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import TypeVar

import pytest
from msgspec.structs import replace

from swarmops.manager.absences import heartbeat_period_s
from swarmops.model.base import given
from swarmops.model.defaults import SWARM_SPEC
from swarmops.model.node import Node, NodeDescription, NodeInternal, NodeState
from swarmops.model.secret import Config, Secret, SecretSpec
from swarmops.model.service import (
    ConfigReference,
    ContainerSpec,
    Driver,
    SecretReference,
    Service,
    ServiceInternal,
    TaskSpec,
)
from swarmops.model.session import (
    Ack,
    AgentFrame,
    Assignments,
    Away,
    Described,
    Heartbeat,
    Hello,
    ManagerFrame,
    NodeChanged,
    Statuses,
    StatusOf,
    Welcome,
    decode_manager_frame,
    encode,
)
from swarmops.model.swarm import Cluster, TaskDefaults
from swarmops.model.task import Task, TaskState, TaskStatus
from swarmops.store import Transaction
from tests.sim.manager_lab import Lab, QueueChannel, channel_pair, lab
from tests.sim.virtual_loop import virtual, virtual_now

F = TypeVar("F")
HELLO = Hello(NodeDescription(hostname="h1"), "s1", [])


class Line:
    """An agent's end of a session, driven by the test."""

    def __init__(self, swarm: Lab, node_id: str) -> None:
        self.near, far = channel_pair()
        serve = swarm.managers["m1"].dispatcher.serve(far, node_id, "10.0.0.1")
        self.serving = asyncio.create_task(serve)

    async def say(self, *frames: AgentFrame) -> None:
        """Send frames."""
        for frame in frames:
            await self.near.send(encode(frame))

    async def hear(self) -> ManagerFrame:
        """Return the next frame, within a second."""
        async with asyncio.timeout(1):
            frame: ManagerFrame = decode_manager_frame(await self.near.receive())
            return frame

    async def expect(self, kind: type[F]) -> F:
        """Return the next frame of this kind, skipping others."""
        while True:
            frame = await self.hear()
            if isinstance(frame, kind):
                return frame

    async def is_ended(self) -> bool:
        """Wait until the manager has closed the session."""
        async with asyncio.timeout(1):
            await self.serving
        with contextlib.suppress(ConnectionError):
            while True:
                await self.near.receive()
        return True


@contextlib.asynccontextmanager
async def session(*objects: Task | Secret | Config | Service) -> AsyncIterator[tuple[Lab, Line]]:
    """Yield a swarm and an open session of node ``a``; tasks of service ``s`` are not tended."""
    async with lab(managers=1, workers=0) as swarm:
        swarm.managers["m1"].on_leadership(False)
        await swarm.until(lambda: not swarm.managers["m1"].running_loops)
        tx = Transaction()
        tx.put(Node(id="a"))
        for obj in objects:
            tx.put(obj)
        await swarm.store.commit(tx)
        line = Line(swarm, "a")
        await line.say(HELLO)
        yield swarm, line


def task(task_id: str, state: TaskState = TaskState.ASSIGNED, node_id: str = "a") -> Task:
    """Return a task of node a."""
    return Task(id=task_id, service_id="s", node_id=node_id, status=TaskStatus(state=state))


def state_of(swarm: Lab, task_id: str) -> TaskState:
    """Return the observed state that the store has."""
    return swarm.store.tasks[task_id].status.state


def node_state(swarm: Lab) -> NodeState:
    """Return how node a stands."""
    return swarm.store.nodes["a"].status.state


async def commit(swarm: Lab, **patch: object) -> None:
    """Patch one task."""
    tx = Transaction()
    tx.patch_task(**patch)  # type: ignore[arg-type]
    await swarm.store.commit(tx)


@virtual
async def test_a_session_begins_with_welcome_and_everything() -> None:
    """READY with address and description; then node, managers, period, root; then all tasks."""
    async with session(task("t1"), task("t2", TaskState.PENDING), task("t3")) as (swarm, line):
        welcome = await line.expect(Welcome)
        assert welcome.node.status.state is NodeState.READY
        assert welcome.node.status.addr == "10.0.0.1"
        assert welcome.node.description == HELLO.description
        assert (welcome.heartbeat_period_s, welcome.root_ca) == (1.0, "root")
        assert [(peer.node_id, peer.addr) for peer in welcome.managers] == [("m1", "ip-m1:2377")]
        internal = given(swarm.store.nodes["a"].internal, NodeInternal())
        assert (internal.session_id, internal.session_holder) == ("s1", "m1")
        first = await line.expect(Assignments)
        assert first.complete
        assert [each.id for each in first.tasks] == ["t1", "t3"]


@virtual
async def test_later_frames_carry_only_changes_that_are_news() -> None:
    """Assigned, told to stop, deleted: yes. What the agent reported itself: no."""
    async with session(task("t1"), task("t2", TaskState.PENDING)) as (swarm, line):
        await line.expect(Assignments)
        assigned = TaskStatus(state=TaskState.ASSIGNED)
        await commit(swarm, task_id="t2", status=assigned)
        frame = await line.expect(Assignments)
        assert (frame.complete, [each.id for each in frame.tasks]) == (False, ["t2"])
        await line.say(Statuses(1, [StatusOf("t1", TaskStatus(state=TaskState.RUNNING))]))
        assert (await line.hear()) == Ack(1)
        await commit(swarm, task_id="t1", desired_state=TaskState.SHUTDOWN)
        frame = await line.expect(Assignments)
        assert [each.desired_state for each in frame.tasks] == [TaskState.SHUTDOWN]
        tx = Transaction()
        tx.delete(swarm.store.tasks["t1"])
        await swarm.store.commit(tx)
        frame = await line.expect(Assignments)
        assert (frame.tasks, frame.removed) == ([], ["t1"])


def using(task_id: str) -> Task:
    """Return a task that uses secret x and config c."""
    spec = ContainerSpec(
        secrets=[SecretReference(secret_id="x", secret_name="x")],
        configs=[ConfigReference(config_id="c", config_name="c")],
    )
    return replace(task(task_id), spec=TaskSpec(container_spec=spec))


@virtual
async def test_secrets_come_with_the_first_user_and_go_with_the_last() -> None:
    """A secret is sent once, kept while any task on the node needs it, and dropped then."""
    others = (Secret(id="x", spec=SecretSpec(name="x", data="eA==")), Config(id="c"))
    async with session(*others, using("t1")) as (swarm, line):
        first = await line.expect(Assignments)
        assert [each.id for each in (*first.secrets, *first.configs)] == ["x", "c"]
        tx = Transaction()
        tx.put(using("t2"))
        await swarm.store.commit(tx)
        second = await line.expect(Assignments)
        assert (second.secrets, second.configs) == ([], [])
        ended = TaskStatus(state=TaskState.FAILED)
        await commit(swarm, task_id="t1", status=ended)
        assert (await line.expect(Assignments)).dropped_dependencies == []
        await commit(swarm, task_id="t2", status=ended)
        assert (await line.expect(Assignments)).dropped_dependencies == ["c", "x"]


@virtual
async def test_a_node_without_a_user_gets_no_secret() -> None:
    """Nor one whose task has ended, nor before the task is assigned; it comes with the task."""
    others = (Secret(id="x", spec=SecretSpec(name="x", data="eA==")), Config(id="c"))
    tasks = (
        replace(using("t1"), node_id="b"),
        replace(using("t2"), status=TaskStatus(state=TaskState.FAILED)),
        replace(using("t3"), status=TaskStatus(state=TaskState.PENDING)),
        task("t4"),
    )
    async with session(*others, *tasks) as (swarm, line):
        first = await line.expect(Assignments)
        assert [each.id for each in first.tasks] == ["t2", "t4"]
        assert (first.secrets, first.configs) == ([], [])
        await commit(swarm, task_id="t3", status=TaskStatus(state=TaskState.ASSIGNED))
        then = await line.expect(Assignments)
        assert [each.id for each in (*then.secrets, *then.configs)] == ["x", "c"]


@virtual
async def test_registry_credentials_come_with_each_live_task_of_the_service() -> None:
    """Those that the service has when the task is assigned; what has ended needs none."""
    service = Service(id="s", internal=ServiceInternal(registry_auth="one"))
    done = replace(task("t0", TaskState.COMPLETE), service_id="s")
    first, second = (replace(task(task_id), service_id="s") for task_id in ("t1", "t2"))
    async with session(service, done, first) as (swarm, line):
        assert (await line.expect(Assignments)).registry_auths == {"t1": "one"}
        changed = replace(swarm.store.services["s"], internal=ServiceInternal(registry_auth="two"))
        tx = Transaction()
        tx.put(changed, expected=changed.version.index)
        tx.put(second)
        await swarm.store.commit(tx)
        assert (await line.expect(Assignments)).registry_auths == {"t2": "two"}


@virtual
async def test_the_swarms_log_driver_holds_where_a_service_names_none() -> None:
    """``TaskDefaults.LogDriver`` goes to the agent with the task, and is not written anywhere."""
    swarms, own = Driver(name="syslog", options={"tag": "x"}), Driver(name="local")
    named = replace(task("t2"), spec=TaskSpec(log_driver=own))
    async with session(task("t1"), named) as (swarm, line):
        first = await line.expect(Assignments)
        assert [given(each.spec.log_driver, None) for each in first.tasks] == [None, own]
        cluster = swarm.store.clusters["c"]
        defaults = TaskDefaults(log_driver=swarms)
        tx = Transaction()
        tx.put(replace(cluster, spec=replace(cluster.spec, task_defaults=defaults)))
        tx.put(task("t3"))
        tx.put(replace(named, id="t4"))
        await swarm.store.commit(tx)
        later = await line.expect(Assignments)
        drivers = {each.id: each.spec.log_driver for each in later.tasks}
        assert drivers == {"t3": swarms, "t4": own}
        assert swarm.store.tasks["t3"].spec == TaskSpec()


@virtual
async def test_a_status_is_acknowledged_once_the_swarm_has_it() -> None:
    """Without a quorum there is no ack; when it is back, the newest report is kept and acked."""
    async with session(task("t1")) as (swarm, line):
        await line.expect(Assignments)
        swarm.log.cut.add(swarm.store)
        await line.say(Statuses(1, [StatusOf("t1", TaskStatus(state=TaskState.STARTING))]))
        await asyncio.sleep(0.5)
        await line.say(Statuses(2, [StatusOf("t1", TaskStatus(state=TaskState.RUNNING))]))
        await asyncio.sleep(0.5)
        assert state_of(swarm, "t1") is TaskState.ASSIGNED
        swarm.log.heal(swarm.store)
        acks = {(await line.expect(Ack)).seq, (await line.expect(Ack)).seq}
        assert acks == {1, 2}
        assert state_of(swarm, "t1") is TaskState.RUNNING


@virtual
async def test_old_and_repeated_statuses_cost_no_entry() -> None:
    """What the swarm knows already, or better, is acknowledged without a write."""
    async with session(task("t1", TaskState.RUNNING)) as (swarm, line):
        await line.expect(Assignments)
        entries = len(swarm.log.entries)
        same = swarm.store.tasks["t1"].status
        reports = [same, TaskStatus(state=TaskState.PREPARING)]
        await line.say(Statuses(1, [StatusOf("t1", each) for each in reports]))
        await line.say(Statuses(2, [StatusOf("gone", same)]))
        assert [await line.expect(Ack), await line.expect(Ack)] == [Ack(1), Ack(2)]
        assert len(swarm.log.entries) == entries


@virtual
async def test_long_errors_of_many_tasks_hold_up_no_status() -> None:
    """Statuses too large for one entry go into several; one that no entry holds is left out."""
    many = [f"t{number}" for number in range(4)]
    async with session(task("huge"), *map(task, many)) as (swarm, line):
        long = TaskStatus(state=TaskState.FAILED, err="x" * 600_000)
        huge = replace(long, err="x" * 1_600_000)
        await line.say(Statuses(1, [StatusOf("huge", huge)]))
        await line.say(Statuses(2, [StatusOf(each, long) for each in many]))
        assert {(await line.expect(Ack)).seq, (await line.expect(Ack)).seq} == {1, 2}
        assert {state_of(swarm, each) for each in many} == {TaskState.FAILED}
        assert state_of(swarm, "huge") is TaskState.ASSIGNED


@virtual
async def test_a_status_that_was_not_written_is_not_confirmed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A crash of the writer loses nothing: the agent sends again what was not acknowledged."""
    async with session(task("t1")) as (swarm, line):
        await line.expect(Assignments)
        store = swarm.managers["m1"].dispatcher._statuses._store
        commit_, crashes = store.commit, iter([True])

        async def commit_or_crash(tx: Transaction, *, fence: int = 0) -> object:
            if next(crashes, False):
                raise RuntimeError("a fault of ours")
            return await commit_(tx, fence=fence)

        monkeypatch.setattr(store, "commit", commit_or_crash)
        report = [StatusOf("t1", TaskStatus(state=TaskState.RUNNING))]
        await line.say(Statuses(1, report))
        await asyncio.sleep(1)
        await line.say(Statuses(2, report))
        assert (await line.expect(Ack)).seq == 2
        assert state_of(swarm, "t1") is TaskState.RUNNING


@virtual
async def test_a_report_on_another_nodes_task_ends_the_session() -> None:
    """And changes nothing."""
    async with session(task("t1", node_id="m1")) as (swarm, line):
        await line.expect(Assignments)
        await line.say(Statuses(1, [StatusOf("t1", TaskStatus(state=TaskState.FAILED))]))
        assert await line.is_ended()
        assert swarm.store.tasks["t1"].status.state is TaskState.ASSIGNED


@pytest.mark.parametrize("first", [b"", b"\xc1", encode(Heartbeat()), b"\x81\xa1t\xa5Nope!"])
def test_what_is_no_hello_ends_the_session(first: bytes) -> None:
    """Garbage and wrong frames are refused before anything is written."""

    @virtual
    async def run() -> None:
        async with lab(managers=1, workers=0) as swarm:
            tx = Transaction()
            tx.put(Node(id="a"))
            await swarm.store.commit(tx)
            line = Line(swarm, "a")
            await line.near.send(first)
            assert await line.is_ended()
            assert swarm.store.nodes["a"].status.state is NodeState.UNKNOWN

    run()


@virtual
async def test_an_unknown_node_gets_no_session() -> None:
    """A certificate alone is not enough: the node must be in the store within a bound."""
    async with lab(managers=1, workers=0) as swarm:
        line = Line(swarm, "stranger")
        await line.say(HELLO)
        await asyncio.sleep(6)
        assert await line.is_ended()


@virtual
async def test_a_second_session_of_a_node_ends_the_first() -> None:
    """The newer one counts; the older one's end is no outage."""
    async with session() as (swarm, line):
        await line.expect(Assignments)
        newer = Line(swarm, "a")
        await newer.say(Hello(HELLO.description, "s2", []))
        await newer.expect(Assignments)
        assert await line.is_ended()
        for _ in range(8):
            await newer.say(Heartbeat())
            await asyncio.sleep(1)
        assert swarm.store.nodes["a"].status.state is NodeState.READY


@virtual
async def test_a_node_learns_what_changes_about_itself() -> None:
    """Its own object when spec or role changed; and its new description is kept."""
    async with session() as (swarm, line):
        await line.expect(Assignments)
        await swarm.store.modify(
            swarm.store.nodes,
            "a",
            lambda node: replace(node, spec=replace(node.spec, labels={"x": "1"})),
        )
        assert (await line.expect(NodeChanged)).node.spec.labels == {"x": "1"}
        await line.say(Described(NodeDescription(hostname="other")))
        await swarm.until(
            lambda: swarm.store.nodes["a"].description.hostname == "other", within_s=0.5
        )


@virtual
async def test_a_replica_that_was_restored_tells_everything_again() -> None:
    """After a snapshot nobody knows what changed, so the agent gets a complete list."""
    async with session(task("t1")) as (swarm, line):
        await line.expect(Assignments)
        swarm.store.restore(list(swarm.store.snapshot()))
        again = await line.expect(Assignments)
        assert again.complete
        assert [each.id for each in again.tasks] == ["t1"]


@virtual
async def test_a_node_that_takes_leave_is_not_missed_until_it_said() -> None:
    """Hung up at once; READY for as long as it asked, DOWN after that."""
    async with session() as (swarm, line):
        await line.expect(Assignments)
        await line.say(Away(20.0))
        assert await line.is_ended()
        await asyncio.sleep(15)
        assert node_state(swarm) is NodeState.READY
        await asyncio.sleep(10)
        assert node_state(swarm) is NodeState.DOWN


@virtual
async def test_no_clock_keeps_a_node_that_took_leave_for_longer_than_it_may_ask() -> None:
    """What was written by a clock that was an hour ahead says nothing any more."""
    async with session() as (swarm, line):
        await line.expect(Assignments)
        await line.say(Away(20.0))
        assert await line.is_ended()

        def ahead(node: Node) -> Node:
            internal = given(node.internal, NodeInternal())
            until = given(internal.away_until, virtual_now()) + timedelta(hours=1)
            return replace(node, internal=replace(internal, away_until=until))

        await swarm.store.modify(swarm.store.nodes, "a", ahead)
        await asyncio.sleep(15)
        assert node_state(swarm) is NodeState.DOWN


@virtual
async def test_a_leave_ends_with_the_nodes_return() -> None:
    """Once it has a session again, it is missed as soon as any other."""
    async with session() as (swarm, line):
        await line.expect(Assignments)
        await line.say(Away(60.0))
        assert await line.is_ended()
        newer = Line(swarm, "a")
        await newer.say(Hello(HELLO.description, "s2", []))
        await newer.expect(Assignments)
        await newer.near.close()
        await asyncio.sleep(6)
        assert swarm.store.nodes["a"].status.state is NodeState.DOWN


def test_a_closed_channel_stays_closed() -> None:
    """The tests' own channel behaves as the real one must."""

    @virtual
    async def run() -> None:
        one, two = channel_pair()
        await one.close()
        await one.close()
        for end in (one, two):
            with pytest.raises(ConnectionError):
                await _receive_twice(end)

    run()


async def _receive_twice(channel: QueueChannel) -> None:
    async with asyncio.timeout(1):
        await channel.receive()


def test_the_period_grows_with_the_swarm_in_few_steps() -> None:
    """A second up to a thousand nodes, then no more than a thousand heartbeats a second."""
    cluster = Cluster(id="c", spec=SWARM_SPEC)
    periods = [heartbeat_period_s(cluster, nodes) for nodes in range(10_000)]
    assert (periods[1], periods[1000], periods[1001], periods[5000]) == (1.0, 1.0, 1.5, 5.0)
    assert len(set(periods)) < 20
    assert all(nodes / period <= 1000 for nodes, period in enumerate(periods))


@virtual
async def test_a_silent_agent_is_given_up_after_the_grace() -> None:
    """Heartbeats keep a session; after three periods without one it ends, and the node is DOWN."""
    async with session() as (swarm, line):
        for _ in range(10):
            await asyncio.sleep(1)
            await line.say(Heartbeat())
        assert not line.serving.done()
        await asyncio.sleep(2.5)
        assert not line.serving.done()
        await asyncio.sleep(1.5)
        assert line.serving.done()
        assert node_state(swarm) is NodeState.DOWN


@virtual
async def test_a_shorter_period_gives_up_no_agent_that_goes_by_the_longer_one() -> None:
    """Until it was heard of after it was told: then three of the new periods are its grace."""
    async with session() as (swarm, line):
        await line.expect(Assignments)
        await swarm.set_heartbeat(20)
        assert (await line.expect(NodeChanged)).heartbeat_period_s == 20
        await line.say(Heartbeat())
        await asyncio.sleep(50)
        await swarm.set_heartbeat(1)
        assert (await line.expect(NodeChanged)).heartbeat_period_s == 1
        await asyncio.sleep(5)
        assert not line.serving.done()
        await line.say(Heartbeat())
        await asyncio.sleep(2.5)
        assert not line.serving.done()
        await asyncio.sleep(1.5)
        assert line.serving.done()
        assert node_state(swarm) is NodeState.DOWN


@virtual
@pytest.mark.parametrize(
    ("period_s", "grace_s"), [(1.0, 10.0), (2.0, 12.0), (5.0, 18.0), (60.0, 18.0)]
)
async def test_agents_that_dial_with_more_patience_have_longer_to_come_back(
    period_s: float, grace_s: float
):
    """After an outage: where heartbeats are rarer, an agent's dial may take longer."""
    async with lab(workers=1) as swarm:
        await swarm.set_heartbeat(period_s)
        lease = swarm.managers["m1"].dispatcher._lease
        lease.begin()
        assert lease.settled_s - asyncio.get_running_loop().time() == grace_s
