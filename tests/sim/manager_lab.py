"""A swarm without network, disk or Raft: real managers and stores, fake agents, virtual time.

Used by the manager's tests. The log is one list in memory; who leads is told; an agent walks its
tasks one state at a time and can be silenced, cut off, or told to fail.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

from msgspec import UNSET
from msgspec.structs import replace

from swarmops.manager import Manager
from swarmops.manager.scheduled_jobs import next_run
from swarmops.model.base import given
from swarmops.model.defaults import NANOSECONDS
from swarmops.model.node import (
    Availability,
    EngineDescription,
    Node,
    NodeDescription,
    NodeInternal,
    NodeSpec,
    NodeState,
    Plugin,
    Role,
)
from swarmops.model.service import (
    ContainerSpec,
    JobStatus,
    ReplicatedMode,
    Service,
    ServiceMode,
    ServiceSpec,
    TaskSpec,
    UpdateConfig,
)
from swarmops.model.session import (
    Ack,
    Assignments,
    Heartbeat,
    Hello,
    Ingress,
    NodeChanged,
    PublishedPort,
    Statuses,
    StatusOf,
    Welcome,
    decode_manager_frame,
    encode,
)
from swarmops.model.swarm import Cluster, ClusterInternal, DispatcherConfig
from swarmops.model.task import PortStatus, Task, TaskInternal, TaskState, TaskStatus
from swarmops.raft.errors import QuorumLoss, RaftError
from swarmops.raft.seam import Member, Status
from swarmops.store import Store, Transaction
from tests.sim.memory_log import MemoryLog
from tests.sim.virtual_loop import virtual_now

LIVES = (
    TaskState.ACCEPTED,
    TaskState.PREPARING,
    TaskState.READY,
    TaskState.STARTING,
    TaskState.RUNNING,
)


class QueueChannel:
    """One end of a channel made of two queues."""

    def __init__(self) -> None:
        self._frames: asyncio.Queue[bytes | None] = asyncio.Queue()
        self.other: QueueChannel = self
        self.closed = False

    async def send(self, frame: bytes) -> None:
        """Hand a frame to the other end."""
        if self.closed or self.other.closed:
            raise ConnectionError("closed")
        self.other._frames.put_nowait(frame)

    async def receive(self) -> bytes:
        """Wait for a frame of the other end."""
        frame = None if self.closed else await self._frames.get()
        if frame is None:
            raise ConnectionError("closed")
        return frame

    async def close(self) -> None:
        """End both ends."""
        if not self.closed:
            self.closed = True
            self._frames.put_nowait(None)
            self.other._frames.put_nowait(None)


def channel_pair() -> tuple[QueueChannel, QueueChannel]:
    """Return both ends of a new channel."""
    one, two = QueueChannel(), QueueChannel()
    one.other, two.other = two, one
    return one, two


class FakeGroup:
    """A Raft group whose leader is told, seen by one member."""

    def __init__(self, lab: Lab, node_id: str) -> None:
        self._lab = lab
        self._node_id = node_id

    def status(self) -> Status:
        """Return what this member sees."""
        lab, me = self._lab, f"raft-{self._node_id}"
        cut = self._node_id in lab.cut
        leader = None if cut or lab.leader is None else f"raft-{lab.leader}"
        reachable = {m.raft_id for m in lab.members if m.node_id not in lab.cut}
        return Status(
            raft_id=me,
            leader=leader,
            is_leader=leader == me,
            term=1,
            commit_index=0,
            applied_index=0,
            voters=tuple(lab.members),
            learners=(),
            removed=frozenset(),
            reachable=frozenset({me} if cut else reachable),
            disk_error=None,
        )

    async def remove_member(self, raft_id: str) -> None:
        """Remove a member, by SwarmKit's rule."""
        await asyncio.sleep(0.01)
        rest = [m for m in self._lab.members if m.raft_id != raft_id]
        reachable = sum(m.node_id not in self._lab.cut for m in rest)
        if reachable < (len(self._lab.members) - 1) // 2 + 1:
            raise QuorumLoss
        self._lab.log_of.append(f"removed {raft_id}")
        self._lab.members = rest

    async def transfer_leadership(self) -> None:
        """Let the next reachable member lead."""
        await asyncio.sleep(0.01)
        others = [m for m in self._lab.members if m.node_id not in {self._node_id, *self._lab.cut}]
        if not others:
            raise RaftError("nobody can take the lead")
        self._lab.lead(others[0].node_id)


@dataclass
class FakeAgent:
    """Walks its tasks to their desired states."""

    lab: Lab
    node_id: str
    description: NodeDescription
    tasks: dict[str, Task] = field(default_factory=dict)
    statuses: dict[str, TaskStatus] = field(default_factory=dict)
    manager: str = ""
    silent: bool = False
    step_s: float = 0.01
    stop_s: float = 0.05
    fails: Callable[[Task], bool] = lambda _task: False
    """Which tasks fail once they run."""
    never_starts: Callable[[Task], bool] = lambda _task: False
    """Which tasks fail before they run."""
    completes: Callable[[Task], bool] = lambda _task: False
    """Which tasks end well, as soon as they run."""
    news: list[Welcome | NodeChanged] = field(default_factory=list)
    started: list[str] = field(default_factory=list)
    ports: dict[tuple[str, int], PublishedPort] = field(default_factory=dict)
    """What the swarm publishes, as this node was told."""
    sessions: int = 0
    _channel: QueueChannel | None = None
    _main: asyncio.Task[None] | None = None
    _walks: dict[str, asyncio.Task[None]] = field(default_factory=dict)
    _seq: int = 0

    def start(self) -> None:
        """Power on."""
        self._main = asyncio.create_task(self._run())

    async def power_off(self) -> None:
        """Vanish without a word: no heartbeat, no connection reset, nothing runs any more."""
        self.silent = True
        ends = [task for task in (self._main, *self._walks.values()) if task is not None]
        for each in ends:
            each.cancel()
        await asyncio.gather(*ends, return_exceptions=True)
        self._walks.clear()

    async def break_session(self) -> None:
        """Lose the connection; the agent dials again at once."""
        if self._channel is not None:
            await self._channel.close()

    def running(self) -> list[Task]:
        """Return the tasks that run here."""
        return [
            task
            for task_id, task in self.tasks.items()
            if self.statuses[task_id].state is TaskState.RUNNING
        ]

    async def _run(self) -> None:
        while True:
            with contextlib.suppress(ConnectionError, TimeoutError):
                await self._session()
            await asyncio.sleep(self.lab.rng.uniform(0.05, 0.3))

    async def _session(self) -> None:
        near, far = channel_pair()
        manager = self.lab.dial(self.node_id)
        serving = asyncio.create_task(
            self.lab.managers[manager].dispatcher.serve(far, self.node_id, f"ip-{self.node_id}")
        )
        self._channel, self.manager = near, manager
        self.sessions += 1
        beats = asyncio.create_task(self._beat(near))
        try:
            session_id = f"{self.node_id}-{self.sessions}"
            await near.send(encode(Hello(self.description, session_id, list(self.tasks))))
            while True:
                await self._take(await near.receive())
        finally:
            self._channel, self.manager = None, ""
            if not self.silent:
                await near.close()
                await asyncio.wait([serving])
            beats.cancel()

    async def _beat(self, channel: QueueChannel) -> None:
        with contextlib.suppress(ConnectionError):
            while True:
                await asyncio.sleep(1.0)
                if not self.silent:
                    await channel.send(encode(Heartbeat()))

    async def _take(self, data: bytes) -> None:
        frame = decode_manager_frame(data)
        if isinstance(frame, Welcome | NodeChanged):
            self.news.append(frame)
            if isinstance(frame, Welcome):
                await self._report(*self.statuses)
        elif isinstance(frame, Ingress):
            if frame.complete:
                self.ports.clear()
            self.ports.update({(port.protocol, port.number): port for port in frame.ports})
            for key in frame.removed:
                self.ports.pop(key, None)
        elif isinstance(frame, Assignments):
            gone = set(self.tasks) - {task.id for task in frame.tasks} if frame.complete else ()
            for task_id in (*gone, *frame.removed):
                self._forget(task_id)
            for task in frame.tasks:
                self.tasks[task.id] = task
                self.statuses.setdefault(task.id, task.status)
                if task.id not in self._walks:
                    self._walks[task.id] = asyncio.create_task(self._walk(task.id))
        else:
            assert isinstance(frame, Ack)

    def _forget(self, task_id: str) -> None:
        self.tasks.pop(task_id, None)
        self.statuses.pop(task_id, None)
        walk = self._walks.pop(task_id, None)
        if walk is not None:
            walk.cancel()

    async def _walk(self, task_id: str) -> None:
        """Advance one task, one state at a time."""
        while not self.statuses[task_id].state.terminal:
            await asyncio.sleep(self.step_s)
            task, state = self.tasks[task_id], self.statuses[task_id].state
            if task.desired_state.rank > TaskState.COMPLETE.rank:
                if state.rank >= TaskState.STARTING.rank:
                    await asyncio.sleep(self.stop_s)
                await self._say(task_id, TaskState.SHUTDOWN)
            elif state is TaskState.RUNNING:
                if self.fails(task):
                    await self._say(task_id, TaskState.FAILED)
                elif self.completes(task):
                    await self._say(task_id, TaskState.COMPLETE)
            else:
                following = next(each for each in LIVES if each.rank > state.rank)
                if following.rank <= max(task.desired_state.rank, TaskState.READY.rank):
                    if following is TaskState.RUNNING:
                        self.started.append(task_id)
                        if self.never_starts(task):
                            following = TaskState.FAILED
                    await self._say(task_id, following)

    async def _say(self, task_id: str, state: TaskState) -> None:
        self.statuses[task_id] = TaskStatus(
            timestamp=virtual_now(),
            state=state,
            message="fake",
            port_status=self._listening(task_id),
        )
        await self._report(task_id)

    def _listening(self, task_id: str) -> PortStatus:
        """Say that the task listens on this node, 40000 ports above its target."""
        ports = given(self.tasks[task_id].internal, TaskInternal()).ports
        told = [
            replace(port, published_port=40_000 + given(port.target_port, 0), publish_mode="host")
            for port in ports
        ]
        return PortStatus(ports=told) if told else PortStatus()

    async def _report(self, *task_ids: str) -> None:
        if self._channel is None or self.silent or not task_ids:
            return
        self._seq += 1
        reports = [StatusOf(task_id, self.statuses[task_id]) for task_id in task_ids]
        with contextlib.suppress(ConnectionError):
            await self._channel.send(encode(Statuses(self._seq, reports)))


class Lab:
    """Managers ``m1``…, workers ``w1``…, one log."""

    def __init__(self, managers: int, workers: int, seed: int = 1) -> None:
        self.rng = random.Random(seed)
        self.log = MemoryLog()
        self.log_of: list[str] = []
        self.cut: set[str] = set()
        self.leader: str | None = None
        self.members = [Member(f"raft-m{i}", f"m{i}", f"ip-m{i}:2377") for i in _upto(managers)]
        self.stores: dict[str, Store] = {}
        self.managers: dict[str, Manager] = {}
        self.agents: dict[str, FakeAgent] = {}
        self._workers = workers

    @property
    def store(self) -> Store:
        """The leader's replica."""
        return self.stores[self.leader or "m1"]

    async def start(self) -> None:
        """Form the swarm and let m1 lead."""
        for member in self.members:
            self.make_manager(member.node_id)
        tx = Transaction()
        tx.put(Cluster(id="c", internal=ClusterInternal(ca_cert="root")))
        for member in self.members:
            role = Role.MANAGER
            internal = NodeInternal(role=role, raft_id=member.raft_id)
            tx.put(Node(id=member.node_id, spec=NodeSpec(role=role), internal=internal))
        for i in _upto(self._workers):
            tx.put(Node(id=f"w{i}"))
        await self.stores["m1"].commit(tx)
        for manager in self.managers.values():
            await manager.start()
        self.lead("m1")
        for node in self.store.nodes:
            self.power_on(node.id)
        await self.until(
            lambda: all(n.status.state is NodeState.READY for n in self.store.nodes), within_s=5
        )

    def make_manager(self, node_id: str) -> None:
        """Make a manager with a replica of its own."""
        store = self.stores[node_id] = Store(now=virtual_now)
        self.log.attach(store)
        self.managers[node_id] = Manager(
            store, FakeGroup(self, node_id), node_id=node_id, now=virtual_now, rng=self.rng
        )

    def power_on(self, node_id: str, *executors: str) -> FakeAgent:
        """Start a node's agent."""
        names = executors or ("process", "docker")
        plugins = [Plugin(type="Executor", name=name) for name in names]
        description = NodeDescription(hostname=node_id, engine=EngineDescription(plugins=plugins))
        agent = self.agents[node_id] = FakeAgent(self, node_id, description)
        agent.start()
        return agent

    def dial(self, node_id: str) -> str:
        """Return a manager that the agent reaches."""
        near = [each for each in self.managers if each not in self.cut]
        if node_id in near:
            return node_id
        if not near:
            raise ConnectionError("no manager answers")
        return self.rng.choice(sorted(near))

    def lead(self, node_id: str | None, *, told_after_s: float = 0.0) -> None:
        """Change the leader; None: there is none. The former one may learn of it late."""
        former, self.leader = self.leader, node_id
        if node_id is not None:
            self.managers[node_id].on_leadership(True)
        if former is None or former not in self.managers:
            return
        if told_after_s:
            clock = asyncio.get_running_loop()
            clock.call_later(told_after_s, self._tell, former)
        else:
            self._tell(former)

    def _tell(self, former: str) -> None:
        if self.leader != former and former in self.managers:
            self.managers[former].on_leadership(False)

    async def isolate(self, node_id: str) -> None:
        """Cut a manager off from the other managers and from all agents but its own."""
        self.cut.add(node_id)
        self.log.cut.add(self.stores[node_id])

    async def kill_manager(self, node_id: str) -> None:
        """End a manager's process; its agent's machine goes with it."""
        await self.isolate(node_id)
        await self.agents[node_id].power_off()
        await self.managers.pop(node_id).stop()
        for agent in self.agents.values():
            if agent.manager == node_id:
                await agent.break_session()

    async def stop(self) -> None:
        """Power everything off."""
        for agent in self.agents.values():
            await agent.power_off()
        for manager in self.managers.values():
            await manager.stop()

    async def until(self, condition: Callable[[], bool], within_s: float = 10.0) -> float:
        """Wait on the virtual clock; return how long it took. Fails beyond the bound."""
        clock = asyncio.get_running_loop()
        began_s = clock.time()
        while not condition():
            assert clock.time() - began_s <= within_s, f"not within {within_s} s: {self.picture()}"
            await asyncio.sleep(0.01)
        return clock.time() - began_s

    def is_down(self, node_id: str) -> bool:
        """Whether the swarm holds the node for DOWN."""
        return self.store.nodes[node_id].status.state is NodeState.DOWN

    def picture(self) -> str:
        """Describe nodes and tasks, for failing tests."""
        nodes = [f"{n.id}:{n.status.state.value}" for n in self.store.nodes]
        tasks = [
            f"{t.id[:4]} slot {t.slot} on {t.node_id}: {t.status.state.value}/"
            f"{t.desired_state.value} {t.status.err}"
            for t in self.store.tasks
        ]
        return "\n".join([*nodes, *tasks])

    async def create(
        self,
        name: str,
        replicas: int = 1,
        spec: TaskSpec | None = None,
        *,
        mode: ServiceMode | None = None,
        labels: dict[str, str] | None = None,
        update_config: UpdateConfig | None = None,
    ) -> str:
        """Create a service, replicated if nothing else is said; return its ID."""
        template = spec or TaskSpec(container_spec=ContainerSpec(image="host"))
        wanted = ServiceSpec(
            name=name,
            labels=labels or {},
            task_template=template,
            mode=mode or ServiceMode(replicated=ReplicatedMode(replicas=replicas)),
            update_config=update_config,
        )
        job = wanted.mode and (wanted.mode.replicated_job or wanted.mode.global_job)
        status = JobStatus(last_execution=virtual_now()) if job else UNSET
        tx = Transaction()
        tx.put(Service(id=name, spec=wanted, job_status=status))
        await self.store.commit(tx)
        return name

    async def run_again(self, service_id: str) -> None:
        """Begin another run of a job, as the API does with every update."""
        await self.store.modify(
            self.store.services, service_id, lambda old: next_run(old, virtual_now())
        )

    async def change(self, service_id: str, change: Callable[[ServiceSpec], ServiceSpec]) -> None:
        """Change a service's spec as the API does."""
        await self.store.modify(
            self.store.services,
            service_id,
            lambda old: replace(
                old, spec=change(old.spec), previous_spec=old.spec, update_status=None
            ),
        )

    async def set_availability(self, node_id: str, availability: Availability) -> None:
        """Drain, pause or activate a node."""
        await self.store.modify(
            self.store.nodes,
            node_id,
            lambda node: replace(node, spec=replace(node.spec, availability=availability)),
        )

    async def set_heartbeat(self, period_s: float) -> None:
        """Set how often the swarm wants to hear of its agents."""
        dispatcher = DispatcherConfig(heartbeat_period=round(period_s * NANOSECONDS))
        await self.store.modify(
            self.store.clusters,
            "c",
            lambda stored: replace(stored, spec=replace(stored.spec, dispatcher=dispatcher)),
        )

    async def set_role(self, node_id: str, role: Role) -> None:
        """Promote or demote a node."""
        await self.store.modify(
            self.store.nodes,
            node_id,
            lambda node: replace(node, spec=replace(node.spec, role=role)),
        )

    def running_on(self, service_id: str) -> list[str]:
        """Return the nodes of the service's tasks that are wanted and run, sorted."""
        return sorted(
            given(task.node_id, "")
            for task in self.store.tasks.by_service(service_id)
            if task.status.state is TaskState.RUNNING and task.desired_state is TaskState.RUNNING
        )


@contextlib.asynccontextmanager
async def lab(managers: int = 1, workers: int = 4, seed: int = 1) -> AsyncIterator[Lab]:
    """Yield a swarm whose nodes are all READY."""
    swarm = Lab(managers, workers, seed)
    await swarm.start()
    try:
        yield swarm
    finally:
        await swarm.stop()


def _upto(count: int) -> range:
    return range(1, count + 1)
