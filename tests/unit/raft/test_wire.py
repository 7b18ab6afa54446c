"""The wire: bounded frames of a closed set, from members alone; everything else ends the link."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import pickle
import weakref
from collections.abc import Callable
from typing import Any

import pytest

from swarmops.raft import Member, StreamTransport
from swarmops.raft.messages import (
    FRAME_BYTES_MAX,
    PROTOCOL,
    Admin,
    Append,
    Forward,
    Hello,
    Message,
    Removed,
    Vote,
    decode,
    encode,
)
from swarmops.raft.seam import COMMAND_BYTES_MAX

ME = Member("aa", "node-a", "127.0.0.1:1")
PEER = Member("bb", "node-b", "127.0.0.1:1")


class Upcalls:
    """Remembers what the transport told."""

    def __init__(self) -> None:
        self.received: list[Any] = []
        self.gone: set[str] = set()
        self.lost: list[str] = []
        self.addr = "127.0.0.1:2"
        self.welcome: Callable[[Member], bool] = lambda _member: False

    def message_received(self, sender: str, message: Any) -> None:
        """Remember."""
        self.received.append((sender, message))

    def peer_connected(self, raft_id: str) -> None:
        """Not looked at."""

    def peer_disconnected(self, raft_id: str) -> None:
        """Not looked at."""

    def peer_lost(self, raft_id: str) -> None:
        """Remember."""
        self.lost.append(raft_id)

    def is_removed(self, raft_id: str) -> bool:
        """Say who is out."""
        return raft_id in self.gone

    def stranger_dialled(self, member: Member) -> bool:
        """Ask the test."""
        return self.welcome(member)


def frame(body: bytes) -> bytes:
    """Put the length before."""
    return len(body).to_bytes(4, "big") + body


HELLO = frame(encode(Hello(PROTOCOL, PEER.raft_id, ME.raft_id)))
VOTE = Vote(3, 2, 1, False, False)
LARGE = bytes(COMMAND_BYTES_MAX + 1)


def said(message: Message) -> bytes:
    """Greet, and send a message."""
    return HELLO + frame(encode(message))


async def dialled(server: asyncio.Server) -> asyncio.Transport:
    """Dial as the runtime does."""
    stream, _ = await asyncio.get_running_loop().create_connection(
        asyncio.Protocol, *server.sockets[0].getsockname()
    )
    return stream


async def spoken(data: bytes, node_id: str = PEER.node_id, gone: str = "") -> tuple[Any, bytes]:
    """Say something to a transport; return what it passed on and what it answered."""

    async def dial(_addr: str) -> Any:
        raise OSError("nobody is there")

    transport, upcalls = StreamTransport(dial), Upcalls()
    upcalls.gone.add(gone)
    transport.start(ME.raft_id, upcalls)
    transport.set_peers([PEER])

    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: transport.accept(node_id), "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    writer.write(data)
    try:
        answer = await asyncio.wait_for(reader.read(), 0.3)
    except TimeoutError:
        answer = b"still open"
    except ConnectionResetError:
        answer = b""
    writer.close()
    server.close()
    await transport.stop()
    return upcalls, answer


async def test_a_members_messages_are_passed_on():
    """Greeted properly, two frames in one packet arrive as two messages."""
    upcalls, answer = await spoken(HELLO + frame(encode(VOTE)) * 2)
    assert upcalls.received == [(PEER.raft_id, VOTE)] * 2
    assert answer == b"still open"


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(frame(encode(VOTE)), id="no greeting"),
        pytest.param(HELLO + HELLO, id="greets twice"),
        pytest.param(HELLO + frame(pickle.dumps({"type": "append_entries"})), id="pickle"),
        pytest.param(frame(pickle.dumps("hello")), id="pickle as the first frame"),
        pytest.param(HELLO + frame(b"\x92\xa4evil\x01"), id="unknown message"),
        pytest.param(HELLO + frame(b"\x96\xa4vote\xa1x\x01\x01\xc2\xc2"), id="wrong type"),
        pytest.param(HELLO + frame(b"\x97\xa4vote\x01\x01\x01\xc2\xc2\x01"), id="a field too many"),
        pytest.param(said(Forward(1, 1, [(1, LARGE)])), id="too large a command"),
        pytest.param(said(Forward(-1, 1, [])), id="a negative session"),
        pytest.param(said(Forward(1, 1 << 63, [])), id="too great a floor"),
        pytest.param(said(Forward(1, 1, [(-1, b"")])), id="a negative request"),
        pytest.param(said(Admin(1, "add", None, "x", float("nan"))), id="a bound that is none"),
        pytest.param(said(Admin(1, "add", None, "x", -1.0)), id="a negative bound"),
        pytest.param(HELLO + (FRAME_BYTES_MAX + 1).to_bytes(4, "big"), id="too large a frame"),
        pytest.param(b"\xff\xff\xff\xff", id="huge first frame"),
        pytest.param(b"GET / HTTP/1.1\r\n\r\n" * 9, id="another protocol"),
        pytest.param(frame(encode(Hello(99, "bb", "aa"))), id="another version"),
        pytest.param(frame(encode(Hello(PROTOCOL, "zz", "aa"))), id="no member"),
        pytest.param(frame(encode(Hello(PROTOCOL, "bb", "cc"))), id="meant for another"),
    ],
)
async def test_what_is_not_a_members_proper_message_ends_the_connection(data: bytes):
    """And reaches nobody."""
    upcalls, answer = await spoken(data)
    assert upcalls.received == []
    assert answer == b""


async def test_a_certificate_of_another_node_speaks_for_nobody():
    """The raft id that greets must be the certificate's node's."""
    upcalls, answer = await spoken(HELLO + frame(encode(VOTE)), node_id="node-z")
    assert upcalls.received == []
    assert answer == b""


async def test_another_node_at_a_members_address_hears_nothing():
    """Not even a greeting; the address is dialled again, for the member may come back to it."""
    heard: list[bytes] = []
    greeted = asyncio.Event()

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        place = len(heard)
        heard.append(b"")
        with contextlib.suppress(ConnectionError):
            heard[place] = await reader.read(1000)
        if heard[place]:
            greeted.set()
        writer.close()

    server = await asyncio.start_server(listen, "127.0.0.1", 0)
    nodes = ["node-z", PEER.node_id]

    async def dial(_addr: str) -> Any:
        return await dialled(server), nodes.pop(0)

    transport = StreamTransport(dial)
    transport.start(ME.raft_id, Upcalls())
    transport.set_peers([PEER])
    try:
        async with asyncio.timeout(5):
            await greeted.wait()
        assert heard[0] == b""
        assert decode(heard[1][4:]) == Hello(PROTOCOL, ME.raft_id, PEER.raft_id, "127.0.0.1:2")
    finally:
        await transport.stop()
        server.close()


async def test_a_removed_member_that_dials_is_told():
    """It was away when it was removed; the first thing it hears is that."""
    upcalls, answer = await spoken(HELLO + frame(encode(VOTE)), gone=PEER.raft_id)
    assert upcalls.received == []
    assert decode(answer[4:]) == Removed(PEER.raft_id)


@pytest.mark.parametrize(
    ("node_id", "knows", "heard"),
    [
        pytest.param("node-z", True, True, id="while no leader is known"),
        pytest.param("node-z", False, False, id="while there is one"),
        pytest.param("banned", True, False, id="never when its node was removed"),
    ],
)
async def test_a_stranger_is_heard_only_when_the_member_wants_it(
    node_id: str,
    knows: bool,  # noqa: FBT001 - a table
    heard: bool,  # noqa: FBT001 - the same
):
    """A manager that joined while this member was away: its node id is the certificate's."""
    asked: list[Member] = []

    async def dial(_addr: str) -> Any:
        raise OSError("nobody is there")

    transport, upcalls = StreamTransport(dial, lambda node_id: node_id == "banned"), Upcalls()

    def welcome(member: Member) -> bool:
        asked.append(member)
        if knows:
            transport.set_peers([PEER, member])
        return knows

    upcalls.welcome = welcome
    transport.start(ME.raft_id, upcalls)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: transport.accept(node_id), "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    writer.write(frame(encode(Hello(PROTOCOL, "zz", ME.raft_id, "10.0.0.9:2377"))))
    writer.write(frame(encode(VOTE)))
    writer.write_eof()
    answer = b""
    with contextlib.suppress(ConnectionResetError):
        answer = await reader.read()
    writer.close()
    server.close()
    await transport.stop()
    assert answer == b""
    assert asked == [Member("zz", "node-z", "10.0.0.9:2377")] * (node_id != "banned")
    assert upcalls.received == ([("zz", VOTE)] if heard else [])


async def test_a_slow_peer_costs_bounded_memory():
    """When its queue is full, messages are refused, not kept."""
    stuck, done = asyncio.Event(), asyncio.Event()

    async def swallow(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await stuck.wait()
        writer.transport.abort()
        done.set()

    server = await asyncio.start_server(swallow, "127.0.0.1", 0)

    async def dial(_addr: str) -> Any:
        return await dialled(server), PEER.node_id

    transport, upcalls = StreamTransport(dial), Upcalls()
    transport.start(ME.raft_id, upcalls)
    transport.set_peers([PEER])
    message = Append(1, 1, 1, 0, 1, [(1, b"x" * 1_000_000)])
    async with asyncio.timeout(5):
        while not transport.send(PEER.raft_id, message):  # noqa: ASYNC110 - bounded, by the time-out
            await asyncio.sleep(0.01)
    sent = 0
    while transport.send(PEER.raft_id, message):
        sent += 1
        await asyncio.sleep(0)
        assert sent < 60, "it never says that it is full"
    stuck.set()
    await transport.stop()
    await done.wait()
    server.close()


async def test_a_lost_connection_leaves_nothing_behind():
    """Neither what was queued nor a cycle: what lived long is collected but once in hours."""
    done = asyncio.Event()

    async def swallow(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await done.wait()
        writer.transport.abort()

    server = await asyncio.start_server(swallow, "127.0.0.1", 0)
    redialled = asyncio.Event()

    async def dial(_addr: str) -> Any:
        if redialled.is_set():
            raise OSError("nobody is there")
        redialled.set()
        return await dialled(server), PEER.node_id

    transport = StreamTransport(dial)
    transport.start(ME.raft_id, Upcalls())
    transport.set_peers([PEER])
    message = Append(1, 1, 1, 0, 1, [(1, b"x" * 1_000_000)])
    async with asyncio.timeout(30):
        while not transport.send(PEER.raft_id, message):  # noqa: ASYNC110 - as above
            await asyncio.sleep(0.01)
    while transport.send(PEER.raft_id, message):
        pass
    gc.disable()
    try:
        stream = _cut(transport)
        async with asyncio.timeout(30):
            while stream() is not None:  # noqa: ASYNC110 - as above
                await asyncio.sleep(0.01)
    finally:
        gc.enable()
        done.set()
        await transport.stop()
        server.close()
        await asyncio.sleep(0)


def _cut(transport: StreamTransport) -> weakref.ref[Any]:
    """End what was dialled; return what will be nothing once it is out of memory."""
    end = transport._peers[PEER.raft_id].dialled
    assert end is not None
    end._stream.abort()
    return weakref.ref(end)
