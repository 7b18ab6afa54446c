"""The worker agent of a node: restores its tasks, then keeps a session with some manager.

The runtime makes one, with everything it touches handed in: how to dial a manager, the executors,
the clock. Losing every manager stops nothing here; the agent goes on dialling.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from pathlib import Path

import structlog
from msgspec import UNSET

from swarmops.agent.database import SqliteDatabase
from swarmops.agent.executors.base import Executor
from swarmops.agent.log_reader import LogSource
from swarmops.agent.outbox import Outbox
from swarmops.agent.records import Database
from swarmops.agent.session import USUAL, Session, SessionTiming, dial_patience_s, next_backoff_s
from swarmops.agent.vault import KEY_FILE, KeyFile, Sealer, Vault
from swarmops.agent.work import NodeFacts
from swarmops.agent.worker import Worker
from swarmops.errors import SwarmopsError
from swarmops.model.base import given
from swarmops.model.ids import new_id
from swarmops.model.node import NodeDescription
from swarmops.model.service import Platform
from swarmops.model.session import Assignments, Channel, Hello, Ingress, NodeChanged, Welcome
from swarmops.model.task import Task

DATABASE = "tasks.db"
log = structlog.get_logger(__name__)


class Agent:
    """One node's agent; the clock of its timers is the event loop's."""

    def __init__(
        self,
        *,
        node_id: str,
        dial: Callable[[], Awaitable[Channel]],
        data_dir: Path,
        executors: Mapping[str, Executor],
        describe: Callable[[], Awaitable[NodeDescription]],
        node_addr: str,
        on_node: Callable[[Welcome | NodeChanged], None],
        now: Callable[[], datetime],
        rng: random.Random,
        database: Database | None = None,
        sealer: Sealer | None = None,
        timing: SessionTiming = USUAL,
        on_ingress: Callable[[Ingress], None] = lambda _: None,
    ) -> None:
        self._node_id = node_id
        self._node_addr = node_addr
        self._dial = dial
        self._describe = describe
        self._on_node = on_node
        self._on_ingress = on_ingress
        self._trouble = ""
        self._complaints: set[asyncio.Task[None]] = set()
        self._rng = rng
        self._timing = timing
        self._executors = executors
        if database is None and sealer is None:
            sealer = KeyFile(data_dir / KEY_FILE)
        self._database = database or SqliteDatabase(data_dir / DATABASE)
        self._description = NodeDescription()
        self._outbox = Outbox()
        self._worker = Worker(
            database=self._database,
            vault=Vault(self._database, sealer),
            executors=executors,
            facts=self._facts,
            outbox=self._outbox,
            now=now,
            heartbeat_period_s=lambda: self._period_s,
        )
        self._logs = LogSource(self.tasks, self._worker.executor_of, self._facts, now)
        self._main: asyncio.Task[None] | None = None
        self._session: Session | None = None
        self._talk: asyncio.Task[None] | None = None
        self._look_again = asyncio.Event()
        self._restored = False
        self._stopping = False
        self._welcomed_s = 0.0
        self._period_s = 1.0
        self.session_up = False

    async def restore(self) -> None:
        """Take up the tasks of before; ``run`` does it first. Raises ``SwarmopsError``."""
        if not self._restored:
            self._description = await self._describe()
            await self._worker.restore()
            self._restored = True

    async def run(self) -> None:
        """Run tasks and keep a session until ``stop``. Raises ``SwarmopsError`` as ``restore``."""
        await self.restore()
        if self._stopping:
            return
        self._main = asyncio.create_task(self._keep_sessions(), name="agent sessions")
        watch = asyncio.create_task(self._watch_machine(), name="agent description")
        try:
            await asyncio.wait([self._main, watch], return_when=asyncio.FIRST_COMPLETED)
        finally:
            for part in (self._main, watch):
                part.cancel()
            await asyncio.wait([self._main, watch])
        for part in (self._main, watch):
            if not part.cancelled():
                part.result()

    async def stop(self, back_within_s: float = 0.0) -> None:
        """Close the session and end ``run``; the tasks run on, and are found again.

        ``back_within_s``: for how long the managers shall not miss this node (0: as usual).
        """
        if back_within_s and self._session is not None and self.session_up:
            self._stopping = True
            await self._session.take_leave(back_within_s)
        await self._end_sessions()
        await self._worker.leave()

    async def remove_tasks(self) -> None:
        """Close the session, then stop and remove every task and all that was made for it."""
        await self._end_sessions()
        await self.restore()
        await self._worker.remove_all()

    async def close(self) -> None:
        """Let go of the database and the executors."""
        await self._database.close()
        for executor in self._executors.values():
            await executor.close()

    def reconnect(self) -> None:
        """Drop the session, if there is one, and dial again soon."""
        if self._talk is not None:
            self._talk.cancel()

    def look_again(self) -> None:
        """Describe the machine anew soon: something about it has changed."""
        self._look_again.set()

    def tasks(self) -> list[Task]:
        """Return the tasks assigned to this node, with their observed status."""
        return self._worker.tasks()

    def welcomed(self, frame: Welcome | NodeChanged) -> None:
        """Pass on what the manager says of the node (called by the session)."""
        self._period_s = frame.heartbeat_period_s
        if not self.session_up:
            self._welcomed_s = asyncio.get_running_loop().time()
            self.session_up = True
            self._worker.met()
            if self._trouble:
                self.complain(self._trouble)
            log.info("session with a manager", node=self._node_id)
        try:
            self._on_node(frame)
        except Exception:  # the runtime's trouble must not cost the session
            log.exception("what a manager said of this node had no effect")

    def assigned(self, frame: Assignments) -> None:
        """Pass on what the manager wants to run (called by the session)."""
        self._worker.assign(frame)

    def published(self, frame: Ingress) -> None:
        """Pass on what every node publishes (called by the session)."""
        self._on_ingress(frame)

    def complain(self, text: str) -> None:
        """Let the swarm know what this node can't do, now and in each session; "": nothing."""
        self._trouble = text
        if self._session is not None and self.session_up:
            task = asyncio.create_task(self._complain(self._session, text))
            self._complaints.add(task)
            task.add_done_callback(self._complaints.discard)

    async def _complain(self, session: Session, text: str) -> None:
        with contextlib.suppress(ConnectionError):  # the next session says it
            await session.complain(text)

    async def _end_sessions(self) -> None:
        self._stopping = True
        if self._main is not None:
            self._main.cancel()
            await asyncio.wait([self._main])

    async def _keep_sessions(self) -> None:
        backoff_s = 0.0
        while not self._stopping:
            self._talk = asyncio.create_task(self._one_session(), name="agent session")
            try:
                await asyncio.wait([self._talk])
            except asyncio.CancelledError:
                self._talk.cancel()
                await asyncio.wait([self._talk])
                self.session_up = False
                raise
            if self._stood_s() > max(backoff_s, self._timing.steady_s):
                backoff_s = 0.0
            if self.session_up:
                self._worker.parted()
            self.session_up = False
            backoff_s = next_backoff_s(backoff_s, self._timing)
            await asyncio.sleep(self._rng.uniform(0, backoff_s))

    def _stood_s(self) -> float:
        return asyncio.get_running_loop().time() - self._welcomed_s if self.session_up else 0.0

    async def _one_session(self) -> None:
        """Dial and talk until that fails, which it always does in the end."""
        try:
            async with asyncio.timeout(dial_patience_s(self._period_s, self._timing)):
                channel = await self._dial()
            session = Session(channel, self, self._outbox, self._timing, self._rng, logs=self._logs)
            self._session = session
            self._worker.report_all()
            await session.run(
                Hello(
                    description=self._description,
                    session_id=new_id(self._rng),
                    task_ids=[task.id for task in self._worker.tasks()],
                )
            )
        except (OSError, TimeoutError, SwarmopsError) as error:
            log.info("no session with a manager", reason=str(error) or "no answer in time")
        except Exception:  # the next session may do better than this one
            log.exception("a session failed")
        finally:
            self._session = None

    async def _watch_machine(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._timing.describe_s):
                    await self._look_again.wait()
            self._look_again.clear()
            try:
                description = await self._describe()
            except Exception:  # an executor's bug costs its news, not the node
                log.exception("this machine can't be described now")
                continue
            if description == self._description:
                continue
            self._description = description
            if self._session is not None and self.session_up:
                try:
                    await self._session.describe(description)
                except ConnectionError:
                    continue  # the next session's hello says it

    def _facts(self) -> NodeFacts:
        platform = given(self._description.platform, Platform())
        hostname = self._description.hostname
        return NodeFacts(
            id=self._node_id,
            hostname="" if hostname is UNSET else hostname,
            addr=self._node_addr,
            os=given(platform.os, "linux"),
            architecture=given(platform.architecture, ""),
        )
