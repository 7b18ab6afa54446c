"""The real docker CLI works against the API on a unix socket: what it prints and how it exits."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest
from aiohttp import web
from msgspec.structs import replace

from swarmops.api import make_app
from swarmops.model import defaults
from swarmops.model.ids import new_id
from swarmops.model.node import Node, NodeInternal, NodeState, Role
from swarmops.model.service import Service, ServiceInternal
from swarmops.model.task import Task, TaskInternal, TaskState, TaskStatus
from swarmops.pki.root import new_root
from swarmops.store import Store
from tests.unit.api.fake_node import FakeNode

TIMEOUT_S = 30

pytestmark = pytest.mark.skipif(
    shutil.which("docker") is None, reason="needs the docker CLI: apt-get install docker-cli"
)


class Cli:
    """Runs ``docker -H unix://…`` against a fake node."""

    def __init__(self, node: FakeNode, socket: Path, config: Path) -> None:
        self.node = node
        self._command = ("docker", "--config", str(config), "-H", f"unix://{socket}")

    async def run(self, line: str) -> tuple[int, str]:
        """Run a docker command; return its exit code and all that it printed."""
        process = await asyncio.create_subprocess_exec(
            *self._command,
            *line.split(),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        try:
            printed, _ = await asyncio.wait_for(process.communicate(), TIMEOUT_S)
        except TimeoutError:
            process.kill()
            await process.wait()
            raise
        assert process.returncode is not None
        return process.returncode, printed.decode()

    async def __call__(self, line: str) -> str:
        """Run a docker command that must succeed; return what it printed."""
        code, printed = await self.run(line)
        assert code == 0, printed
        return printed

    async def refused(self, line: str) -> str:
        """Run a docker command that must fail; return the daemon's message."""
        code, printed = await self.run(line)
        assert code == 1, printed
        return printed.strip().removeprefix("Error response from daemon: ")


@pytest.fixture
async def docker(tmp_path: Path) -> AsyncIterator[Cli]:
    """Serve a node in no swarm on a unix socket."""
    node = FakeNode(new_root(datetime.now(UTC)).cert_pem)
    runner = web.AppRunner(make_app(node), access_log=None, shutdown_timeout=1)
    await runner.setup()
    socket = tmp_path / "api.sock"
    await web.UnixSite(runner, socket).start()
    yield Cli(node, socket, tmp_path / "config")
    await runner.cleanup()


@pytest.fixture
async def swarm(docker: Cli) -> Cli:
    """Serve the only manager of a swarm."""
    await docker("swarm init --advertise-addr 10.0.0.1")
    return docker


@asynccontextmanager
async def orchestrated(node: FakeNode) -> AsyncIterator[None]:
    """Keep a running task in each slot of each service, as the manager's loops do."""
    store = node.store
    assert store is not None
    with store.watch("services") as watch:
        reconciling = asyncio.ensure_future(_reconcile(node, store, watch))
        try:
            yield
        finally:
            reconciling.cancel()
            await asyncio.gather(reconciling, return_exceptions=True)


async def _reconcile(node: FakeNode, store: Store, watch: object) -> None:
    while True:
        for service in list(store.services):
            await node.put(*_missing_tasks(node, store, service))
            for task in list(store.tasks.by_service(service.id)):
                if not _wanted(task, service) and task.desired_state is TaskState.RUNNING:
                    await node.put(replace(task, desired_state=TaskState.SHUTDOWN))
        await watch.next()  # type: ignore[attr-defined]


def _version(service: Service) -> int:
    assert isinstance(service.internal, ServiceInternal)
    return service.internal.spec_version


def _wanted(task: Task, service: Service) -> bool:
    in_range = task.slot in range(1, defaults.replicas(service.spec) + 1)
    live = task.desired_state is TaskState.RUNNING
    return in_range and live and task.spec == defaults.task_spec(service.spec)


def _missing_tasks(node: FakeNode, store: Store, service: Service) -> list[Task]:
    good = {t.slot for t in store.tasks.by_service(service.id) if _wanted(t, service)}
    return [
        Task(
            id=new_id(node.rng),
            spec=defaults.task_spec(service.spec),
            service_id=service.id,
            slot=slot,
            node_id=node.node_id,
            status=TaskStatus(timestamp=node.now(), state=TaskState.RUNNING, message="started"),
            internal=TaskInternal(spec_version=_version(service), service_name="web"),
        )
        for slot in range(1, defaults.replicas(service.spec) + 1)
        if slot not in good
    ]


def rows(table: str) -> list[list[str]]:
    """Return a printed table's rows without its head, in columns."""
    return [re.split(r"\s{2,}", line.strip()) for line in table.strip().splitlines()[1:]]


async def test_version_and_info(docker: Cli):
    """They work in no swarm; the CLI speaks its newest version."""
    version = json.loads(await docker("version --format json"))
    assert version["Client"]["ApiVersion"] == version["Server"]["ApiVersion"] == "1.50"
    assert "Swarm: inactive" in await docker("info")


async def test_a_node_in_no_swarm_says_so(docker: Cli):
    """Every swarm command gets the same advice."""
    advice = (
        'This node is not a swarm manager. Use "docker swarm init" or "docker swarm join" to '
        "connect this node to swarm and try again."
    )
    for line in ("node ls", "service ls", "service create -d host x", "swarm join-token worker"):
        assert await docker.refused(line) == advice
    assert await docker.refused("swarm leave") == "This node is not part of a swarm"


async def test_init_tokens_settings_and_leave(docker: Cli):
    """The life of a one-node swarm."""
    printed = await docker("swarm init --advertise-addr 10.0.0.1")
    assert "is now a manager" in printed
    worker = await docker("swarm join-token -q worker")
    assert f"docker swarm join --token {worker.strip()} 10.0.0.1:2377" in printed
    manager = await docker("swarm join-token -q manager")
    assert await docker("swarm join-token -q --rotate manager") != manager
    assert await docker("swarm join-token -q worker") == worker
    assert await docker("swarm update --task-history-limit 7 --dispatcher-heartbeat 6s")
    info = await docker("info")
    assert "Task History Retention Limit: 7" in info
    assert "Is Manager: true" in info
    assert "BEGIN CERTIFICATE" in await docker("swarm ca")
    assert "already part of a swarm" in await docker.refused("swarm init")
    assert "Removing the last manager erases all" in await docker.refused("swarm leave")
    assert await docker("swarm leave --force") == "Node left the swarm.\n"
    assert "Swarm: inactive" in await docker("info")


async def test_join_makes_a_worker_that_refers_to_managers(docker: Cli):
    """The CLI reads from /info what the node became."""
    printed = await docker("swarm join --token SWMTKN-1-a-b 10.0.0.1:2377")
    assert printed == "This node joined a swarm as a worker.\n"
    assert "Worker nodes can't be used to view or modify cluster state" in await docker.refused(
        "node ls"
    )
    assert await docker("swarm leave") == "Node left the swarm.\n"


async def test_nodes(swarm: Cli):
    """List, inspect, change, promote, demote and remove."""
    node = swarm.node
    await node.add_node("w1")
    table = sorted(rows(await swarm("node ls")), key=lambda row: row[1])
    assert [row[1:] for row in table] == [
        ["a1", "Ready", "Active", "Leader", "0.1.0"],
        ["w1", "Ready", "Active", "0.1.0"],
    ]
    assert table[0][0] == f"{node.node_id} *"
    assert "Leader:\t\tYes" in await swarm("node inspect --pretty self")
    assert rows(await swarm("node ps w1")) == []
    await swarm("node update --availability drain --label-add disk=ssd w1")
    spec = json.loads(await swarm("node inspect w1"))[0]["Spec"]
    assert spec == {"Labels": {"disk": "ssd"}, "Role": "worker", "Availability": "drain"}
    assert await swarm("node promote w1") == "Node w1 promoted to a manager in the swarm.\n"
    assert "is already a manager" in await swarm("node promote w1")
    assert await swarm("node demote w1") == "Manager w1 demoted in the swarm.\n"
    assert "attempting to demote the last manager" in await swarm.refused("node demote a1")
    assert "is not down and can't be removed" in await swarm.refused("node rm w1")
    await _down(node, "w1")
    assert await swarm("node rm w1") == "w1\n"
    assert "must be demoted to worker before removal" in await swarm.refused("node rm --force a1")
    assert "node w1 not found" in await swarm.refused("node inspect w1")


async def _down(node: FakeNode, hostname: str) -> None:
    store = node.store
    assert store is not None
    (stored,) = store.nodes.by_hostname(hostname)
    worker: Node = replace(
        stored,
        status=replace(stored.status, state=NodeState.DOWN),
        internal=NodeInternal(role=Role.WORKER),
    )
    await node.put(worker)


async def test_services_detached(swarm: Cli):
    """Create, look, scale, update, roll back and remove, without waiting for tasks."""
    printed = await swarm(
        "service create -d --name web --replicas 2 --publish 8088:80 "
        "--constraint node.role==manager host python3 -m http.server"
    )
    assert re.fullmatch(r"[0-9a-z]{25}\n", printed)
    assert [row[1:] for row in rows(await swarm("service ls"))] == [
        ["web", "replicated", "0/2", "host", "*:8088->80/tcp"]
    ]
    assert await swarm("service scale -d web=3") == "web scaled to 3\n"
    await swarm("service update -d --no-resolve-image --image busybox:1 --env-add A=b web")
    shown = json.loads(await swarm("service inspect web"))[0]
    container = shown["Spec"]["TaskTemplate"]["ContainerSpec"]
    assert (container["Image"], container["Env"]) == ("busybox:1", ["A=b"])
    assert shown["PreviousSpec"]["Mode"]["Replicated"]["Replicas"] == 3
    await swarm("service rollback -d web")
    assert "Image:\t\thost" in await swarm("service inspect --pretty web")
    assert await swarm("inspect web --format {{.Spec.Name}}") == "web\n"
    assert "already in use by service 'web'" in await swarm.refused(
        "service create -d --name two --publish 8088:80 host x"
    )
    assert "service web already exists" in await swarm.refused("service create -d --name web host")
    assert await swarm("service rm web") == "web\n"
    assert rows(await swarm("service ls")) == []
    assert "service web not found" in await swarm.refused("service rm web")


async def test_services_with_progress(swarm: Cli):
    """Not detached, the CLI waits until tasks run, and ends well."""
    quick = "--update-monitor 100ms"
    async with orchestrated(swarm.node):
        printed = await swarm(f"service create --name web --replicas 2 {quick} host sleep 9")
        assert "verify: Service" in printed
        assert "converged" in printed
        assert [row[3] for row in rows(await swarm("service ls"))] == ["2/2"]
        assert "converged" in await swarm("service scale web=4")
        assert "converged" in await swarm("service update --env-add A=b web")
        running = rows(await swarm("service ps --filter desired-state=running web"))
        assert sorted((row[1], row[3], row[4]) for row in running) == [
            (f"web.{slot}", "a1", "Running") for slot in (1, 2, 3, 4)
        ]
        assert "converged" in await swarm("service rollback web")


async def test_secrets_and_configs(swarm: Cli, tmp_path: Path):
    """Create, use, refuse to remove, remove."""
    file = tmp_path / "file"
    file.write_text("hello\n")
    await swarm(f"secret create --label a=b s1 {file}")
    await swarm(f"config create c1 {file}")
    await swarm("service create -d --name web --secret s1 --config c1 busybox:1 sleep 9")
    assert [row[1] for row in rows(await swarm("secret ls"))] == ["s1"]
    assert [row[1] for row in rows(await swarm("config ls"))] == ["c1"]
    assert "hello" in await swarm("config inspect --pretty c1")
    assert "Data" not in await swarm("secret inspect s1")
    assert "secret 's1' is in use by the following service: web" in await swarm.refused(
        "secret rm s1"
    )
    await swarm("service rm web")
    assert await swarm("secret rm s1") == "s1\n"
    assert await swarm("config rm c1") == "c1\n"
