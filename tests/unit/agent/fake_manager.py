"""A manager as an agent sees it: frames over a channel in memory, and an executor of thin air."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Collection
from pathlib import Path
from typing import Any

from swarmops.agent.executors.base import (
    Exit,
    LogLine,
    LogRequest,
    Report,
    TemporaryError,
    UnhealthyError,
)
from swarmops.agent.work import Work
from swarmops.model.node import Node, NodeDescription, Plugin
from swarmops.model.service import Platform
from swarmops.model.session import (
    Ack,
    AgentFrame,
    Assignments,
    Hello,
    ManagerFrame,
    Statuses,
    Welcome,
    decode_agent_frame,
    encode,
)
from swarmops.model.task import ContainerStatus, Task, TaskState, TaskStatus


class MemoryChannel:
    """The agent's end of a session: queues instead of a socket."""

    def __init__(self) -> None:
        self.to_manager: asyncio.Queue[bytes] = asyncio.Queue()
        self.to_agent: asyncio.Queue[bytes | None] = asyncio.Queue()
        self.closed = False

    async def send(self, frame: bytes) -> None:
        """Send one frame."""
        if self.closed:
            raise ConnectionError("closed")
        self.to_manager.put_nowait(frame)

    async def receive(self) -> bytes:
        """Return the next frame."""
        frame = await self.to_agent.get()
        if frame is None:
            raise ConnectionError("the manager went away")
        return frame

    async def close(self) -> None:
        """End the session."""
        self.closed = True

    def say(self, frame: ManagerFrame) -> None:
        """Send a frame to the agent."""
        self.to_agent.put_nowait(encode(frame))

    def cut(self) -> None:
        """Break the connection."""
        self.to_agent.put_nowait(None)


class FakeManager:
    """Welcomes agents, hands out ``tasks``, keeps what they report."""

    def __init__(self, *tasks: Task, period_s: float = 0.05) -> None:
        self.tasks = list(tasks)
        self.period_s = period_s
        self.acknowledges = True
        self.up = True
        self.hellos: list[Hello] = []
        self.frames: list[AgentFrame] = []
        self.dials: list[float] = []
        self.history: dict[str, list[TaskStatus]] = {}
        self.channel: MemoryChannel | None = None
        self._listening: set[asyncio.Task[None]] = set()
        self._news = asyncio.Event()

    async def dial(self) -> MemoryChannel:
        """Open a session, as the runtime does for the agent."""
        self.dials.append(asyncio.get_running_loop().time())
        if not self.up:
            raise ConnectionRefusedError("connection refused")
        self.channel = MemoryChannel()
        listening = asyncio.create_task(self._listen(self.channel))
        self._listening.add(listening)
        listening.add_done_callback(self._listening.discard)
        return self.channel

    def assign(self, *tasks: Task, complete: bool = False, removed: Collection[str] = ()) -> None:
        """Tell the agent of changed tasks."""
        assert self.channel is not None
        self.channel.say(
            Assignments(
                complete=complete,
                tasks=list(tasks),
                removed=list(removed),
                secrets=[],
                configs=[],
                dropped_dependencies=[],
            )
        )

    def cut(self) -> None:
        """Break the session."""
        assert self.channel is not None
        self.channel.cut()

    def states(self, task: Task) -> list[TaskState]:
        """Return the different states that were reported of a task, in order."""
        seen = [status.state for status in self.history.get(task.id, [])]
        return [state for n, state in enumerate(seen) if n == 0 or seen[n - 1] is not state]

    def last(self, task: Task) -> TaskStatus:
        """Return what was last reported of a task."""
        return self.history[task.id][-1]

    async def until(self, condition: Callable[[], Any], within_s: float = 60) -> None:
        """Wait until a condition holds that a frame may make true."""
        async with asyncio.timeout(within_s):
            while not condition():
                self._news.clear()
                await self._news.wait()

    async def reported(self, task: Task, state: TaskState, within_s: float = 60) -> TaskStatus:
        """Wait until the task is reported in the state."""
        await self.until(lambda: state in self.states(task), within_s)
        return next(s for s in self.history[task.id] if s.state is state)

    async def stop(self) -> None:
        """End all sessions."""
        for listening in list(self._listening):
            listening.cancel()
            await asyncio.wait([listening])

    async def _listen(self, channel: MemoryChannel) -> None:
        while True:
            frame = decode_agent_frame(await channel.to_manager.get())
            self.frames.append(frame)
            match frame:
                case Hello():
                    self.hellos.append(frame)
                    channel.say(
                        Welcome(
                            node=Node(id="node1"),
                            managers=[],
                            heartbeat_period_s=self.period_s,
                            root_ca="",
                        )
                    )
                    self.assign(*self.tasks, complete=True)
                case Statuses(seq, statuses):
                    for each in statuses:
                        self.history.setdefault(each.task_id, []).append(each.status)
                    if self.acknowledges:
                        channel.say(Ack(seq))
            self._news.set()


STOPPED = 143
"""What a task of thin air exits with when it is stopped."""


class AirExecutor:
    """Runs tasks of thin air; ``end`` ends one. What it holds outlives an agent."""

    name = "air"

    def __init__(self) -> None:
        self.running: dict[str, asyncio.Future[int]] = {}
        self.calls: list[tuple[str, str]] = []
        self.away = 0
        self.gate = asyncio.Event()
        self.gate.set()
        self.health = asyncio.Event()
        self.health.set()
        self.ill = ""
        self.stopped: set[str] = set()
        self.warning = ""
        self.voice = ""
        self.files: dict[str, list[bytes]] = {}

    def end(self, task: Task, code: int) -> None:
        """Let a task's process end."""
        self.running[task.id].set_result(code)

    def sicken(self, task: Task, cause: str) -> None:
        """Let a task that runs become unhealthy."""
        self.running[task.id].set_exception(UnhealthyError(cause))

    def runs(self, image: str) -> bool:
        """Take everything but ``none``."""
        return image != "none"

    async def describe(self) -> list[Plugin]:
        """Say nothing."""
        return []

    async def reattach(self, task_ids: Collection[str]) -> None:
        """Forget what nobody needs."""
        for task_id in self.running.keys() - set(task_ids):
            del self.running[task_id]

    async def prepare(self, work: Work) -> None:
        """Wait for the gate."""
        self.calls.append(("prepare", work.id))
        self.files.setdefault(work.id, []).extend(file.data for file in work.files)
        await self.gate.wait()

    async def start(self, work: Work) -> ContainerStatus:
        """Start it, unless the engine is away."""
        self.calls.append(("start", work.id))
        if self.away:
            self.away -= 1
            raise TemporaryError("the engine is away")
        self.stopped.discard(work.id)
        self.running.setdefault(work.id, asyncio.get_running_loop().create_future())
        return ContainerStatus(pid=1)

    async def report(self, work: Work) -> Report:
        """Say where the task listens."""
        return Report(ports=work.ports, warning=self.warning)

    async def healthy(self, work: Work) -> Exit | None:
        """Wait until it is healthy."""
        self.calls.append(("healthy", work.id))
        await self.health.wait()
        if self.ill:
            raise UnhealthyError(self.ill)
        return None

    async def wait(self, work: Work) -> Exit:
        """Wait for ``end`` or ``sicken``."""
        is_over = work.id in self.stopped
        code = STOPPED if is_over else await asyncio.shield(self.running[work.id])
        return Exit(code, ContainerStatus(pid=1, exit_code=code))

    async def stop(self, work: Work, signal: str, grace_s: float) -> ContainerStatus:
        """Stop it at once."""
        self.calls.append((f"stop {signal} {grace_s:g}", work.id))
        self.running.pop(work.id, None)
        self.stopped.add(work.id)
        return ContainerStatus(pid=1, exit_code=STOPPED)

    async def remove(self, work: Work) -> None:
        """Remove it."""
        self.calls.append(("remove", work.id))
        self.running.pop(work.id, None)

    async def logs(self, work: Work, request: LogRequest) -> AsyncIterator[LogLine]:
        """Have little to say."""
        yield LogLine("stdout", f"{self.voice}{work.name} {request.tail}".encode())

    async def close(self) -> None:
        """Hold nothing."""


async def describe() -> NodeDescription:
    """Describe a machine."""
    return NodeDescription(hostname="host1", platform=Platform(architecture="x86_64", os="linux"))


SOMEWHERE = Path("/nonexistent")
