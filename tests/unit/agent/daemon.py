"""A node daemon in little, for tests that kill it: an agent whose manager lives in its process.

Run with a node's data folder, the engine's address, and a file with the assigned tasks (msgpack).
Prints one line for each status that it reports: task, state, PID, exit code, error.
"""

from __future__ import annotations

import asyncio
import random
import sys
from pathlib import Path

import msgspec

from swarmops.agent.agent import Agent
from swarmops.agent.describe import Describe
from swarmops.agent.executors import ExecutorContext, load_executors
from swarmops.model.base import given
from swarmops.model.session import Statuses
from swarmops.model.task import ContainerStatus, Task
from tests.unit.agent.conftest import now
from tests.unit.agent.fake_manager import FakeManager


async def main(data_dir: Path, docker_host: str, tasks: list[Task]) -> None:
    """Run until killed."""
    manager = FakeManager(*tasks)
    context = ExecutorContext(node_id="node1", data_dir=data_dir, docker_host=docker_host)
    executors = load_executors(context)
    agent = Agent(
        node_id="node1",
        dial=manager.dial,
        data_dir=data_dir,
        executors=executors,
        describe=Describe(hostname="host1", executors=executors),
        node_addr="10.0.0.1",
        on_node=lambda _: None,
        now=now,
        rng=random.SystemRandom(),
    )
    running = asyncio.create_task(agent.run())
    while not running.done():
        await manager.until(lambda: manager.frames, 3600)
        for frame in manager.frames:
            if isinstance(frame, Statuses):
                tell(frame)
        manager.frames.clear()
    running.result()


def tell(frame: Statuses) -> None:
    """Print the statuses."""
    for each in frame.statuses:
        container = given(each.status.container_status, ContainerStatus())
        fields = [
            each.task_id,
            each.status.state.value,
            str(given(container.pid, "-")),
            str(given(container.exit_code, "-")),
            str(given(each.status.err, "")),
        ]
        print("|".join(fields), flush=True)  # noqa: T201 - this is what it is for


if __name__ == "__main__":
    assigned = msgspec.msgpack.decode(Path(sys.argv[3]).read_bytes(), type=list[Task])
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2], assigned))
