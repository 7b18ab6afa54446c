"""A whole agent between a fake manager and an executor of thin air, and what tests ask of it."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable

import pytest

from swarmops.agent import runner
from swarmops.agent.agent import Agent
from swarmops.agent.executors.base import TemporaryError
from swarmops.agent.records import MemoryDatabase
from swarmops.agent.session import SessionTiming
from swarmops.agent.vault import Sealer
from swarmops.model.node import NodeDescription
from swarmops.model.session import NodeChanged, Welcome
from swarmops.model.task import Task
from tests.unit.agent.conftest import now
from tests.unit.agent.fake_manager import SOMEWHERE, AirExecutor, FakeManager, describe

TIMING = SessionTiming(resend_s=0.1, describe_s=0.05, welcome_timeout_s=0.5, steady_s=0.05)


class Draws(random.Random):
    """Draws that remember how long a pause before the next session could have been."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        self.pauses: list[float] = []

    def uniform(self, a: float, b: float) -> float:
        """Draw a pause in seconds; before a session it is any from none at all."""
        if a == 0:
            self.pauses.append(b)
        return super().uniform(a, b)


class Bench:
    """One agent with its manager and executor; ``again`` starts the daemon anew."""

    def __init__(self) -> None:
        self.manager = FakeManager()
        self.executor = AirExecutor()
        self.newer: dict[str, AirExecutor] = {}
        self.database = MemoryDatabase()
        self.sealer: Sealer | None = None
        self.heard: list[Welcome | NodeChanged] = []
        self.rng = Draws(1)
        self.timing = TIMING
        self.machine: NodeDescription | None = None
        self.looks = 0
        self.unclear = False
        self.agent: Agent | None = None
        self.running: asyncio.Task[None] | None = None

    async def start(self, *tasks: Task) -> None:
        """Start the agent with these tasks assigned, and wait for its session."""
        self.manager.tasks = list(tasks)
        sessions = len(self.manager.hellos)
        self.agent = Agent(
            node_id="node1",
            dial=self.manager.dial,
            data_dir=SOMEWHERE,
            executors={**self.newer, "air": self.executor},
            describe=self._describe,
            node_addr="10.0.0.1",
            on_node=self.heard.append,
            now=now,
            rng=self.rng,
            database=self.database,
            sealer=self.sealer,
            timing=self.timing,
        )
        self.running = asyncio.create_task(self.agent.run())
        if self.manager.up:
            await self.manager.until(lambda: len(self.manager.hellos) > sessions)

    async def stop(self) -> None:
        """Stop the daemon; what it ran goes on."""
        if self.agent is not None and self.running is not None:
            await self.agent.stop()
            await self.running
            await self.agent.close()
            self.agent = None

    async def again(self, *tasks: Task) -> None:
        """Restart the daemon."""
        await self.stop()
        await self.start(*tasks)

    def known(self) -> set[str]:
        """Return the tasks in the database."""
        return set(self.database._records)

    def has_had(self, sessions: int) -> bool:
        """Whether the agent has begun so many sessions."""
        return len(self.manager.hellos) >= sessions

    async def _describe(self) -> NodeDescription:
        self.looks += 1
        if self.unclear:
            raise TemporaryError("the engine hung up")
        return self.machine or await describe()


async def until(condition: Callable[[], bool], within_s: float = 60) -> None:
    """Wait for a condition that no frame tells of."""
    async with asyncio.timeout(within_s):
        while not condition():  # noqa: ASYNC110 - nothing sets an event
            await asyncio.sleep(0.01)


@pytest.fixture
async def bench(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Bench]:
    """Return an agent's surroundings; nothing is left of them afterwards."""
    monkeypatch.setattr(runner, "RETRY_S", 0.01)
    made = Bench()
    yield made
    await made.stop()
    await made.manager.stop()
