"""Logs over HTTP and through the real docker CLI: frames, what stands before a line, gaps."""

from __future__ import annotations

import asyncio
import shutil
import struct
import time
from collections.abc import AsyncGenerator, Callable, Iterable
from typing import Any

import aiohttp
import msgspec
import pytest
from msgspec import UNSET
from msgspec.structs import replace

from swarmops.api.logs import MULTIPLEXED, NO_STREAM, RAW
from swarmops.model.ids import new_id
from swarmops.model.service import ContainerSpec, Driver, Service, ServiceSpec, TaskSpec
from swarmops.model.session import LogFrame, LogLines, LogQuery, LogRecord, LogsEnd
from swarmops.model.swarm import TaskDefaults
from swarmops.model.task import Task, TaskInternal, TaskState, TaskStatus
from tests.unit.api.conftest import Api
from tests.unit.api.fake_node import FakeNode, NoInsight
from tests.unit.api.test_docker_cli import Cli, docker, swarm  # noqa: F401 - fixtures

SECOND_NS = 1_767_323_045_000_000_000  # 2026-01-02T03:04:05Z
BOTH = "stdout=1&stderr=1"


class FakeInsight(NoInsight):
    """Logs that a test wrote; remembers what was asked."""

    def __init__(self, *records: LogRecord, problems: Iterable[str] = ()) -> None:
        self.records = records
        self.problems = list(problems)
        self.queries: list[LogQuery] = []
        self.selected: Callable[[], Iterable[Task]] = lambda: ()
        self.more: asyncio.Queue[LogRecord] = asyncio.Queue()
        self.ended = asyncio.Event()
        self.given = 0

    @property
    def logs(self) -> FakeInsight:
        """Return itself."""
        return self

    async def read(
        self, selected: Callable[[], Iterable[Task]], query: LogQuery
    ) -> AsyncGenerator[LogFrame, None]:
        """Give the records, then, following, what the test adds."""
        self.queries.append(query)
        self.selected = selected
        try:
            for record in self.records:
                yield LogLines(0, [record])
                self.given += 1
            while query.follow:
                yield LogLines(0, [await self.more.get()])
            yield LogsEnd(0, self.problems)
        finally:
            self.ended.set()


async def service_with_task(
    node: FakeNode, *, tty: bool = False, log_driver: Driver | None = None, **more: Any
) -> Task:
    """Store service web with one running task."""
    container = ContainerSpec(image="host", args=["x"], tty=tty, **more)
    template = TaskSpec(container_spec=container, log_driver=log_driver)
    spec = ServiceSpec(name="web", task_template=template)
    service = Service(id=new_id(node.rng), spec=spec)
    task = Task(
        id=new_id(node.rng),
        spec=template,
        service_id=service.id,
        slot=1,
        node_id=node.node_id,
        status=TaskStatus(state=TaskState.RUNNING),
        internal=TaskInternal(service_name="web"),
    )
    await node.put(service, task)
    return task


@pytest.mark.parametrize("swarms", [False, True], ids=["the service's", "the swarm's"])
async def test_details_have_what_the_log_driver_was_told_to_add(manager: Api, *, swarms: bool):
    """Labels and variables of the container, as Docker's drivers do; none that aren't there."""
    options = {"env": "MINE,HOST,NONE", "labels": "team,other", "max-size": "1m"}
    driver = Driver(name="json-file", options=options)
    if swarms:
        store = manager.node.store
        assert store is not None
        [cluster] = store.clusters
        spec = replace(cluster.spec, task_defaults=TaskDefaults(log_driver=driver))
        await store.modify(store.clusters, cluster.id, lambda old: replace(old, spec=spec))
    task = await service_with_task(
        manager.node,
        log_driver=None if swarms else driver,
        env=["MINE=a b", "OTHER=x", "HOST={{.Node.Hostname}}"],
        labels={"team": "blue", "mine": "x"},
    )
    manager.node.insight = FakeInsight(LogRecord(task.id, 1, SECOND_NS, b"one\n"))
    _, data = await read(manager, f"/services/web/logs?{BOTH}&details=1")
    details = frames(data)[0][1].split()[0].decode()
    assert details.endswith(f"com.docker.swarm.task.id={task.id},team=blue,MINE=a+b")


def frames(data: bytes) -> list[tuple[int, bytes]]:
    """Take a stream apart: which stream, and its payload."""
    found = []
    while data:
        kind, size = struct.unpack(">BxxxI", data[:8])
        found.append((kind, data[8 : 8 + size]))
        data = data[8 + size :]
    return found


async def read(api: Api, path: str) -> tuple[str, bytes]:
    """Return a stream's type and all that it says."""
    async with api.client.get(path) as response:
        assert response.status == 200, await response.text()
        assert response.headers.get("Transfer-Encoding") == "chunked"
        return response.headers["Content-Type"], await response.read()


async def test_each_line_is_a_frame_with_what_was_asked_before_it(manager: Api):
    """Time, then details, then the line; the type of the answer goes by the version."""
    task = await service_with_task(manager.node)
    out = LogRecord(task.id, 1, SECOND_NS + 20_000, b"one\n")
    err = LogRecord(task.id, 2, SECOND_NS, b"two\n")
    manager.node.insight = FakeInsight(out, err)
    kind, data = await read(manager, f"/services/web/logs?{BOTH}")
    assert (kind, frames(data)) == (MULTIPLEXED, [(1, b"one\n"), (2, b"two\n")])
    details = (
        f"com.docker.swarm.node.id={manager.node.node_id},"
        f"com.docker.swarm.service.id={task.service_id},com.docker.swarm.task.id={task.id}"
    )
    kind, data = await read(
        manager, f"/v1.41/tasks/{task.id}/logs?{BOTH}&timestamps=1&details=true"
    )
    long = f"/v1.000000041{'0' * 5000}"
    assert (await read(manager, f"{long}/services/web/logs?{BOTH}"))[0] == RAW
    stamp = "2026-01-02T03:04:05.000020000Z"
    assert kind == RAW
    assert frames(data)[0] == (1, f"{stamp} {details} one\n".encode())


async def test_a_task_that_waits_for_a_node_is_missing_to_followers_only(manager: Api):
    """As in Docker: `service logs` of what runs is no error while another task is pending."""
    task = await service_with_task(manager.node)
    state = TaskStatus(state=TaskState.PENDING)
    waiting = replace(task, id=new_id(manager.node.rng), node_id=UNSET, status=state)
    await manager.node.put(waiting)
    insight = manager.node.insight = FakeInsight()
    await read(manager, f"/services/web/logs?{BOTH}")
    assert [each.id for each in insight.selected()] == [task.id]
    insight.more.put_nowait(LogRecord(task.id, 1, SECOND_NS, b"one\n"))
    async with manager.client.get(f"/services/web/logs?{BOTH}&follow=1") as following:
        await following.content.readany()
        assert {each.id for each in insight.selected()} == {task.id, waiting.id}


async def test_what_is_asked_reaches_the_nodes(manager: Api):
    """Tail, since and until in nanoseconds; the task's own stream selects it alone."""
    task = await service_with_task(manager.node)
    insight = manager.node.insight = FakeInsight()
    await read(manager, "/services/web/logs?stderr=1&tail=5&since=12.000000003&until=1970-01-02")
    assert insight.queries == [
        LogQuery(stdout=False, tail=5, since_ns=12_000_000_003, until_ns=86_400 * 10**9)
    ]
    await read(manager, f"/tasks/{task.id}/logs?stdout=1&tail=all")
    assert insight.queries[1] == LogQuery(stderr=False)
    assert [one.id for one in insight.selected()] == [task.id]
    manager.node.store = None
    assert not list(insight.selected()), "nothing is followed on a node that is no manager"


@pytest.mark.parametrize(
    ("text", "time_ns"),
    [
        ("9223372036.854775806", 2**63 - 2),
        ("9223372036.854775808", 2**63 - 1),
        ("99999999999", 2**63 - 1),
        ("253402300799", 2**63 - 1),
        ("9999-12-31T23:59:59Z", 2**63 - 1),
        ("0001-01-01", 1 - 2**63),
    ],
)
async def test_years_without_int64_nanoseconds_are_the_last_or_the_first_that_have_some(
    manager: Api, text: str, time_ns: int
):
    """Docker takes them too, and what is asked of the nodes must fit their session."""
    await service_with_task(manager.node)
    insight = manager.node.insight = FakeInsight()
    await read(manager, f"/services/web/logs?{BOTH}&since={text}&until={text}")
    [asked] = insight.queries
    assert (asked.since_ns, asked.until_ns) == (time_ns, time_ns)
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(asked), type=LogQuery) == asked


async def test_a_terminal_is_sent_bare_and_gaps_are_said_in_docker_s_words(manager: Api):
    """Bare bytes for a TTY; the third stream makes a client print the sentence and fail."""
    task = await service_with_task(manager.node, tty=True)
    manager.node.insight = FakeInsight(LogRecord(task.id, 1, 1, b"bare\n"))
    assert await read(manager, f"/services/web/logs?{BOTH}") == (RAW, b"bare\n")
    other = Task(id=new_id(manager.node.rng), service_id=task.service_id)
    await manager.node.put(other)
    manager.node.insight = FakeInsight(problems=["node x is not available"])
    _, data = await read(manager, f"/tasks/{other.id}/logs?{BOTH}")
    sentence = (
        b"some logs could not be retrieved for the following reasons: node x is not available\n"
    )
    ((kind, text),) = frames(data)
    assert kind == 3
    assert text.endswith(sentence)


@pytest.mark.parametrize(
    ("path", "status", "message"),
    [
        ("/services/web/logs", 500, NO_STREAM),
        ("/services/web/logs?stdout=0", 500, NO_STREAM),
        (f"/services/nope/logs?{BOTH}", 404, "service nope not found"),
        (f"/tasks/nope/logs?{BOTH}", 404, "task nope not found"),
        (f"/services/web/logs?{BOTH}&tail=x", 500, "tail value must be a positive integer"),
        (f"/services/web/logs?{BOTH}&tail=-2", 500, "negative tail values not supported"),
        (f"/services/web/logs?{BOTH}&since=x", 400, "invalid value for since"),
        (f"/services/web/logs?{BOTH}&since=-1", 400, "invalid value for since"),
        (f"/services/web/logs?{BOTH}&until=1764444896123", 400, "later than the year 9999"),
        pytest.param(
            f"/services/web/logs?{BOTH}&since={'9' * 5000}",
            400,
            "seconds, not in milliseconds",
            id="since-thousands-of-digits",
        ),
    ],
)
async def test_wrong_questions_are_refused_before_a_stream_begins(
    manager: Api, path: str, status: int, message: str
):
    """With Docker's status and text."""
    await service_with_task(manager.node)
    manager.node.insight = FakeInsight()
    answer = await manager.ask("GET", path)
    assert (answer.status, message in answer.message) == (status, True), answer


async def test_the_head_comes_before_the_first_line_and_a_gone_client_ends_the_reading(
    manager: Api,
):
    """A follower knows at once that it is connected; nobody reads on for nobody."""
    await service_with_task(manager.node)
    insight = manager.node.insight = FakeInsight()
    async with asyncio.timeout(60):
        response = await manager.client.get(f"/services/web/logs?{BOTH}&follow=1")
        assert response.status == 200
        assert not insight.ended.is_set()
        response.close()
        await insight.ended.wait()


@pytest.mark.slow
async def test_200_followers_that_read_nothing_hold_up_the_source_and_nobody_else(manager: Api):
    """Each costs what the sockets hold; other requests are answered at once."""
    task = await service_with_task(manager.node)
    record = LogRecord(task.id, 1, 1, b"x" * 16_000)
    followers = [FakeInsight(*[record] * 10_000) for _ in range(200)]
    waiting = iter(followers)

    class Each(NoInsight):
        """A reading of its own for each client."""

        @property
        def logs(self) -> Any:
            return next(waiting)

    manager.node.insight = Each()
    url = manager.client.make_url(f"/services/web/logs?{BOTH}&follow=1")
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        for _ in followers:
            assert (await session.get(url)).status == 200
        given = -1
        async with asyncio.timeout(60):
            while given != (given := sum(one.given for one in followers)):
                begun = time.process_time()
                await manager.get("/services/web")
                assert time.process_time() - begun < 1.0
        assert given < 200 * 500, "the sockets' buffers are full long before"
    async with asyncio.timeout(60):
        for one in followers:
            await one.ended.wait()


@pytest.fixture(params=["/usr/local/bin/docker", "/usr/bin/docker"])
def cli(request: pytest.FixtureRequest, swarm: Cli) -> Cli:  # noqa: F811 - the fixture
    """Each docker CLI of this machine: they ask differently."""
    if shutil.which(request.param) is None:
        pytest.skip(f"no {request.param}")
    swarm._command = (request.param, *swarm._command[1:])
    return swarm


async def test_docker_service_logs(cli: Cli):
    """The real CLI shows task, node and line; raw, timed, with details, of a task, with a gap."""
    task = await service_with_task(cli.node)
    line = LogRecord(task.id, 1, SECOND_NS, b"hello\n")
    insight = cli.node.insight = FakeInsight(line)
    shown = await cli("service logs web")
    assert shown.startswith("web.1.")
    assert shown.endswith("@a1    | hello\n")
    assert await cli("service logs --raw web") == "hello\n"
    assert await cli("service logs --raw --timestamps web") == (
        "2026-01-02T03:04:05.000000000Z hello\n"
    )
    assert task.id in await cli("service logs --no-trunc --tail 3 --since 1h web")
    assert insight.queries[-1].tail == 3
    assert insight.queries[-1].since_ns > 0
    assert "hello" in await cli("service logs --details -t web")
    assert "hello" in await cli(f"service logs --no-resolve --no-task-ids {task.id}")
    cli.node.insight = FakeInsight(line, problems=["node x is not available"])
    assert "incomplete log stream" in await cli.refused("service logs web")


async def test_docker_service_logs_follow(cli: Cli):
    """Lines are shown as they come."""
    task = await service_with_task(cli.node)
    insight = cli.node.insight = FakeInsight()
    process = await asyncio.create_subprocess_exec(
        *cli._command, "service", "logs", "-f", "--raw", "web", stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(60):
            for text in (b"one\n", b"two\n"):
                insight.more.put_nowait(LogRecord(task.id, 1, 1, text))
                assert await process.stdout.readline() == text
    finally:
        process.kill()
        await process.wait()
    async with asyncio.timeout(60):
        await insight.ended.wait()
