"""Tasks, nodes and executors for the agent's tests."""

from __future__ import annotations

import os
import random
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from msgspec import UNSET
from msgspec.structs import replace

from swarmops.agent.executors.base import Executor, ExecutorContext, LogRequest
from swarmops.agent.executors.docker import DockerExecutor
from swarmops.agent.executors.podman import PodmanExecutor
from swarmops.agent.executors.process import ProcessExecutor
from swarmops.agent.work import NOTHING_HELD, NodeFacts, Work, make_work
from swarmops.model.ids import new_id
from swarmops.model.service import ContainerSpec, TaskSpec
from swarmops.model.task import Task, TaskInternal, TaskState, TaskStatus
from tests.unit.agent.dockerd import IMAGE, podman
from tests.unit.agent.registry import Registry, serving

FACTS = NodeFacts(id="node1", hostname="host1", addr="10.0.0.1", architecture="x86_64")
_rng = random.SystemRandom()


def now() -> datetime:
    """Return the wall time."""
    return datetime.now(UTC)


def make_task(**container: Any) -> Task:
    """Return an assigned task of the service ``web``, slot 2."""
    slot = container.pop("slot", 2)
    named = container.pop("named", True)
    desired = container.pop("desired_state", TaskState.RUNNING)
    internal = TaskInternal(service_name="web", ports=container.pop("ports", []))
    around = {
        name: container.pop(name, UNSET) for name in ("resources", "log_driver", "restart_policy")
    }
    return Task(
        id=new_id(_rng),
        service_id="service1",
        slot=slot,
        node_id="node1",
        spec=TaskSpec(container_spec=ContainerSpec(**({"image": "host"} | container)), **around),
        status=TaskStatus(state=TaskState.ASSIGNED),
        desired_state=desired,
        internal=internal if named else UNSET,
    )


@pytest.fixture
def context(tmp_path: Path) -> Iterator[ExecutorContext]:
    """Return a node's own folders for executors, one of them in memory."""
    with tempfile.TemporaryDirectory(prefix="swarmops-test-", dir="/dev/shm") as memory:
        Path(memory).chmod(0o711)  # as /run is, which other users pass through
        yield ExecutorContext(
            node_id="node1", data_dir=tmp_path / "worker", memory_base=Path(memory)
        )


@pytest.fixture
def work() -> Callable[..., Work]:
    """Return a maker of work from the fields of a ContainerSpec."""
    return lambda **container: make_work(make_task(**container), FACTS)


@pytest.fixture(scope="session")
def registry() -> Iterator[Registry]:
    """Return a registry of images that lives as long as the tests."""
    with serving() as made:
        yield made


@pytest.fixture(scope="session")
def podman_address(registry: Registry) -> Iterator[str]:
    """Return the address of a Podman that lives as long as the tests."""
    if os.geteuid() != 0 or shutil.which("podman") is None:
        pytest.skip("this needs root and an installed Podman")
    with podman(Path(tempfile.mkdtemp(prefix="podman")), registry.address) as address:
        yield address


class Bench:
    """One kind of executor on one node, and the image that its tasks need."""

    executor: Executor

    def __init__(
        self, kind: Callable[[ExecutorContext], Executor], context: ExecutorContext, image: str
    ) -> None:
        self.kind = kind
        self.context = context
        self.image = image
        self.made: list[Work] = []
        self.opened: list[Executor] = []

    async def another(self) -> Executor:
        """Return a second executor for the same node: the daemon was started again."""
        executor = self.kind(self.context)
        await executor.describe()
        self.opened.append(executor)
        return executor

    def work(self, script: str, **container: Any) -> Work:
        """Return work that runs a shell script; ``held`` are the node's secrets and configs."""
        held = container.pop("held", NOTHING_HELD)
        task = make_task(**({"image": self.image, "command": ["sh", "-c", script]} | container))
        facts = replace(FACTS, id=self.context.node_id)
        self.made.append(make_work(task, facts, held))
        return self.made[-1]

    async def started(self, script: str, **container: Any) -> Work:
        """Return work that was prepared and started."""
        work = self.work(script, **container)
        await self.executor.prepare(work)
        await self.executor.start(work)
        return work

    async def lines(self, work: Work, request: LogRequest = LogRequest()) -> list[tuple[str, str]]:  # noqa: B008 - frozen
        """Return the kept output as pairs of stream and line."""
        return [
            (line.stream, line.data.decode()) async for line in self.executor.logs(work, request)
        ]


ENGINES: dict[str, Callable[[ExecutorContext], Executor]] = {
    "docker": DockerExecutor,
    "podman": PodmanExecutor,
}


def engine_bench(kind: str, request: pytest.FixtureRequest, context: ExecutorContext) -> Bench:
    """Return a bench for one of the container engines, as a node of its own there."""
    fixture = "engine_address" if kind == "docker" else "podman_address"
    address = request.getfixturevalue(fixture)
    context = replace(context, docker_host=address, podman_host=address, node_id=new_id(_rng))
    return Bench(ENGINES[kind], context, IMAGE)


@pytest.fixture(
    params=["process", *(pytest.param(kind, marks=pytest.mark.root) for kind in ENGINES)]
)
async def bench(request: pytest.FixtureRequest, context: ExecutorContext) -> AsyncIterator[Bench]:
    """Return an executor with what tests need to know of it; each kind in turn."""
    if request.param == "process":
        made = Bench(ProcessExecutor, context, "host")
    else:
        made = engine_bench(request.param, request, context)
    made.executor = await made.another()
    yield made
    for work in made.made:
        await made.executor.remove(work)
    for executor in made.opened:
        await executor.close()


@pytest.fixture(params=ENGINES)
async def containers(
    request: pytest.FixtureRequest, context: ExecutorContext
) -> AsyncIterator[Bench]:
    """Return a bench for each container engine in turn."""
    made = engine_bench(request.param, request, context)
    made.executor = await made.another()
    yield made
    for work in made.made:
        await made.executor.remove(work)
    for executor in made.opened:
        await executor.close()
