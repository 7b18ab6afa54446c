"""Raft's TLS streams, over real sockets on loopback: both directions, slow peers, every end."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from swarmops.model.node import Role
from swarmops.pki.root import new_root
from swarmops.pki.tls import ALPN_RAFT, NodeTLS, peer_identity
from swarmops.runtime.tls_stream import TlsStream, accepted, dialled
from tests.unit.runtime.test_port import node_tls

BOUND_S = 30


class Heard(asyncio.Protocol):
    """Remembers what it hears, and what it is told of its stream."""

    def __init__(self, stream: asyncio.Transport | None = None) -> None:
        self.data = bytearray()
        self.told: list[str] = []
        self.changed = asyncio.Event()
        self.lost: asyncio.Future[Exception | None] = asyncio.get_running_loop().create_future()
        if stream is not None:
            stream.set_protocol(self)

    def data_received(self, data: bytes) -> None:
        """Remember."""
        self.data += data
        self.changed.set()

    def pause_writing(self) -> None:
        """Remember."""
        self.told.append("pause")

    def resume_writing(self) -> None:
        """Remember."""
        self.told.append("resume")
        self.changed.set()

    def connection_lost(self, exc: Exception | None) -> None:
        """Remember; a second time would raise."""
        self.lost.set_result(exc)

    async def until(self, count: int) -> None:
        """Wait until so many bytes are here."""
        async with asyncio.timeout(BOUND_S):
            while len(self.data) < count:
                await self.changed.wait()
                self.changed.clear()


class Ends:
    """A stream, seen from both ends."""

    def __init__(self, here: TlsStream, there: TlsStream) -> None:
        self.here = here
        self.there = there


def open_files() -> int:
    """How many file descriptors this process has."""
    return len(list(Path("/proc/self/fd").iterdir()))


def raw(stream: TlsStream) -> socket.socket:
    """The socket below."""
    found: socket.socket = stream.get_extra_info("socket")
    return found


@pytest.fixture
def tls(tmp_path: Path) -> NodeTLS:
    """A manager's settings."""
    return node_tls(tmp_path / "m1", new_root(datetime.now(UTC)), Role.MANAGER)


@contextlib.asynccontextmanager
async def listening() -> AsyncIterator[socket.socket]:
    """A listening socket."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        yield listener


@contextlib.asynccontextmanager
async def connected(tls: NodeTLS) -> AsyncIterator[Ends]:
    """A stream between two ends, neither of which has a protocol."""
    async with listening() as listener, asyncio.timeout(2 * BOUND_S):
        host, port = listener.getsockname()
        dialling = asyncio.ensure_future(dialled(host, port, tls.client(ALPN_RAFT)))
        connection, _ = await asyncio.get_running_loop().sock_accept(listener)
        there = await accepted(connection, tls.server)
        here = await dialling
        try:
            yield Ends(here, there)
        finally:
            here.abort()
            there.abort()
            await asyncio.sleep(0)


async def test_both_ends_hear_each_other_and_know_the_certificate(tls: NodeTLS):
    """What was said before there was a protocol is not lost."""
    async with connected(tls) as ends:
        ends.here.write(b"early")
        heard, answer = Heard(ends.there), Heard(ends.here)
        await heard.until(5)
        ends.there.write(b"late")
        await answer.until(4)
        assert [bytes(heard.data), bytes(answer.data)] == [b"early", b"late"]
        for stream in (ends.here, ends.there):
            assert stream.get_extra_info("ssl_object").selected_alpn_protocol() == ALPN_RAFT
            peer = peer_identity(stream.get_extra_info("peercert"))
            assert peer is not None
            assert (peer.node_id, peer.role) == ("m1", Role.MANAGER)


@pytest.mark.parametrize("size", [1, 16 * 1024, 16 * 1024 + 1, 3_000_000])
async def test_whatever_its_size_it_arrives_whole(tls: NodeTLS, size: int):
    """In as many records as it takes, both ways at once."""
    content = bytes(range(256)) * (size // 256 + 1)
    content = content[:size]
    async with connected(tls) as ends:
        here, there = Heard(ends.here), Heard(ends.there)
        ends.here.write(content)
        ends.there.write(content)
        await here.until(size)
        await there.until(size)
        assert here.data == there.data == content


async def test_all_that_is_here_is_heard_in_one_turn(tls: NodeTLS):
    """Each message is a record of its own, and with thousands of sessions a turn may be far off."""
    turns: list[int] = []

    class Counting(Heard):
        def data_received(self, data: bytes) -> None:
            turns.append(len(data))
            super().data_received(data)

    async with connected(tls) as ends:
        for _ in range(50):
            ends.here.write(b"message")
        heard = Counting(ends.there)
        await heard.until(350)
    assert turns == [350]


async def test_last_words_are_heard_though_writing_failed_before(tls: NodeTLS):
    """A removed member goes on to write before it reads that it was removed."""
    async with connected(tls) as ends:
        ends.here.write(b"never read")
        await asyncio.sleep(0.05)
        ends.there.write(b"you were removed")
        ends.there.close()
        await asyncio.sleep(0.05)
        for _ in range(3):
            ends.here.write(b"more")
            time.sleep(0.05)  # noqa: ASYNC251 - the event loop shall not read before the end is known
        heard = Heard(ends.here)
        async with asyncio.timeout(BOUND_S):
            await heard.lost
        assert bytes(heard.data) == b"you were removed"


async def test_a_numeric_address_needs_no_thread(tls: NodeTLS, monkeypatch: pytest.MonkeyPatch):
    """The pool's may all wait for a disk that hangs, and no manager could be dialled."""

    def busy(*_: object, **__: object) -> None:
        raise AssertionError("a thread was asked for")

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", busy)
    async with connected(tls) as ends:
        assert not ends.here.is_closing()


async def test_a_peer_that_reads_nothing_pauses_who_writes(tls: NodeTLS):
    """What it doesn't take waits here and is counted; all of it arrives once it reads."""
    async with connected(tls) as ends:
        writer = Heard(ends.here)
        ends.here.set_write_buffer_limits(100_000)
        piece, written = b"x" * 50_000, 0
        while "pause" not in writer.told:
            ends.here.write(piece)
            written += len(piece)
            assert written < 50_000_000, "it never says that it is full"
        assert ends.here.get_write_buffer_size() > 100_000
        ends.here.write(piece)
        written += len(piece)
        reader = Heard(ends.there)
        await reader.until(written)
        assert (len(reader.data), set(reader.data)) == (written, {ord("x")})
        async with asyncio.timeout(BOUND_S):
            while writer.told != ["pause", "resume"]:
                await writer.changed.wait()
                writer.changed.clear()
        assert ends.here.get_write_buffer_size() == 0


async def test_closing_sends_what_waits_first(tls: NodeTLS):
    """A removed member hears so before the end."""
    async with connected(tls) as ends:
        mine = Heard(ends.here)
        content = b"y" * 5_000_000
        ends.here.write(content)
        ends.here.close()
        ends.here.write(b"too late")
        assert ends.here.is_closing()
        reader = Heard(ends.there)
        async with asyncio.timeout(BOUND_S):
            assert await reader.lost is None
            assert await mine.lost is None
        assert reader.data == content


async def test_an_aborted_stream_ends_at_once_and_once(tls: NodeTLS):
    """Whatever waits; who has it is told once, and its socket is closed."""
    async with connected(tls) as ends:
        mine, theirs = Heard(ends.here), Heard(ends.there)
        ends.here.write(b"z" * 50_000_000)
        for _ in range(2):
            ends.here.abort()
        ends.here.close()
        async with asyncio.timeout(BOUND_S):
            assert await mine.lost is None
            await theirs.lost
        assert raw(ends.here).fileno() == -1
        assert ends.there.is_closing()


async def test_a_stream_that_ended_lets_go_of_its_protocol(tls: NodeTLS):
    """As a cycle they would stay: the daemon collects what lived long but once in hours."""
    async with connected(tls) as ends:
        heard = Heard(ends.there)
        ends.there.abort()
        async with asyncio.timeout(BOUND_S):
            await heard.lost
        assert ends.there.get_protocol() is not heard


async def test_bytes_that_were_changed_on_the_way_end_it(tls: NodeTLS):
    """TLS finds it; nothing of the record is heard."""
    async with connected(tls) as ends:
        theirs = Heard(ends.there)
        with socket.socket(fileno=socket.dup(raw(ends.here).fileno())) as below:
            below.send(b"\x17\x03\x03\x00\x20" + bytes(32))
            async with asyncio.timeout(BOUND_S):
                assert isinstance(await theirs.lost, ssl.SSLError)
        assert theirs.data == b""


async def test_a_protocol_that_raises_ends_its_stream_alone(tls: NodeTLS):
    """And the event loop tells of it."""
    told: list[object] = []
    asyncio.get_running_loop().set_exception_handler(
        lambda _loop, context: told.append(context["exception"])
    )

    class Raising(Heard):
        def data_received(self, data: bytes) -> None:
            raise RuntimeError(data.decode())

    async with connected(tls) as ends:
        theirs = Raising(ends.there)
        ends.here.write(b"no")
        async with asyncio.timeout(BOUND_S):
            error = await theirs.lost
        assert str(error) == "no"
        assert told == [error]


async def test_who_speaks_no_tls_gets_no_stream(tls: NodeTLS):
    """Neither does one that says nothing, within the caller's bound; its socket is closed."""
    async with listening() as listener:
        for said in (b"GET / HTTP/1.1\r\n\r\n", b""):
            with socket.create_connection(listener.getsockname()) as peer:
                peer.sendall(said)
                connection, _ = await asyncio.get_running_loop().sock_accept(listener)
                with pytest.raises((ssl.SSLError, TimeoutError)):
                    async with asyncio.timeout(BOUND_S if said else 0.1):
                        await accepted(connection, tls.server)
                peer.settimeout(BOUND_S)
                with contextlib.suppress(ConnectionResetError):
                    while peer.recv(100):
                        pass


async def test_nobody_there_is_an_error_of_the_system(tls: NodeTLS):
    """As for any connection; no socket is left."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    before = open_files()
    with pytest.raises(ConnectionRefusedError):
        await dialled("127.0.0.1", port, tls.client(ALPN_RAFT))
    assert open_files() == before
