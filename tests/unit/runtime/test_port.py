"""The node port: who may speak which protocol, over real TLS on loopback."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import socket
import ssl
from collections.abc import AsyncGenerator, AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from swarmops.errors import ApiError
from swarmops.model.node import Role, TLSInfo
from swarmops.model.session import (
    FRAME_BYTES_MAX,
    Channel,
    LogFrame,
    LogLines,
    LogQuery,
    LogRecord,
    LogsAsked,
    LogsEnd,
)
from swarmops.pki.identity import Credentials, save_credentials
from swarmops.pki.root import RootCA, issue, new_request, new_root
from swarmops.pki.tls import ALPN_AGENT, ALPN_CA, ALPN_RAFT, NodeTLS, PeerIdentity
from swarmops.pki.tokens import new_token
from swarmops.pki.wire import (
    CertificateReply,
    CertificateRequest,
    Described,
    MemberReply,
    MemberRequest,
)
from swarmops.runtime.dial import (
    RemovedError,
    UnreachableError,
    become_member,
    dial_raft,
    dial_session,
    first_certificate,
    renewed_certificate,
)
from swarmops.runtime.log_stream import fetch_logs
from swarmops.runtime.port import NodePort
from swarmops.runtime.requests import make_port_app

NOW = datetime.now(tz=UTC)
CLUSTER = "c1"


def node_tls(folder: Path, root: RootCA, role: Role, cluster_id: str = CLUSTER) -> NodeTLS:
    """TLS settings of a node with this role, named after it."""
    key, csr = new_request()
    cert = issue(
        root,
        csr,
        node_id=folder.name,
        role=role,
        cluster_id=cluster_id,
        now=NOW,
        lifetime_s=3600,
    )
    save_credentials(folder, Credentials(key_pem=key, cert_pem=cert, root_pem=root.cert_pem))
    return NodeTLS(folder)


class FakeManager:
    """Answers the port's requests, and remembers who asked."""

    def __init__(self, root: RootCA) -> None:
        self.root = root
        self.asked: list[PeerIdentity | None] = []
        self.raft_peers: list[str] = []
        self.raft_sockets: list[Any] = []
        self.logs_ended = asyncio.Event()

    def root_pem(self) -> str:
        """The root that joiners fetch."""
        return self.root.cert_pem

    async def issue(
        self, request: CertificateRequest, shown: PeerIdentity | None
    ) -> CertificateReply:
        """Sign whatever is asked."""
        self.asked.append(shown)
        return CertificateReply(
            node_id="n",
            cluster_id=CLUSTER,
            role=Role.WORKER,
            cert_pem=request.csr_pem,
            root_pem=self.root.cert_pem,
            managers=[],
            described=Described(tls_info=TLSInfo(), valid_from=NOW, valid_until=NOW),
        )

    async def add_member(self, request: MemberRequest, peer: PeerIdentity) -> MemberReply:
        """Take in anyone."""
        return MemberReply(members=[(request.raft_id, peer.node_id, request.addr)])

    def was_removed(self, node_id: str) -> bool:
        """One node was."""
        return node_id == "gone"

    async def serve_session(self, channel: Channel, node_id: str, addr: str) -> None:
        """Echo one frame behind the node's ID."""
        await channel.send(f"{node_id}@{addr}:".encode() + await channel.receive())

    async def read_logs(self, asked: LogsAsked) -> AsyncGenerator[LogFrame, None]:
        """Give a line that names what was asked, and take note of the end of the reading."""
        try:
            text = f"{asked.node_id} {asked.query.tail}".encode()
            yield LogLines(1, [LogRecord(asked.task_ids[0], 1, 5, text)])
            if asked.query.follow:
                await asyncio.Event().wait()
            yield LogsEnd(1, ["p"])
        finally:
            self.logs_ended.set()

    def accept(self, node_id: str) -> asyncio.Protocol:
        """Remember the peer, and answer what it says."""
        self.raft_peers.append(node_id)

        async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            self.raft_sockets.append(writer.get_extra_info("socket"))
            writer.write(await reader.read(1))

        return asyncio.StreamReaderProtocol(asyncio.StreamReader(), connected)


class World:
    """A manager's port on loopback, and the root of its swarm."""

    def __init__(self, addr: str, manager: FakeManager, root: RootCA) -> None:
        self.addr = addr
        self.manager = manager
        self.root = root


@contextlib.asynccontextmanager
async def listening(tmp_path: Path) -> AsyncIterator[World]:
    """Listen while it lasts."""
    root = new_root(NOW)
    manager = FakeManager(root)
    tls = node_tls(tmp_path / "server", root, Role.MANAGER)
    port = NodePort(tls, CLUSTER, make_port_app(manager), manager.accept)
    with socket.create_server(("127.0.0.1", 0)) as free:
        number = free.getsockname()[1]
    await port.listen("127.0.0.1", number)
    try:
        yield World(f"127.0.0.1:{number}", manager, root)
    finally:
        await port.close()


@pytest_asyncio.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """A listening port."""
    async with listening(tmp_path) as world:
        yield world


async def dialled(addr: str, tls: NodeTLS) -> tuple[asyncio.StreamReader, asyncio.Transport, str]:
    """Dial, say a byte, and read from what was dialled."""
    stream, peer = await dial_raft(addr, tls)
    reader = asyncio.StreamReader()
    protocol = asyncio.StreamReaderProtocol(reader)
    stream.set_protocol(protocol)
    protocol.connection_made(stream)
    stream.write(b"r")
    return reader, stream, peer


async def test_a_manager_speaks_raft_and_is_known_by_its_certificate(world: World, tmp_path: Path):
    """The Raft transport gets the stream with the node ID that was proved."""
    tls = node_tls(tmp_path / "m2", world.root, Role.MANAGER)
    reader, stream, peer = await dialled(world.addr, tls)
    assert await reader.readexactly(1) == b"r"
    assert (peer, world.manager.raft_peers) == ("server", ["m2"])
    stream.close()


async def test_a_first_message_that_comes_in_two_parts_is_raft_all_the_same(
    world: World, tmp_path: Path
):
    """With the large keys of newer TLS it needn't fit into one packet."""
    tls = node_tls(tmp_path / "m2", world.root, Role.MANAGER)
    host, _, port = world.addr.partition(":")
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = tls.client(ALPN_RAFT).wrap_bio(incoming, outgoing)
    reader, writer = await asyncio.open_connection(host, int(port))
    with contextlib.suppress(ssl.SSLWantReadError):
        client.do_handshake()
    hello = outgoing.read()
    writer.write(hello[:20])
    await asyncio.sleep(0.2)
    writer.write(hello[20:])
    async with asyncio.timeout(30):
        while True:
            try:
                client.do_handshake()
                break
            except ssl.SSLWantReadError:
                incoming.write(await reader.read(65536))
        client.write(b"r")
        writer.write(outgoing.read())
        answer = b""
        while not answer:
            with contextlib.suppress(ssl.SSLWantReadError):
                answer = client.read(1)
                break
            incoming.write(await reader.read(65536))
    assert (answer, world.manager.raft_peers) == (b"r", ["m2"])
    writer.close()


async def test_raft_connections_to_dead_machines_end_within_seconds(world: World, tmp_path: Path):
    """On both ends the kernel gives up soon: a manager that comes back is sent to at once."""
    tls = node_tls(tmp_path / "m2", world.root, Role.MANAGER)
    reader, stream, _ = await dialled(world.addr, tls)
    await reader.readexactly(1)
    for sock in (stream.get_extra_info("socket"), *world.manager.raft_sockets):
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 5000
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) <= 5
    stream.close()


@pytest.mark.parametrize(
    ("role", "cluster_id"), [(Role.WORKER, CLUSTER), (Role.MANAGER, "another")]
)
async def test_raft_is_refused_to_workers_and_to_other_swarms(
    world: World, tmp_path: Path, role: Role, cluster_id: str
):
    """The connection ends before a byte of Raft was spoken."""
    tls = node_tls(tmp_path / "x", world.root, role, cluster_id)
    reader, stream, _ = await dialled(world.addr, tls)
    with pytest.raises((asyncio.IncompleteReadError, ConnectionError, ssl.SSLError)):
        await asyncio.wait_for(reader.readexactly(1), 5)
    assert world.manager.raft_peers == []
    stream.close()


async def test_raft_is_refused_to_a_certificate_of_another_root(world: World, tmp_path: Path):
    """A manager's certificate of the same names, but signed by somebody else, is none."""
    tls = node_tls(tmp_path / "m2", new_root(NOW), Role.MANAGER)
    tls.client(ALPN_RAFT).load_verify_locations(cadata=world.root.cert_pem)
    reader, stream, _ = await dialled(world.addr, tls)
    with pytest.raises((ConnectionError, ssl.SSLError, asyncio.IncompleteReadError)):
        await asyncio.wait_for(reader.readexactly(1), 5)
    assert world.manager.raft_peers == []
    stream.abort()


async def test_a_manager_that_chose_another_protocol_speaks_no_raft(world: World, tmp_path: Path):
    """Its certificate alone makes no connection one of raft's."""
    tls = node_tls(tmp_path / "m2", world.root, Role.MANAGER)
    other = tls._loaded(ssl.PROTOCOL_TLS_CLIENT, ["another/1"])
    host, _, port = world.addr.partition(":")
    reader, writer = await asyncio.open_connection(host, int(port), ssl=other)
    answer = b""
    with contextlib.suppress(ConnectionError, ssl.SSLError):
        async with asyncio.timeout(10):
            answer = await reader.read(1)
    assert (answer, world.manager.raft_peers) == (b"", [])
    writer.transport.abort()


async def test_plaintext_is_no_raft(world: World):
    """A frame without TLS ends the connection, and nobody reads it."""
    host, _, port = world.addr.partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write((20).to_bytes(4, "big") + bytes(20))
    with contextlib.suppress(ConnectionError):
        assert await asyncio.wait_for(reader.read(), 5) == b""
    assert world.manager.raft_peers == []
    writer.close()


@pytest.mark.parametrize("who", ["another root", "a worker", "another protocol"])
async def test_raft_is_spoken_only_to_a_manager_of_this_swarm(tmp_path: Path, who: str):
    """The dialler checks the certificate too: nothing is sent to anybody else."""
    root = new_root(NOW)
    theirs = new_root(NOW) if who == "another root" else root
    server = node_tls(
        tmp_path / "s", theirs, Role.WORKER if who == "a worker" else Role.MANAGER
    ).server
    if who == "another protocol":
        server.sni_callback = None  # this context alone shall answer
        server.set_alpn_protocols([ALPN_CA])

    async def accept(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    listening = await asyncio.start_server(accept, "127.0.0.1", 0, ssl=server)
    host, port = listening.sockets[0].getsockname()
    with pytest.raises((ConnectionError, ssl.SSLError)):
        await dial_raft(f"{host}:{port}", node_tls(tmp_path / "m", root, Role.MANAGER))
    listening.close()


@pytest.mark.parametrize("alpn", [ALPN_RAFT, ALPN_AGENT])
async def test_without_a_certificate_only_certificates_can_be_asked_for(world: World, alpn: str):
    """Raft and sessions end at once; no ALPN at all too."""
    host, _, port = world.addr.partition(":")
    bare = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    bare.check_hostname = False
    bare.load_verify_locations(cadata=world.root.cert_pem)
    bare.set_alpn_protocols([alpn])
    reader, writer = await asyncio.open_connection(host, int(port), ssl=bare)
    writer.write(b"GET /session HTTP/1.1\r\nHost: x\r\n\r\n")
    try:
        answer = await asyncio.wait_for(reader.read(1), 5)
    except (ConnectionError, ssl.SSLError):
        answer = b""
    assert answer == b""
    writer.close()


async def test_a_session_needs_the_session_protocol(world: World, tmp_path: Path):
    """The certificate protocol doesn't open sessions, with no certificate or with one."""
    tls = node_tls(tmp_path / "w", world.root, Role.WORKER)
    tls._clients[ALPN_AGENT] = tls.client(ALPN_CA)
    with pytest.raises(ConnectionError):
        await dial_session(world.addr, tls)


async def test_a_workers_session_carries_whole_frames(world: World, tmp_path: Path):
    """The manager knows the node by its certificate, and where it comes from."""
    tls = node_tls(tmp_path / "w7", world.root, Role.WORKER)
    channel = await dial_session(world.addr, tls)
    await channel.send(b"hello")
    assert await channel.receive() == b"w7@127.0.0.1:hello"
    with pytest.raises(ConnectionError):
        await channel.receive()
    await channel.close()


async def test_an_agent_that_gives_up_dialling_leaves_no_socket(tmp_path: Path):
    """Thousands may, again and again, when their manager died and the others are busy."""
    told: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: told.append(context))
    tls = node_tls(tmp_path / "w9", new_root(NOW), Role.WORKER)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        host, port = silent.getsockname()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await dial_session(f"{host}:{port}", tls)
        gc.collect()
        await asyncio.sleep(0)
    assert told == []


async def test_a_manager_may_send_more_than_an_agent(world: World, tmp_path: Path):
    """Four configs of a megabyte for a node's tasks come at once, and must not end its session."""
    channel = await dial_session(world.addr, node_tls(tmp_path / "w8", world.root, Role.WORKER))
    most = b"x" * (FRAME_BYTES_MAX - 1)
    await channel.send(most)
    answer = await channel.receive()
    assert answer == b"w8@127.0.0.1:" + most
    assert len(answer) > FRAME_BYTES_MAX
    await channel.close()


async def test_a_removed_node_is_told_so(world: World, tmp_path: Path):
    """Not just refused: it shall end its tasks, since the swarm has replaced them."""
    tls = node_tls(tmp_path / "gone", world.root, Role.WORKER)
    with pytest.raises(RemovedError, match="was removed from its swarm: leave the swarm"):
        await dial_session(world.addr, tls)


async def test_a_joiner_checks_the_root_before_it_sends_its_token(world: World):
    """A token of another swarm is not even shown."""
    import random

    from swarmops.pki.tokens import WrongRootError

    rng = random.Random(1)
    good = CertificateRequest(csr_pem="csr", token=new_token(world.root.cert_pem, rng))
    reply = await first_certificate(world.addr, good)
    assert (reply.cert_pem, world.manager.asked) == ("csr", [None])
    other = CertificateRequest(csr_pem="csr", token=new_token(new_root(NOW).cert_pem, rng))
    with pytest.raises(WrongRootError):
        await first_certificate(world.addr, other)
    assert len(world.manager.asked) == 1


async def test_a_renewal_is_asked_for_with_the_certificate_that_one_has(
    world: World, tmp_path: Path
):
    """The manager sees who asks."""
    tls = node_tls(tmp_path / "w3", world.root, Role.WORKER)
    await renewed_certificate(world.addr, tls, "csr")
    asked = world.manager.asked[0]
    assert asked is not None
    assert asked.node_id == "w3"


async def test_only_a_manager_can_become_a_member(world: World, tmp_path: Path):
    """A worker's certificate gets a 403 and a sentence."""
    request = MemberRequest(raft_id="r", addr="127.0.0.1:1")
    manager = node_tls(tmp_path / "m", world.root, Role.MANAGER)
    assert (await become_member(world.addr, manager, request)).members[0][1] == "m"
    worker = node_tls(tmp_path / "w", world.root, Role.WORKER)
    with pytest.raises(ApiError, match="only a manager") as refusal:
        await become_member(world.addr, worker, request)
    assert refusal.value.status == 403


async def test_a_manager_that_is_not_there_is_named(tmp_path: Path):
    """Address and reason, and what to check."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        addr = f"127.0.0.1:{free.getsockname()[1]}"
    tls = node_tls(tmp_path / "w", new_root(NOW), Role.WORKER)
    with pytest.raises(UnreachableError, match=rf"manager {addr} can't be reached .*: check"):
        await renewed_certificate(addr, tls, "csr")


async def test_a_port_in_use_is_refused_in_dockers_words(world: World, tmp_path: Path):
    """``listen tcp …: bind: address already in use``."""
    tls = node_tls(tmp_path / "m", world.root, Role.MANAGER)
    manager = FakeManager(world.root)
    port = NodePort(tls, CLUSTER, make_port_app(manager), manager.accept)
    host, _, number = world.addr.partition(":")
    with pytest.raises(ApiError, match=r"listen tcp .*: bind: address already in use: stop what"):
        await port.listen(host, int(number))


@pytest.mark.slow
async def test_a_manager_reads_the_logs_of_another_s_node(world: World, tmp_path: Path):
    """Frame by frame, to their end; one that goes away ends the reading."""
    tls = node_tls(tmp_path / "m2", world.root, Role.MANAGER).client(ALPN_AGENT)
    asked = LogsAsked("n7", ["t1"], LogQuery(tail=3))
    got = [frame async for frame in fetch_logs(world.addr, tls, asked)]
    assert got == [LogLines(1, [LogRecord("t1", 1, 5, b"n7 3")]), LogsEnd(1, ["p"])]

    world.manager.logs_ended.clear()
    following = LogsAsked("n7", ["t1"], LogQuery(follow=True))
    frames = fetch_logs(world.addr, tls, following)
    await anext(frames)
    await frames.aclose()
    await asyncio.wait_for(world.manager.logs_ended.wait(), 10)


async def test_workers_read_no_logs_and_a_dead_manager_is_a_broken_stream(
    world: World, tmp_path: Path
):
    """Logs may hold secrets: they go to managers alone."""
    asked = LogsAsked("n7", ["t1"], LogQuery())
    worker = node_tls(tmp_path / "w", world.root, Role.WORKER).client(ALPN_AGENT)
    with pytest.raises(ConnectionError, match="403"):
        await anext(fetch_logs(world.addr, worker, asked))
    assert not world.manager.logs_ended.is_set()
    with pytest.raises(ConnectionError):
        await anext(fetch_logs("127.0.0.1:1", worker, asked))
