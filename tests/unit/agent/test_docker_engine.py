"""A container engine that takes its time holds up nobody but those who wait for it."""

from __future__ import annotations

import asyncio
import json
import socketserver
import threading
from collections import Counter
from collections.abc import AsyncIterator, Callable
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest
from msgspec.structs import replace

from swarmops.agent.executors.base import ExecutorContext, LogRequest, TaskError
from swarmops.agent.executors.docker import DockerExecutor
from swarmops.agent.executors.docker_asks import answers
from swarmops.agent.executors.docker_engine import CALLS_MAX, PULLS_MAX, STARTS_MAX
from swarmops.agent.executors.docker_logs import ContainerOutput
from swarmops.agent.executors.podman import PodmanExecutor
from swarmops.agent.executors.turns import Turns
from swarmops.agent.work import Work

MakeWork = Callable[..., Work]
WITHIN_S = 20.0
HERE = "here:1"


class HeldEngine(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    """Speaks as much of the Engine API as a preparation needs; answers what its gates let through.

    ``most`` says how many calls and pulls it has had to do with at a time. ``looks`` are the
    statuses and bodies to answer with, one each time, when it is asked for a container.
    """

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, path: Path) -> None:
        super().__init__(str(path), Answer)
        self.gates = {kind: threading.Event() for kind in ("call", "pull", "start")}
        self.counts = threading.Lock()
        self.now: Counter[str] = Counter()
        self.most: Counter[str] = Counter()
        self.looks: list[tuple[int, object]] = []

    def count(self, kind: str, step: int) -> None:
        """Take note of a request that begins or ends."""
        with self.counts:
            self.now[kind] += step
            self.most[kind] = max(self.most[kind], self.now[kind])


class Answer(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    server: HeldEngine

    def do_GET(self) -> None:
        """Say which version this is, that one image is here, and no other image or container."""
        if self.path.endswith("/_ping"):
            self.say(200, "OK")
        elif self.path.endswith("/version"):
            self.say(200, {"ApiVersion": "1.41"})
        elif f"/images/{HERE}/json" in self.path:
            self.held("call", 200, {"Id": "sha256:1"})
        elif "/containers/" in self.path and self.server.looks:
            self.say(*self.server.looks.pop(0))
        else:
            self.held("call", 404, {"message": "No such thing"})

    def do_POST(self) -> None:
        """Pull an image, create or start a container."""
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.path.endswith("/start"):
            self.held("start", 204, None)
            return
        pull = "/images/create" in self.path
        self.held("pull" if pull else "call", 200 if pull else 201, {"Id": "1", "Warnings": []})

    def held(self, kind: str, status: int, body: object) -> None:
        """Answer once the gate is open."""
        self.server.count(kind, 1)
        self.server.gates[kind].wait(WITHIN_S)
        self.server.count(kind, -1)
        self.say(status, body)

    def say(self, status: int, body: object) -> None:
        """Send the answer."""
        data = b"" if body is None else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        """Say nothing on the tests' output."""


@pytest.fixture
def engine(tmp_path: Path) -> HeldEngine:
    """Return an engine that answers nothing yet."""
    return HeldEngine(tmp_path / "held.sock")


@pytest.fixture
def kind() -> type[DockerExecutor]:
    """Return which executor uses that engine."""
    return DockerExecutor


@pytest.fixture
async def executor(
    engine: HeldEngine, context: ExecutorContext, tmp_path: Path, kind: type[DockerExecutor]
) -> AsyncIterator[DockerExecutor]:
    """Return the executor of that engine."""
    serving = threading.Thread(target=engine.serve_forever, args=(0.01,), daemon=True)
    serving.start()
    host = f"unix://{tmp_path}/held.sock"
    made = kind(replace(context, docker_host=host, podman_host=host))
    yield made
    for gate in engine.gates.values():
        gate.set()
    await made.close()
    await asyncio.to_thread(engine.shutdown)
    engine.server_close()


async def until(condition: Callable[[], bool]) -> None:
    """Wait for a condition that another thread makes true."""
    async with asyncio.timeout(WITHIN_S / 2):
        while not condition():  # noqa: ASYNC110 - a thread sets no event of the loop
            await asyncio.sleep(0.01)


async def test_a_slow_engine_has_only_so_many_questions_at_a_time_and_holds_up_no_loop(
    engine: HeldEngine, executor: DockerExecutor, work: MakeWork
):
    """All wait outside of the event loop, which goes on; then all are served."""
    works = [work(image=HERE, command=["true"]) for _ in range(40)]
    preparing = [asyncio.create_task(executor.prepare(each)) for each in works]
    await until(lambda: engine.now["call"] == CALLS_MAX)
    assert not any(each.done() for each in preparing)
    engine.gates["call"].set()
    async with asyncio.timeout(WITHIN_S):
        await asyncio.gather(*preparing)
    assert engine.most["call"] == CALLS_MAX


async def test_no_more_containers_start_at_a_time_than_there_are_processors(
    engine: HeldEngine, executor: DockerExecutor, work: MakeWork
):
    """Two at least."""
    engine.gates["call"].set()
    works = [work(image=HERE, command=["true"]) for _ in range(3 * STARTS_MAX)]
    for each in works:
        await executor.prepare(each)
    running = {"Id": "1", "State": {"Status": "running", "Running": True, "Pid": 1}}
    engine.looks = [(200, running)] * len(works)
    starting = [asyncio.create_task(executor.start(each)) for each in works]
    await until(lambda: engine.now["start"] == STARTS_MAX)
    engine.gates["start"].set()
    async with asyncio.timeout(WITHIN_S):
        await asyncio.gather(*starting)
    assert engine.most["start"] == STARTS_MAX


async def test_starts_that_hang_hold_up_nothing_but_starts(
    engine: HeldEngine, executor: DockerExecutor, monkeypatch: pytest.MonkeyPatch
):
    """Others are started beside them, and other questions have threads of their own."""
    monkeypatch.setattr(executor._engine, "_starts", Turns(1, 0.01))
    starting = [
        asyncio.create_task(executor._engine.start(f"web.{n}")) for n in range(CALLS_MAX + 1)
    ]
    await until(lambda: engine.now["start"] == CALLS_MAX)
    engine.gates["call"].set()
    async with asyncio.timeout(WITHIN_S / 2):
        assert await executor._engine.call(lambda client: client.inspect_image(HERE))  # type: ignore[no-untyped-call]
    engine.gates["start"].set()
    async with asyncio.timeout(WITHIN_S):
        await asyncio.gather(*starting)


async def test_slow_pulls_hold_up_no_task_whose_image_is_here(
    engine: HeldEngine, executor: DockerExecutor, work: MakeWork
):
    """A few images are pulled at a time, on threads of their own."""
    engine.gates["call"].set()
    away = [work(image=f"away:{n}", command=["true"]) for n in range(PULLS_MAX + 1)]
    pulling = [asyncio.create_task(executor.prepare(each)) for each in away]
    await until(lambda: engine.now["pull"] == PULLS_MAX)
    here = [work(image=HERE, command=["true"]) for _ in range(2 * CALLS_MAX)]
    async with asyncio.timeout(WITHIN_S / 2):
        await asyncio.gather(*(executor.prepare(each) for each in here))
    assert not any(each.done() for each in pulling)
    engine.gates["pull"].set()
    async with asyncio.timeout(WITHIN_S):
        await asyncio.gather(*pulling)
    assert engine.most["pull"] == PULLS_MAX


async def test_a_question_that_is_no_longer_wanted_is_waited_for(executor: DockerExecutor):
    """A container that is just being made must not come after the removal of its task."""
    begun, gate, made = threading.Event(), threading.Event(), []

    def make(_: object) -> None:
        begun.set()
        gate.wait(WITHIN_S)
        made.append("container")

    asking = asyncio.create_task(executor._engine.call(make))
    await until(begun.is_set)
    asking.cancel()
    for _ in range(20):
        await asyncio.sleep(0)
    assert not asking.done()
    gate.set()
    await asyncio.wait([asking])
    assert asking.cancelled()
    assert made == ["container"]


async def test_a_pull_that_stands_still_holds_up_no_shutdown(
    engine: HeldEngine, executor: DockerExecutor, work: MakeWork
):
    """It ends with the registry's next word, and makes nothing that a removal would miss."""
    engine.gates["call"].set()
    pulling = asyncio.create_task(executor.prepare(work(image="away:1", command=["true"])))
    await until(lambda: engine.now["pull"] == 1)
    pulling.cancel()
    async with asyncio.timeout(WITHIN_S / 2):
        await asyncio.wait([pulling])
    assert engine.now["pull"] == 1


async def test_pulls_that_hang_hold_up_no_other_once_nobody_wants_them(
    engine: HeldEngine, executor: DockerExecutor, work: MakeWork
):
    """Else a registry that says nothing would end a node's pulling until its daemon restarts."""
    engine.gates["call"].set()
    away = [work(image=f"away:{n}", command=["true"]) for n in range(PULLS_MAX)]
    hanging = [asyncio.create_task(executor.prepare(each)) for each in away]
    await until(lambda: engine.now["pull"] == PULLS_MAX)
    for each in hanging:
        each.cancel()
    another = asyncio.create_task(executor.prepare(work(image="another:1", command=["true"])))
    await until(lambda: engine.now["pull"] == PULLS_MAX + 1)
    assert not another.done()
    engine.gates["pull"].set()
    await asyncio.wait_for(another, WITHIN_S)


@pytest.mark.parametrize("kind", [PodmanExecutor], ids=["podman"])
@pytest.mark.parametrize(
    "said",
    [
        "read /proc/26619/cgroup: no such process",
        "open /proc/26619/cgroup: no such file or directory",
    ],
)
async def test_podman_is_asked_again_when_a_process_ended_while_it_looked(
    engine: HeldEngine, executor: DockerExecutor, work: MakeWork, said: str
):
    """Podman reads of the process after it has read that it runs, and answers 500 between."""
    ended = {"Status": "exited", "Running": False, "Pid": 0, "ExitCode": 3}
    engine.looks = [(500, {"message": said}), (200, {"Id": "1", "State": ended})]
    status = await executor.start(work(image=HERE))
    assert (status.exit_code, engine.looks) == (3, [])


@pytest.mark.parametrize("kind", [PodmanExecutor], ids=["podman"])
async def test_another_error_of_podman_is_told(
    engine: HeldEngine, executor: DockerExecutor, work: MakeWork
):
    """Only what passes by itself is asked for again."""
    engine.looks = [(500, {"message": "database is locked"})]
    with pytest.raises(TaskError, match="database is locked"):
        await executor.start(work(image=HERE))


async def test_an_engine_that_goes_while_it_tells_of_itself_costs_no_daemon(
    context: ExecutorContext, tmp_path: Path
):
    """It answered a moment ago, and hangs up: it has the drivers that it had."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if b"/_ping" in await reader.readuntil(b"\r\n\r\n"):
            writer.write(b"HTTP/1.0 200 OK\r\n\r\nOK")
        writer.close()

    path = tmp_path / "leaving.sock"
    server = await asyncio.start_unix_server(answer, path)
    executor = DockerExecutor(replace(context, docker_host=f"unix://{path}"))
    assert [plugin.name for plugin in await executor.describe()] == ["docker"]
    await executor.close()
    server.close()


async def test_what_answers_without_a_word_is_no_engine(tmp_path: Path):
    """Something else may listen on the socket."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"\r\n\r\n")
        writer.close()

    path = tmp_path / "silent.sock"
    server = await asyncio.start_unix_server(answer, path)
    assert not await answers(f"unix://{path}")
    server.close()


async def test_output_that_is_cut_in_the_middle_ends_there(tmp_path: Path):
    """The engine was killed while it sent a line: what came before is given, and no complaint."""
    line = b"2026-01-01T00:00:00Z one\n"
    frames = b"\x01\0\0\0" + len(line).to_bytes(4, "big") + line + b"\x01\0\0\0\0\0\0\x40half"

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.0 200 OK\r\n\r\n" + frames)
        writer.close()

    path = tmp_path / "cut.sock"
    server = await asyncio.start_unix_server(answer, path)
    output = ContainerOutput(f"unix://{path}", "web.1")
    assert [each.data async for each in output.read(LogRequest())] == [b"one"]
    server.close()
