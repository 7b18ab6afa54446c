"""Real daemons, killed with -9: the tasks run on, are found again, and their end is told."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import NamedTuple

import msgspec
import pytest

from swarmops.agent.executors import ExecutorContext
from swarmops.model.service import Mount
from swarmops.model.task import Task
from tests.unit.agent.conftest import make_task
from tests.unit.agent.dockerd import IMAGE

ROOT = Path(__file__).parents[3]


class Told(NamedTuple):
    """A status as the daemon printed it."""

    task_id: str
    state: str
    pid: str
    exit_code: str
    err: str


class Node:
    """One node's daemon, again and again."""

    def __init__(self, folder: Path, docker_host: str) -> None:
        self.folder = folder
        self.docker_host = docker_host
        self.process: asyncio.subprocess.Process | None = None

    async def start(self, *tasks: Task) -> None:
        """Start the daemon with these tasks assigned."""
        self.folder.mkdir(exist_ok=True)
        assigned = self.folder / "assigned"
        assigned.write_bytes(msgspec.msgpack.encode(list(tasks)))
        self.process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.unit.agent.daemon"),
            *(str(self.folder), self.docker_host, str(assigned)),
            stdout=asyncio.subprocess.PIPE,
            cwd=ROOT,
        )

    async def told(self, task: Task, state: str) -> Told:
        """Wait until the daemon reports the task in the state."""
        assert self.process is not None
        assert self.process.stdout is not None
        async with asyncio.timeout(60):
            async for line in self.process.stdout:
                fields = line.decode().rstrip("\n").split("|")
                if len(fields) == len(Told._fields):
                    told = Told(*fields)
                    if told.task_id == task.id:
                        assert told.state == state or not state_is_final(told.state), told
                        if told.state == state:
                            return told
        raise AssertionError(f"the daemon never told of {state}")

    async def kill(self) -> None:
        """Kill the daemon as kill -9 does."""
        assert self.process is not None
        if self.process.returncode is None:
            self.process.kill()
        await self.process.communicate()


def state_is_final(state: str) -> bool:
    """Whether a task leaves the state no more."""
    return state in ("complete", "failed", "rejected", "shutdown")


@pytest.fixture(params=["host", pytest.param(IMAGE, marks=pytest.mark.root)])
def image(request: pytest.FixtureRequest) -> str:
    """Return an image of each executor in turn."""
    return str(request.param)


@pytest.fixture
async def node(
    image: str, context: ExecutorContext, request: pytest.FixtureRequest
) -> AsyncIterator[Node]:
    """Return a node with nothing on it, and leave nothing of it."""
    address = (
        "unix:///nonexistent" if image == "host" else request.getfixturevalue("engine_address")
    )
    made = Node(context.data_dir, address)
    yield made
    if made.process is not None:
        await made.kill()
        last = made_empty(made)
        await last.start()
        await gone(made.folder / "tasks")
        await last.kill()


def made_empty(node: Node) -> Node:
    """Return the node's next daemon, to which nothing will be assigned."""
    return Node(node.folder, node.docker_host)


def listed(folder: Path) -> list[Path]:
    """Return what is in the folder, nothing if it isn't there."""
    return list(folder.iterdir()) if folder.is_dir() else []


async def gone(tasks: Path) -> None:
    """Wait until no folder of a task is left."""
    async with asyncio.timeout(60):
        while listed(tasks):  # noqa: ASYNC110 - another process's
            await asyncio.sleep(0.02)


@pytest.mark.slow
async def test_tasks_outlive_a_killed_daemon(node: Node, image: str, tmp_path: Path):
    """Same process, still RUNNING, and later the right exit code: also a code from in between."""
    flag, other_flag = tmp_path / "end", tmp_path / "other"
    folder = str(tmp_path)
    mounts = {} if image == "host" else {"mounts": [bind(folder)]}

    def waiting_for(path: Path, code: int) -> Task:
        script = f"while [ ! -e {path} ]; do sleep 0.05; done; exit {code}"
        return make_task(image=image, command=["sh", "-c", script], **mounts)

    task, other = waiting_for(flag, 7), waiting_for(other_flag, 9)
    await node.start(task)
    before = await node.told(task, "running")
    await node.kill()
    await node.start(task, other)
    assert (await node.told(task, "running")).pid == before.pid
    await node.told(other, "running")
    await node.kill()
    other_flag.touch()
    await node.start(task, other)
    after = await node.told(other, "failed")
    assert (after.exit_code, after.err) == ("9", "task: non-zero exit (9)")
    flag.touch()
    after = await node.told(task, "failed")
    assert (after.exit_code, after.err) == ("7", "task: non-zero exit (7)")


@pytest.mark.slow
async def test_a_task_is_started_once_however_often_the_daemon_dies(
    node: Node, image: str, tmp_path: Path
):
    """Killed at any moment of a start, the daemon never starts the task a second time."""
    count = tmp_path / "starts"
    mounts = {} if image == "host" else {"mounts": [bind(str(tmp_path))]}
    task = make_task(
        image=image, command=["sh", "-c", f"echo x >> {count}; exec sleep 60"], **mounts
    )
    for delay_s in (0.25, 0.3, 0.35, 0.4, 0.5):
        await node.start(task)
        await asyncio.sleep(delay_s)  # whatever the daemon has come to by then
        await node.kill()
    await node.start(task)
    await node.told(task, "running")
    async with asyncio.timeout(60):
        while not count.exists():  # noqa: ASYNC110 - another process's
            await asyncio.sleep(0.02)
    assert count.read_text() == "x\n"


def bind(folder: str) -> Mount:
    """Return a mount of a folder at its own place."""
    return Mount(type="bind", source=folder, target=folder)
