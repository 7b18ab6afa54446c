"""Thousands of agents in one process: real sessions, tasks that are nothing.

Started by ``bench.placement``:

    python -m bench.simulated_agents FIRST COUNT TOKEN MANAGER [MANAGER …]

Each has a certificate of its own, from a manager by join token, and a session of its own, a
WebSocket over TLS with the frames of ``model.session``. A task that it is given runs at once and
stops at once. Every quarter of a second a line of JSON says what they have seen; when the parent
closes stdin they end.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import math
import os
import random
import ssl
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from functools import partial

import aiohttp
import msgspec

from swarmops.agent.session import USUAL, dial_patience_s, next_backoff_s
from swarmops.model.ids import new_id
from swarmops.model.node import EngineDescription, NodeDescription, Plugin
from swarmops.model.service import Resources
from swarmops.model.session import (
    Ack,
    Assignments,
    Channel,
    Heartbeat,
    Hello,
    NodeChanged,
    Statuses,
    StatusOf,
    Welcome,
    decode_manager_frame,
    encode,
)
from swarmops.model.task import Task, TaskState, TaskStatus
from swarmops.pki.root import new_request
from swarmops.pki.tls import ALPN_AGENT, joining_client, unverified_client
from swarmops.pki.wire import CertificateReply, CertificateRequest, RootReply
from swarmops.runtime import lean
from swarmops.runtime.dial import dial_session
from swarmops.runtime.session_channel import SessionChannel

JOINING_AT_ONCE = 8
TOLD_EVERY_S = 0.25
NICE = 5
"""They stand for other machines: the managers' processor time is not theirs to take. But thousands
of heartbeats are to go out in time."""
BEAT = encode(Heartbeat())


Dial = Callable[[str], Awaitable[Channel]]
"""Opens a session with a manager."""


class Seen:
    """What all agents of this process have seen."""

    def __init__(self) -> None:
        self.joined = 0
        self.sessions = 0
        self.assigned = 0
        self.running = 0
        """Tasks whose RUNNING the swarm has confirmed, and that shall still run."""
        self.frames = 0

    def tell(self) -> None:
        """Print it."""
        told = {"at_s": time.monotonic(), "cpu_s": time.process_time(), **vars(self)}
        sys.stdout.write(json.dumps(told) + "\n")
        sys.stdout.flush()


class Tls:
    """The one client's context that a session needs; stands for ``NodeTLS``."""

    def __init__(self, reply: CertificateReply, key_pem: str) -> None:
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self._context.minimum_version = ssl.TLSVersion.TLSv1_3
        self._context.check_hostname = False
        self._context.set_alpn_protocols([ALPN_AGENT])
        self._context.load_verify_locations(cadata=reply.root_pem)
        with tempfile.NamedTemporaryFile("w") as file:
            file.write(key_pem + reply.cert_pem)
            file.flush()
            self._context.load_cert_chain(file.name)

    def client(self, _alpn: str) -> ssl.SSLContext:
        """Return it."""
        return self._context


class Agent:
    """One node."""

    def __init__(
        self, name: str, dial: Dial, managers: list[str], seen: Seen, rng: random.Random
    ) -> None:
        self._dial = dial
        self._managers = managers
        self._seen = seen
        self._rng = rng
        self._description = NodeDescription(
            hostname=name,
            engine=EngineDescription(plugins=[Plugin(type="Executor", name="process")]),
            resources=Resources(nano_cpus=64 * 10**9, memory_bytes=1 << 40),
        )
        self._tasks: dict[str, TaskState] = {}
        self._confirmed: set[str] = set()
        self._unconfirmed: dict[int, list[StatusOf]] = {}
        self._seq = 0
        self._period_s = 1.0
        self._welcomed_s = math.inf

    async def run(self, first: str) -> None:
        """Keep a session, with another manager after one that failed."""
        addr, backoff_s = first, 0.0
        while True:
            self._welcomed_s = math.inf
            with contextlib.suppress(ConnectionError, OSError, TimeoutError):
                async with asyncio.timeout(dial_patience_s(self._period_s, USUAL)):
                    channel = await self._dial(addr)
                await self._session(channel)
            addr = self._rng.choice([each for each in self._managers if each != addr])
            if time.monotonic() - self._welcomed_s > max(backoff_s, USUAL.steady_s):
                backoff_s = 0.0
            backoff_s = next_backoff_s(backoff_s, USUAL)
            await asyncio.sleep(self._rng.uniform(0, backoff_s))

    async def _session(self, channel: Channel) -> None:
        beats: asyncio.Task[None] | None = None
        welcome = False
        try:
            await channel.send(encode(Hello(self._description, new_id(self._rng), [])))
            self._unconfirmed.clear()
            while True:
                frame = decode_manager_frame(await channel.receive())
                self._seen.frames += 1
                if isinstance(frame, Assignments):
                    await self._assign(channel, frame)
                elif isinstance(frame, Ack):
                    self._confirm(self._unconfirmed.pop(frame.seq, []))
                elif isinstance(frame, Welcome | NodeChanged):
                    self._period_s = frame.heartbeat_period_s
                    if isinstance(channel, SessionChannel):
                        channel.expect(self._period_s)
                    if not welcome:
                        welcome, self._welcomed_s = True, time.monotonic()
                        self._seen.sessions += 1
                        beats = asyncio.create_task(self._beat(channel))
        finally:
            self._seen.sessions -= welcome
            if beats is not None:
                beats.cancel()
            await channel.close()

    async def _beat(self, channel: Channel) -> None:
        with contextlib.suppress(ConnectionError):
            while True:
                await asyncio.sleep(self._period_s * self._rng.uniform(0.9, 1.0))
                await channel.send(BEAT)

    async def _assign(self, channel: Channel, frame: Assignments) -> None:
        gone = set(self._tasks).difference(t.id for t in frame.tasks) if frame.complete else ()
        for task_id in (*gone, *frame.removed):
            self._tasks.pop(task_id, None)
            self._forget(task_id)
        told = [StatusOf(task.id, self._lead(task)) for task in frame.tasks]
        if told:
            self._seq += 1
            self._unconfirmed[self._seq] = told
            await channel.send(encode(Statuses(self._seq, told)))

    def _lead(self, task: Task) -> TaskStatus:
        """Bring a task to where it shall be, at once."""
        state = TaskState.RUNNING
        if task.desired_state.rank > TaskState.COMPLETE.rank:
            state = TaskState.SHUTDOWN
            self._forget(task.id)
        elif task.desired_state.rank < TaskState.RUNNING.rank:
            state = TaskState.READY
        if task.id not in self._tasks:
            self._seen.assigned += 1
        self._tasks[task.id] = state
        return TaskStatus(timestamp=datetime.now(UTC), state=state, message="simulated")

    def _confirm(self, told: list[StatusOf]) -> None:
        for each in told:
            runs = each.status.state is TaskState.RUNNING
            if runs and self._tasks.get(each.task_id) is TaskState.RUNNING:
                self._seen.running += each.task_id not in self._confirmed
                self._confirmed.add(each.task_id)

    def _forget(self, task_id: str) -> None:
        if task_id in self._confirmed:
            self._confirmed.discard(task_id)
            self._seen.running -= 1


async def join(
    client: aiohttp.ClientSession, name: str, token: str, addr: str
) -> tuple[Tls, CertificateReply]:
    """Get one node's certificate."""
    key_pem, csr_pem = new_request()
    body = msgspec.json.encode(CertificateRequest(csr_pem=csr_pem, token=token, hostname=name))
    async with client.post(f"https://{addr}/certificate", data=body) as response:
        data = await response.read()
        if response.status != 200:
            raise aiohttp.ClientError(f"{addr} lets {name} not in: {data.decode()}")
    reply = msgspec.json.decode(data, type=CertificateReply)
    return Tls(reply, key_pem), reply


async def dial(tls: Tls, addr: str) -> Channel:
    """Open a session."""
    return await dial_session(addr, tls)  # type: ignore[arg-type]


async def root_of(addr: str) -> str:
    """Fetch the swarm's root."""
    connector = aiohttp.TCPConnector(ssl=unverified_client())
    async with (
        aiohttp.ClientSession(connector=connector) as client,
        client.get(f"https://{addr}/root") as response,
    ):
        return msgspec.json.decode(await response.read(), type=RootReply).root_pem


async def main(first: int, count: int, token: str, managers: list[str]) -> None:
    """Join them all, then keep them until stdin ends."""
    gc.disable()  # thousands of small heaps in one: what a pass over it takes, no machine pays
    seen, rng = Seen(), random.Random(first)
    running: list[asyncio.Task[None]] = []
    names = [f"sim{number}" for number in range(first, first + count)]
    waiting = list(enumerate(names))
    connector = aiohttp.TCPConnector(ssl=joining_client(await root_of(managers[0])))

    async def joiner(client: aiohttp.ClientSession) -> None:
        while waiting:
            number, name = waiting.pop()
            addr = managers[number % len(managers)]
            try:
                tls, _ = await join(client, name, token, addr)
            except aiohttp.ClientError as error:  # most often, what took too long
                sys.stderr.write(f"{error}\n")
                waiting.append((number + 1, name))
                await asyncio.sleep(1)
                continue
            seen.joined += 1
            agent = Agent(name, partial(dial, tls), managers, seen, rng)
            running.append(asyncio.create_task(agent.run(addr)))

    async def tell() -> None:
        while True:
            seen.tell()
            await asyncio.sleep(TOLD_EVERY_S)

    running.append(asyncio.create_task(tell()))
    async with aiohttp.ClientSession(connector=connector) as client:
        await asyncio.gather(*(joiner(client) for _ in range(JOINING_AT_ONCE)))
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    for task in running:
        task.cancel()


if __name__ == "__main__":
    os.nice(NICE)
    with lean.imports():  # what makes a daemon small makes these small
        pass
    asyncio.run(main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4:]))
