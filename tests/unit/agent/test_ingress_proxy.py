"""What the proxy of published ports promises, on real sockets of this machine's loopback."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import cast

import pytest

from swarmops.agent.ingress.backends import AVOID_S, Address, Backends
from swarmops.agent.ingress.proxy import Failures, Proxy
from swarmops.agent.ingress.tcp import Side, TCPPort

HOST = "127.0.21.1"
Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class World:
    """A proxy, and tasks behind it."""

    def __init__(self) -> None:
        self.failures: list[Failures] = []
        self.proxy = Proxy(HOST, lambda failures: self.failures.append(dict(failures)))
        self._ends: list[asyncio.Server] = []
        self._writers: list[asyncio.StreamWriter] = []

    async def task(self, name: str, serve: Serve | None = None) -> Address:
        """Start a TCP server that says its name, or does what it is told to."""

        async def say(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            self._writers.append(writer)
            if serve is not None:
                await serve(reader, writer)
                return
            writer.write(name.encode())
            writer.close()

        server = await asyncio.start_server(say, "127.0.21.9", 0)
        self._ends.append(server)
        address: Address = server.sockets[0].getsockname()
        return address

    async def publish(self, protocol: str, *tasks: Address, number: int = 0) -> int:
        """Publish a port with these tasks behind it, and wait until it is served."""
        number = number or free_port(protocol)
        self.proxy.update({(protocol, number): tasks})
        await until(lambda: (protocol, number) in self.proxy._ports)
        return number

    async def stop(self) -> None:
        """End the servers and what is connected to them."""
        for server in self._ends:
            server.close()
        for writer in self._writers:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()


@pytest.fixture
async def world() -> AsyncIterator[World]:
    """A proxy that listens on nothing yet."""
    made = World()
    running = asyncio.create_task(made.proxy.run())
    yield made
    made.proxy.stop()
    running.cancel()
    await asyncio.wait([running])
    await made.stop()


async def until(condition: Callable[[], bool], within_s: float = 60) -> None:
    """Wait for a condition."""
    async with asyncio.timeout(within_s):
        while not condition():  # noqa: ASYNC110 - of somebody else's state
            await asyncio.sleep(0.005)


def free_port(protocol: str) -> int:
    """Return a port that is free at the proxy's address."""
    kind = socket.SOCK_STREAM if protocol == "tcp" else socket.SOCK_DGRAM
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def closed_port() -> Address:
    """Return an address where nobody listens."""
    with socket.create_server(("127.0.21.9", 0)) as probe:
        host, port = probe.getsockname()
    return host, port


async def ask(number: int, host: str = HOST) -> str:
    """Connect, read until the end."""
    reader, writer = await asyncio.open_connection(host, number)
    try:
        return (await reader.read()).decode()
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


def test_each_backend_is_used_in_turn_and_one_that_failed_comes_last_for_a_while():
    """And a list that changes keeps its place."""
    a, b, c = ("h", 1), ("h", 2), ("h", 3)
    backends = Backends()
    assert backends.candidates(0.0) == []
    backends.set([a, b, c])
    assert [backends.candidates(0.0)[0] for _ in range(4)] == [a, b, c, a]
    backends.failed(b, 10.0)
    assert backends.candidates(10.0) == [c, a, b]
    assert [backends.candidates(10.0)[-1] for _ in range(3)] == [b, b, b]
    assert {backends.candidates(10.0 + AVOID_S)[0] for _ in range(3)} == {a, b, c}
    backends.set([a, c])
    assert b not in backends
    assert sorted(backends.candidates(0.0)) == [a, c]


async def test_connections_go_to_all_tasks_alike(world: World):
    """Eight connections, four for each of two."""
    number = await world.publish("tcp", await world.task("a"), await world.task("b"))
    answers = [await ask(number) for _ in range(8)]
    assert sorted(answers) == ["a"] * 4 + ["b"] * 4


async def test_a_task_that_refuses_is_skipped(world: World):
    """Every client gets an answer."""
    number = await world.publish("tcp", closed_port(), await world.task("a"))
    assert [await ask(number) for _ in range(4)] == ["a"] * 4


@pytest.mark.parametrize("size", [20, 2_000_000])
@pytest.mark.parametrize("ends", [False, True])
async def test_what_a_client_sends_before_a_task_is_found_is_not_lost(
    world: World, monkeypatch: pytest.MonkeyPatch, size: int, *, ends: bool
):
    """A request comes with the connection, maybe with its end: it waits for the task's."""
    found = asyncio.Event()
    connect = TCPPort.connect

    async def slowly(port: TCPPort) -> Side | None:
        await found.wait()
        return await connect(port)

    async def measure(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        sent = await reader.read() if ends else await reader.readexactly(size)
        writer.write(hashlib.sha256(sent).hexdigest().encode())
        writer.close()

    monkeypatch.setattr(TCPPort, "connect", slowly)
    number = await world.publish("tcp", await world.task("a", measure))
    reader, writer = await asyncio.open_connection(HOST, number)
    sent = bytes(range(256)) * (size // 256 + 1)
    writer.write(sent[:size])
    if ends:
        writer.write_eof()
    port = cast("TCPPort", world.proxy._ports["tcp", number])
    await until(lambda: not port.idle.is_set())
    await asyncio.sleep(0.05)
    found.set()
    assert (await reader.read()).decode() == hashlib.sha256(sent[:size]).hexdigest()
    writer.close()


async def test_two_that_have_both_ended_before_they_meet_are_let_go(
    world: World, monkeypatch: pytest.MonkeyPatch
):
    """Nothing of the connection is left."""
    connect = TCPPort.connect

    async def slowly(port: TCPPort) -> Side | None:
        side = await connect(port)
        await until(lambda: side is not None and side.ended)
        return side

    async def nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        del reader
        writer.close()

    monkeypatch.setattr(TCPPort, "connect", slowly)
    number = await world.publish("tcp", await world.task("a", nothing))
    port = cast("TCPPort", world.proxy._ports["tcp", number])
    reader, writer = await asyncio.open_connection(HOST, number)
    writer.write_eof()
    async with asyncio.timeout(60):
        assert await reader.read() == b""
        await until(port.idle.is_set)
    writer.close()


async def test_a_client_that_leaves_before_a_task_is_found_is_forgotten(
    world: World, monkeypatch: pytest.MonkeyPatch
):
    """Its task hears of nothing but the end."""
    found = asyncio.Event()
    connect = TCPPort.connect

    async def slowly(port: TCPPort) -> Side | None:
        await found.wait()
        return await connect(port)

    monkeypatch.setattr(TCPPort, "connect", slowly)
    number = await world.publish("tcp", await world.task("a"))
    port = cast("TCPPort", world.proxy._ports["tcp", number])
    with socket.create_connection((HOST, number)) as client:
        await until(lambda: not port.idle.is_set())
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    await until(port.idle.is_set)
    found.set()


async def test_a_client_is_reset_where_no_task_is(world: World):
    """It learns at once that nobody serves it, and not by an empty answer."""
    number = await world.publish("tcp")
    with pytest.raises(ConnectionError):
        await ask(number)


async def test_a_changed_table_counts_for_the_next_connection_not_for_those_that_stand(
    world: World,
):
    """A connection to a task that is taken out goes on until its task ends it."""
    heard: asyncio.Queue[bytes] = asyncio.Queue()

    async def keep(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(100):
            heard.put_nowait(data)
            writer.write(b"old")

    number = await world.publish("tcp", await world.task("", keep))
    reader, writer = await asyncio.open_connection(HOST, number)
    writer.write(b"1")
    assert await reader.readexactly(3) == b"old"
    await world.publish("tcp", await world.task("new"), number=number)
    assert await ask(number) == "new"
    writer.write(b"2")
    assert await reader.readexactly(3) == b"old"
    writer.close()
    await writer.wait_closed()


async def test_a_port_that_is_no_longer_published_is_free(world: World):
    """Somebody else can listen there."""
    number = await world.publish("tcp", await world.task("a"))
    world.proxy.update({})
    with socket.create_server((HOST, number)):
        pass
    with pytest.raises(ConnectionError):
        await ask(number)


async def test_megabytes_arrive_whole_in_both_directions_through_half_closed_connections(
    world: World,
):
    """The task answers only after the client's end, which it sees."""

    async def digest(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        data = await reader.read(-1)
        writer.write(hashlib.sha256(data).hexdigest().encode() + data)
        await writer.drain()
        writer.close()

    number = await world.publish("tcp", await world.task("", digest))
    sent = b"0123456789abcdef" * (1 << 18)
    reader, writer = await asyncio.open_connection(HOST, number)
    writer.write(sent)
    writer.write_eof()
    answer = await reader.read(-1)
    assert answer[:64].decode() == hashlib.sha256(sent).hexdigest()
    assert answer[64:] == sent
    writer.close()
    await writer.wait_closed()


async def test_a_task_that_reads_slowly_makes_its_client_wait(world: World):
    """What is under way is bounded by the buffers of the kernel and of the proxy."""
    reading = asyncio.Event()

    async def lazy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reading.wait()
        total = len(await reader.read(-1))
        writer.write(str(total).encode())
        writer.close()

    number = await world.publish("tcp", await world.task("", lazy))
    loop = asyncio.get_running_loop()
    with socket.create_connection((HOST, number)) as client:
        client.setblocking(False)
        sent = 0

        async def push() -> None:
            nonlocal sent
            while True:
                await loop.sock_sendall(client, bytes(65536))
                sent += 65536

        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1.0):
                await push()
        assert sent < 64 << 20
        client.shutdown(socket.SHUT_WR)
        reading.set()
        assert int(await loop.sock_recv(client, 100)) >= sent


@pytest.mark.slow
async def test_a_port_that_is_taken_is_said_the_others_are_served_and_it_is_tried_again(
    world: World,
):
    """Once it is free it is served too, and the trouble taken back."""
    task = await world.task("a")
    taken, free = free_port("tcp"), free_port("tcp")
    with socket.create_server((HOST, taken)):
        world.proxy.update({("tcp", taken): [task], ("tcp", free): [task]})
        await until(lambda: bool(world.failures))
        assert world.failures == [{("tcp", taken): "Address already in use"}]
        assert await ask(free) == "a"
    await until(lambda: len(world.failures) > 1)
    assert world.failures[-1] == {}
    assert await ask(taken) == "a"


class UDPTask(asyncio.DatagramProtocol):
    """A UDP server that puts its name before what it is sent."""

    def __init__(self, name: str) -> None:
        self.name = name.encode()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self.transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        """Answer."""
        self.transport.sendto(self.name + data, addr)


async def udp_task(name: str) -> tuple[Address, asyncio.DatagramTransport]:
    """Start a UDP server."""
    transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(
        lambda: UDPTask(name), local_addr=("127.0.21.9", 0)
    )
    return transport.get_extra_info("sockname"), transport


async def udp_ask(client: socket.socket, data: bytes) -> bytes:
    """Send a datagram, return the answer."""
    loop = asyncio.get_running_loop()
    await loop.sock_sendall(client, data)
    async with asyncio.timeout(60):
        return await loop.sock_recv(client, 100)


def udp_client(number: int, host: str = HOST) -> socket.socket:
    """A client's socket; being connected, it takes answers only from whom it wrote to."""
    client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    client.connect((host, number))
    return client


async def test_a_udp_client_keeps_its_task_and_another_client_gets_the_next(world: World):
    """Answers find their way back."""
    tasks = [await udp_task(name) for name in "ab"]
    number = await world.publish("udp", *(address for address, _ in tasks))
    with udp_client(number) as one, udp_client(number) as two:
        assert [await udp_ask(one, b"1") for _ in range(3)] == [b"a1"] * 3
        assert await udp_ask(two, b"2") == b"b2"
    for _, transport in tasks:
        transport.close()


async def test_a_udp_client_whose_task_is_gone_gets_another(world: World):
    """Taken out of the table, or refusing: its next datagram goes elsewhere."""
    (a, at_a), (b, at_b) = [await udp_task(name) for name in "ab"]
    number = await world.publish("udp", a, b)
    with udp_client(number) as client:
        assert await udp_ask(client, b"1") == b"a1"
        await world.publish("udp", b, number=number)
        assert await udp_ask(client, b"2") == b"b2"
        (c, at_c) = await udp_task("c")
        await world.publish("udp", b, c, number=number)
        at_b.close()
        await asyncio.sleep(0)  # it closes with the loop's next turn
        answers: list[bytes] = []
        for _ in range(2):  # the first may be the one that finds out
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(1):
                    answers.append(await udp_ask(client, b"3"))
        assert answers[-1] == b"c3"
    at_a.close()
    at_c.close()


async def test_udp_answers_come_from_the_address_that_was_asked():
    """Also where the proxy listens on all addresses of the machine."""
    address, transport = await udp_task("a")
    proxy = Proxy("0.0.0.0", lambda _: None)
    running = asyncio.create_task(proxy.run())
    number = free_port("udp")
    proxy.update({("udp", number): [address]})
    await until(lambda: bool(proxy._ports))
    for host in ("127.0.21.2", "127.0.21.3"):
        with udp_client(number, host) as client:
            assert await udp_ask(client, b"x") == b"ax"
    proxy.stop()
    running.cancel()
    await asyncio.wait([running])
    transport.close()
