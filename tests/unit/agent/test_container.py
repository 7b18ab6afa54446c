"""Containers are what their spec says, as seen from inside them and by a real engine."""

from __future__ import annotations

import asyncio
import base64
import json
import signal
import socket
import time
import urllib.request
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from docker import APIClient
from msgspec.structs import replace

from swarmops.agent.executors.base import ExecutorContext, LogRequest, TaskError, UnhealthyError
from swarmops.agent.executors.docker import DockerExecutor
from swarmops.agent.executors.docker_config import container_config, port_status
from swarmops.agent.executors.docker_engine import RETRY_S, Engine, _credentials
from swarmops.agent.work import Work
from swarmops.model.service import (
    DNSConfig,
    Driver,
    HealthConfig,
    Limit,
    Mount,
    PortConfig,
    ResourceRequirements,
    Resources,
    TmpfsOptions,
    Ulimit,
)
from swarmops.model.task import Task
from tests.unit.agent.conftest import FACTS, Bench
from tests.unit.agent.dockerd import docker

MakeWork = Callable[..., Work]
MS = 1_000_000
QUICK = {"interval": 100 * MS, "timeout": 5_000 * MS, "retries": 2}


@pytest.fixture
async def executor(context: ExecutorContext, engine_address: str) -> AsyncIterator[DockerExecutor]:
    """Return an executor whose containers are all gone afterwards."""
    made = DockerExecutor(replace(context, docker_host=engine_address))
    await made.describe()
    yield made
    await made.reattach([])
    await made.close()


async def said(executor: DockerExecutor, work: Work) -> list[str]:
    """Run the task to its end and return what it wrote."""
    await executor.prepare(work)
    await executor.start(work)
    await asyncio.wait_for(executor.wait(work), 30)
    return [line.data.decode() async for line in executor.logs(work, LogRequest())]


@pytest.mark.parametrize(
    ("container", "script", "expected"),
    [
        ({"args": ["one", "two"]}, 'echo "$0 $1"', ["one two"]),
        ({"hostname": "h1"}, "hostname", ["h1"]),
        ({"user": "7:8", "groups": ["9"]}, "id -u; id -g; id -G", ["7", "8", "8 9"]),
        ({"dir": "/tmp"}, "pwd", ["/tmp"]),
        ({"init": True}, "cut -d- -f2 /proc/1/comm", ["init"]),
        ({"read_only": True}, "touch /x 2>/dev/null || echo refused", ["refused"]),
        ({"sysctls": {"net.ipv4.ip_unprivileged_port_start": "77"}},
         "cat /proc/sys/net/ipv4/ip_unprivileged_port_start", ["77"]),
        ({"ulimits": [Ulimit(name="nofile", soft=64, hard=128),
                      Ulimit(name="nproc", soft=1024, hard=1024)]},
         "ulimit -Sn; ulimit -Hn", ["64", "128"]),
        ({"hosts": ["10.9.9.9 db"]}, "grep -w db /etc/hosts", ["10.9.9.9\tdb"]),
        ({"dns_config": DNSConfig(nameservers=["10.9.9.53"], search=["example"],
                                  options=["ndots:3"])},
         "grep -v '^#' /etc/resolv.conf | sed '/^$/d' | sort",
         ["nameserver 10.9.9.53", "options ndots:3", "search example"]),
        ({"oom_score_adj": 99}, "cat /proc/self/oom_score_adj", ["99"]),
        ({"capability_drop": ["ALL"]}, "grep CapEff /proc/self/status | tr -d '\\t'",
         ["CapEff:0000000000000000"]),
        ({"capability_drop": ["ALL"], "capability_add": ["CAP_CHOWN"]},
         "grep CapEff /proc/self/status | tr -d '\\t'", ["CapEff:0000000000000001"]),
        ({"privileges": {"NoNewPrivileges": True}},
         "grep NoNewPrivs /proc/self/status | tr -d '\\t'", ["NoNewPrivs:1"]),
        ({"mounts": [Mount(type="tmpfs", target="/mem",
                           tmpfs_options=TmpfsOptions(size_bytes=4096, mode=0o700))]},
         "grep /mem /proc/mounts | grep -o 'tmpfs /mem tmpfs.*size=4k.*mode=700' | cut -c1-10",
         ["tmpfs /mem"]),
        ({"mounts": [Mount(type="volume", source="v{{.Task.Slot}}", target="/v")]},
         "echo kept > /v/f; cat /v/f", ["kept"]),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)  # fmt: skip
@pytest.mark.root
async def test_a_container_is_as_its_spec_says(
    containers: Bench, container: dict[str, Any], script: str, expected: list[str]
):
    """Each field of the spec has its effect inside the container."""
    work = await containers.started(script, **container)
    await asyncio.wait_for(containers.executor.wait(work), 30)
    assert [line for _, line in await containers.lines(work)] == expected


@pytest.mark.root
async def test_a_bind_mount_shows_the_hosts_files(containers: Bench, tmp_path: Path):
    """Read-only is enforced, and a source that isn't there rejects the task."""
    (tmp_path / "f").write_text("here\n")
    mount = Mount(type="bind", source=str(tmp_path), target="/data", read_only=True)
    script = "cat /data/f; touch /data/g 2>/dev/null || echo refused"
    task = await containers.started(script, mounts=[mount])
    await asyncio.wait_for(containers.executor.wait(task), 30)
    assert [line for _, line in await containers.lines(task)] == ["here", "refused"]
    missing = replace(mount, source="/no/such/folder")
    with pytest.raises(TaskError, match="bind source path does not exist: /no/such/folder"):
        await containers.started("true", mounts=[missing])


async def heard(containers: Bench) -> None:
    """Return once all news of the engine come, and nothing but news."""
    await asyncio.wait_for(containers.executor.wait(await containers.started("exit 0")), 30)
    await asyncio.sleep(1.5 * RETRY_S)


@pytest.mark.root
async def test_a_container_is_looked_at_twice_until_it_runs(
    containers: Bench, monkeypatch: pytest.MonkeyPatch
):
    """Whether it is there already, and once it was started; the wait for its end needs no look."""
    executor = containers.executor
    await heard(containers)
    looked: list[str] = []
    inspect = APIClient.inspect_container

    def counted(client: APIClient, container: str) -> Any:
        looked.append(container)
        return inspect(client, container)

    monkeypatch.setattr(APIClient, "inspect_container", counted)
    task = await containers.started("sleep 100")
    assert await executor.healthy(task) is None
    waiting = asyncio.create_task(executor.wait(task))
    await asyncio.sleep(0.2)
    assert looked == [task.name] * 2
    await executor.stop(task, "SIGKILL", 1)
    assert (await asyncio.wait_for(waiting, 30)).code == 137


@pytest.mark.root
async def test_a_container_that_ended_is_not_started_again_by_a_second_attempt(
    containers: Bench, monkeypatch: pytest.MonkeyPatch
):
    """The engine had started it, and its answer was lost."""
    executor = containers.executor
    task = containers.work("echo once")
    await executor.prepare(task)
    start = APIClient.start

    def answer_lost(client: APIClient, container: str) -> None:
        start(client, container)
        client.wait(container)
        raise TimeoutError("no answer")

    with monkeypatch.context() as patch:
        patch.setattr(APIClient, "start", answer_lost)
        patch.setattr(Engine, "wake", lambda *_: None)  # nor is there news
        with pytest.raises(TimeoutError):
            await executor.start(task)
    assert (await executor.start(task)).exit_code == 0
    assert [line for _, line in await containers.lines(task)] == ["once"]


@pytest.mark.root
async def test_a_container_that_somebody_started_by_hand_is_stopped(containers: Bench):
    """A start is no news from the engine."""
    await heard(containers)
    task = containers.work("sleep 100")
    await containers.executor.prepare(task)
    docker(containers.context.docker_host, "start", task.name)
    assert (await containers.executor.stop(task, "SIGTERM", 1)).exit_code == 137


@pytest.mark.root
async def test_limits_reach_the_engine(containers: Bench):
    """CPU, memory, its reservation, processes, the log driver, the stop signal and its grace."""
    task = containers.work(
        "true",
        stop_signal="SIGQUIT",
        stop_grace_period=3_000 * MS,
        resources=ResourceRequirements(
            limits=Limit(nano_cpus=500_000_000, memory_bytes=64 << 20, pids=50),
            reservations=Resources(memory_bytes=32 << 20),
        ),
        log_driver=Driver(name="json-file", options={"max-size": "1m"}),
    )
    await containers.executor.prepare(task)
    (found,) = json.loads(docker(containers.context.docker_host, "inspect", task.name))
    host, config = found["HostConfig"], found["Config"]
    assert (host["NanoCpus"], host["Memory"]) == (500_000_000, 64 << 20)
    assert (host["MemoryReservation"], host["PidsLimit"]) == (32 << 20, 50)
    assert host["LogConfig"]["Type"] == "json-file"
    # Podman's inspection in Docker's form leaves the options out.
    assert host["LogConfig"]["Config"] in ({"max-size": "1m"}, None)
    assert config["StopSignal"] in ("SIGQUIT", str(int(signal.SIGQUIT)))
    assert config["StopTimeout"] == 3


@pytest.mark.root
async def test_health_gates_the_start(containers: Bench):
    """A container is healthy once its test has succeeded, not before."""
    test = HealthConfig(test=["CMD-SHELL", "test -f /ready"], **(QUICK | {"retries": 1000}))
    task = await containers.started("sleep 1; touch /ready; sleep 60", healthcheck=test)
    healthy = asyncio.create_task(containers.executor.healthy(task))
    done, _ = await asyncio.wait([healthy], timeout=0.5)
    assert not done
    assert await asyncio.wait_for(healthy, 20) is None


@pytest.mark.root
async def test_a_container_that_nothing_tests_ran_however_soon_it_ended(containers: Bench):
    """Its end is no failed start: the wait for its end tells of it."""
    task = await containers.started("exit 4")
    end = await asyncio.wait_for(containers.executor.wait(task), 30)
    assert await asyncio.wait_for(containers.executor.healthy(task), 30) is None
    assert (end.code, end.error) == (4, "")


@pytest.mark.root
async def test_an_unhealthy_container_is_told_of_and_runs_on(containers: Bench):
    """In Docker's words; who waited stops it, and then hears how it ended."""
    executor = containers.executor
    test = HealthConfig(test=["CMD", "false"], **QUICK)
    task = await containers.started("trap '' TERM; while :; do sleep 0.1; done", healthcheck=test)
    with pytest.raises(UnhealthyError, match="dockerexec: unhealthy container"):
        await asyncio.wait_for(executor.healthy(task), 30)
    assert (await executor.stop(task, "SIGTERM", 0.1)).exit_code == 137
    end = await asyncio.wait_for(executor.wait(task), 30)
    assert (end.code, end.error) == (137, "")


@pytest.mark.root
async def test_a_container_may_become_unhealthy_later(containers: Bench):
    """The test goes on while the task runs; one that ends earlier ends the wait for health."""
    executor = containers.executor
    test = HealthConfig(test=["CMD-SHELL", "test ! -f /sick"], **QUICK)
    script = "trap 'exit 9' TERM; sleep 1; touch /sick; while :; do sleep 0.1; done"
    task = await containers.started(script, healthcheck=test)
    assert await asyncio.wait_for(executor.healthy(task), 30) is None
    with pytest.raises(UnhealthyError, match="dockerexec: unhealthy container"):
        await asyncio.wait_for(executor.wait(task), 30)
    assert (await executor.stop(task, "SIGTERM", 20)).exit_code == 9
    dead = await containers.started("exit 4", healthcheck=test)
    early = await asyncio.wait_for(executor.healthy(dead), 30)
    assert early is not None
    assert (early.code, early.error) == (4, "")


@pytest.mark.root
async def test_published_ports_lead_into_the_container(containers: Bench):
    """In host mode on the published port; for the mesh on one that the engine chose."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        published = free.getsockname()[1]
    ports = [
        PortConfig(protocol="tcp", target_port=80, published_port=published, publish_mode="host"),
        PortConfig(protocol="tcp", target_port=81, published_port=30_000, publish_mode="ingress"),
    ]
    script = "cd /tmp; echo hello > page; httpd -p 81 -h /tmp; httpd -f -p 80 -h /tmp"
    task = await containers.started(script, ports=ports)
    first, second = (await containers.executor.report(task)).ports
    assert (first.target_port, first.published_port, first.publish_mode) == (80, published, "host")
    assert (second.target_port, second.publish_mode) == (81, "host")
    assert second.published_port not in (0, 81, 30_000)
    for port in (first, second):
        assert await asyncio.to_thread(fetch, port.published_port) == b"hello\n"


def fetch(port: object) -> bytes:
    """Return the page behind a port of this machine, once something answers there."""
    end = time.monotonic() + 30
    while time.monotonic() < end:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/page", timeout=60) as answer:
                return bytes(answer.read())
        except OSError:
            time.sleep(0.05)
    return b""


def test_privileges_become_security_options(work: MakeWork):
    """Docker's forms for AppArmor, seccomp and SELinux."""
    profile = base64.b64encode(b'{"defaultAction":"x"}').decode()
    privileges = {
        "AppArmor": {"Mode": "disabled"},
        "Seccomp": {"Mode": "custom", "Profile": profile},
        "SELinuxContext": {"Disable": False, "User": "u", "Level": "s0"},
    }
    config = container_config(work(image="web:1", privileges=privileges))
    assert config["HostConfig"]["SecurityOpt"] == [
        "apparmor=unconfined",
        'seccomp={"defaultAction":"x"}',
        "label=user:u",
        "label=level:s0",
    ]


def test_cluster_volumes_are_refused(work: MakeWork):
    """What no executor can mount rejects the task."""
    task = work(image="web:1", mounts=[Mount(type="cluster", source="v", target="/v")])
    with pytest.raises(TaskError, match="CSI"):
        container_config(task)


def test_ports_that_are_not_bound_are_not_reported():
    """Nothing is told of a port that leads nowhere."""
    ports = [PortConfig(protocol="udp", target_port=53), PortConfig(target_port=80)]
    bound = {"53/udp": None, "80/tcp": [{"HostIp": "0.0.0.0", "HostPort": "4711"}]}
    assert port_status(ports, bound) == [
        PortConfig(target_port=80, published_port=4711, publish_mode="host")
    ]


def test_registry_credentials_are_read_as_clients_send_them():
    """Base64 of JSON, padded or not; nonsense is refused without being shown."""
    sent = base64.urlsafe_b64encode(b'{"username":"u","password":"p"}').decode()
    assert _credentials(sent) == {"username": "u", "password": "p"}
    assert _credentials(sent.rstrip("=")) == {"username": "u", "password": "p"}
    assert _credentials("") is None
    with pytest.raises(TaskError) as caught:
        _credentials("aHVudGVyMg==")
    assert "hunter2" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_the_task_is_told_its_generic_resources(work: MakeWork):
    """Docker's variables: names joined by commas, counts as numbers."""
    from swarmops.model.service import (
        DiscreteGenericResource,
        GenericResource,
        NamedGenericResource,
    )

    task: Task = work().task
    named = [NamedGenericResource(kind="gpu", value=name) for name in ("a", "b")]
    given = [GenericResource(named_resource_spec=each) for each in named]
    counted = DiscreteGenericResource(kind="Disk", value=3)
    given.append(GenericResource(discrete_resource_spec=counted))
    told = Work(
        task=replace(task, assigned_generic_resources=given),
        node=FACTS,
        container=work().container,
    ).environment
    assert (told["DOCKER_RESOURCE_GPU"], told["DOCKER_RESOURCE_DISK"]) == ("a,b", "3")
