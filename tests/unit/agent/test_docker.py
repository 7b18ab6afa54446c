"""What only containers have: images, labels, mounts, an engine that comes and goes."""

from __future__ import annotations

import asyncio
import gc
import json
import tempfile
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from swarmops.agent.executors.base import (
    Executor,
    ExecutorContext,
    TaskError,
    TemporaryError,
    choose,
)
from swarmops.agent.executors.docker import DockerExecutor
from swarmops.agent.executors.docker_config import container_config
from swarmops.agent.executors.docker_engine import image_name
from swarmops.agent.executors.process import ProcessExecutor
from swarmops.agent.work import Work, make_work
from swarmops.model.service import (
    DNSConfig,
    Driver,
    Limit,
    Mount,
    ResourceRequirements,
    Resources,
    Ulimit,
)
from tests.unit.agent.conftest import FACTS, make_task
from tests.unit.agent.dockerd import IMAGE, docker, engine

MakeWork = Callable[..., Work]


@pytest.fixture
async def executor(context: ExecutorContext, engine_address: str) -> AsyncIterator[DockerExecutor]:
    """Return an executor whose containers are all gone afterwards."""
    made = DockerExecutor(replace(context, docker_host=engine_address))
    await made.describe()
    yield made
    await made.reattach([])
    await made.close()


async def test_a_node_without_an_engine_has_no_container_executor(context: ExecutorContext):
    """No engine: not described, nothing taken, and the reason says what to do."""
    executor = DockerExecutor(replace(context, docker_host="unix:///nonexistent"))
    assert await executor.describe() == []
    await executor.reattach([])
    with pytest.raises(TaskError, match=r'no executor of this node runs the image "web:1"'):
        choose([ProcessExecutor(context), executor], "web:1")
    await executor.close()


@pytest.mark.root
async def test_an_engine_is_described_with_its_drivers(executor: DockerExecutor):
    """The scheduler looks there for what a task's volumes and log need."""
    plugins = {(plugin.type, plugin.name) for plugin in await executor.describe()}
    assert {("Executor", "docker"), ("Volume", "local"), ("Log", "json-file")} <= plugins


@pytest.mark.root
async def test_images_choose_the_executor(executor: DockerExecutor, context: ExecutorContext):
    """`host` is for plain processes, everything else for containers."""
    both: list[Executor] = [ProcessExecutor(context), executor]
    assert choose(both, "host").name == "process"
    assert choose(both, IMAGE).name == "docker"


@pytest.mark.root
async def test_a_missing_image_is_named(executor: DockerExecutor, work: MakeWork):
    """No such image, and why pulling it failed: the sentence begins with Docker's words."""
    with pytest.raises(
        TaskError, match=r"^No such image: nowhere\.invalid/no:latest \(pulling it fail"
    ):
        await executor.prepare(work(image="nowhere.invalid/no"))


@pytest.mark.root
async def test_a_command_that_is_missing_in_the_image_fails_the_start(
    executor: DockerExecutor, work: MakeWork
):
    """The engine's own reason is the task's error, as in Docker."""
    task = work(image=IMAGE, command=["nothing-like-it"])
    await executor.prepare(task)
    with pytest.raises(TaskError, match=r"starting container failed: .*nothing-like-it"):
        await executor.start(task)


@pytest.mark.root
async def test_containers_are_named_and_labelled_as_dockers(
    executor: DockerExecutor, work: MakeWork, engine_address: str
):
    """`docker ps` and its filters find a task as in a Docker swarm."""
    task = work(
        image=IMAGE, command=["sleep", "60"], labels={"mine": "1"}, hostname="h{{.Task.Slot}}"
    )
    await executor.prepare(task)
    (found,) = json.loads(docker(engine_address, "inspect", f"web.2.{task.id}"))
    assert found["Config"]["Hostname"] == "h2"
    assert found["Config"]["Labels"] == {
        "mine": "1",
        "com.docker.swarm.node.id": "node1",
        "com.docker.swarm.service.id": "service1",
        "com.docker.swarm.service.name": "web",
        "com.docker.swarm.task": "",
        "com.docker.swarm.task.id": task.id,
        "com.docker.swarm.task.name": f"web.2.{task.id}",
    }


@pytest.mark.root
async def test_removing_removes_the_container(
    executor: DockerExecutor, work: MakeWork, engine_address: str
):
    """Nothing of the task is left in the engine."""
    task = work(image=IMAGE, command=["sleep", "60"])
    await executor.prepare(task)
    await executor.start(task)
    await executor.remove(task)
    assert task.id not in docker(engine_address, "ps", "--all", "--no-trunc", "--format={{.Names}}")


@pytest.mark.root
async def test_other_containers_are_nobodys_business(
    executor: DockerExecutor, engine_address: str, context: ExecutorContext
):
    """Clearing away touches neither another node's containers nor anybody else's."""
    other = DockerExecutor(replace(context, docker_host=engine_address, node_id="node2"))
    await other.describe()
    theirs = make_work(make_task(image=IMAGE, command=["true"]), replace(FACTS, id="node2"))
    await other.prepare(theirs)
    docker(engine_address, "create", "--name=mine", IMAGE, "true")
    await executor.reattach([])
    names = docker(engine_address, "ps", "--all", "--no-trunc", "--format={{.Names}}")
    assert {"mine", theirs.name} <= set(names.split())
    docker(engine_address, "rm", "mine")
    await other.remove(theirs)
    await other.close()


@pytest.mark.slow
@pytest.mark.root
@pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")
async def test_an_engine_that_restarts_is_found_again(context: ExecutorContext, work: MakeWork):
    """While the engine is away waiting is temporary trouble; what ended is known afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="dockerd"))
    executor = DockerExecutor(replace(context, docker_host=f"unix://{folder}/docker.sock"))
    task = work(image=IMAGE, command=["sh", "-c", "trap exit TERM; while :; do sleep 0.1; done"])
    with engine(folder):
        await executor.describe()
        await executor.prepare(task)
        await executor.start(task)
        waiting = asyncio.create_task(executor.wait(task))
        await asyncio.wait([waiting], timeout=0.2)
    with pytest.raises(TemporaryError, match="the container engine does not answer"):
        await asyncio.wait_for(waiting, 20)
    assert await executor.describe() == []
    await executor.close()
    gc.collect()  # the SDK leaves sockets that could not connect to the collector


def test_everything_that_a_spec_says_reaches_the_engine():
    """The container's configuration has each field of the spec in the engine's place."""
    task = make_task(
        image="web:1",
        command=["serve"],
        args=["--fast"],
        env=["A=1"],
        dir="/srv",
        user="www:web",
        groups=["adm"],
        tty=True,
        init=True,
        read_only=True,
        stop_signal="SIGQUIT",
        stop_grace_period=7_500_000_000,
        mounts=[Mount(type="bind", source="/data/{{.Task.Slot}}", target="/data", read_only=True)],
        hosts=["10.0.0.9 db"],
        dns_config=DNSConfig(nameservers=["10.0.0.53"], search=["example"]),
        sysctls={"net.core.somaxconn": "1024"},
        capability_add=["CAP_NET_ADMIN"],
        capability_drop=["ALL"],
        ulimits=[Ulimit(name="nofile", soft=10, hard=20)],
        privileges={"NoNewPrivileges": True},
    )
    resources = ResourceRequirements(
        limits=Limit(nano_cpus=5, memory_bytes=6, pids=7), reservations=Resources(memory_bytes=4)
    )
    spec = replace(
        task.spec, resources=resources, log_driver=Driver(name="local", options={"max-size": "1m"})
    )
    config = container_config(make_work(replace(task, spec=spec), FACTS))
    host: dict[str, Any] = config.pop("HostConfig")
    assert "A=1" in config.pop("Env")
    assert config.pop("Labels")["com.docker.swarm.task.id"] == task.id
    assert config == {
        "Image": "web:1",
        "Entrypoint": ["serve"],
        "Cmd": ["--fast"],
        "WorkingDir": "/srv",
        "User": "www:web",
        "Tty": True,
        "StopSignal": "SIGQUIT",
        "StopTimeout": 8,
    }
    assert host == {
        "Init": True,
        "ReadonlyRootfs": True,
        "Mounts": [{"Type": "bind", "Source": "/data/2", "Target": "/data", "ReadOnly": True}],
        "GroupAdd": ["adm"],
        "CapAdd": ["CAP_NET_ADMIN"],
        "CapDrop": ["ALL"],
        "Sysctls": {"net.core.somaxconn": "1024"},
        "Ulimits": [{"Name": "nofile", "Soft": 10, "Hard": 20}],
        "ExtraHosts": ["db:10.0.0.9"],
        "Dns": ["10.0.0.53"],
        "DnsSearch": ["example"],
        "SecurityOpt": ["no-new-privileges"],
        "NanoCpus": 5,
        "Memory": 6,
        "MemoryReservation": 4,
        "PidsLimit": 7,
        "LogConfig": {"Type": "local", "Config": {"max-size": "1m"}},
    }


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        ("busybox", "busybox:latest"),
        ("busybox:1", "busybox:1"),
        ("reg:5000/a/b", "reg:5000/a/b:latest"),
        ("reg:5000/a/b:2", "reg:5000/a/b:2"),
        ("a:1@sha256:ff", "a:1@sha256:ff"),
    ],
)
def test_an_images_name_is_completed_as_docker_does(image: str, expected: str):
    """A registry's port is no tag, no tag is the latest, a digest stands for the tag."""
    assert image_name(image) == expected
