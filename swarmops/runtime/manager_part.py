"""The part of a node that only managers have: Raft, the store, the control loops, the node port.

Started and stopped by the daemon as the node's role changes; knows nothing of the agent or the API.
"""

from __future__ import annotations

import asyncio
import random
import shutil
from collections.abc import AsyncGenerator, Awaitable, Callable
from datetime import datetime
from pathlib import Path

import structlog
from msgspec import UNSET
from msgspec.structs import replace

from swarmops.errors import ApiError, SwarmopsError
from swarmops.manager import Manager
from swarmops.manager.ca import CertificateAuthority
from swarmops.model.base import given
from swarmops.model.node import Node, NodeInternal, Role
from swarmops.model.session import Channel, LogFrame, LogsAsked
from swarmops.model.swarm import Peer
from swarmops.pki.identity import load_credentials
from swarmops.pki.tls import ALPN_AGENT, NodeTLS, PeerIdentity
from swarmops.pki.wire import CertificateReply, CertificateRequest, MemberReply, MemberRequest
from swarmops.raft import BootClock, Member, Raft, StreamTransport, force_new_cluster
from swarmops.runtime.dial import UnreachableError, become_member, dial_raft, split_address
from swarmops.runtime.log_stream import fetch_logs
from swarmops.runtime.port import NodePort
from swarmops.runtime.requests import make_port_app
from swarmops.runtime.state import NodeState
from swarmops.store import Store

log = structlog.get_logger(__name__)

PROPOSE_TIMEOUT_S = 10.0
LEADER_WAIT_S = 2.0
JOIN_TIMEOUT_S = 60.0
_JOIN_RETRY_S = 0.5
_ADD_MEMBER_TIMEOUT_S = 20.0


class ManagerPart:
    """A running manager; made anew each time the node becomes one."""

    def __init__(
        self,
        *,
        data_dir: Path,
        data_key: bytes,
        certificates: Path,
        state: NodeState,
        tls: NodeTLS,
        now: Callable[[], datetime],
        rng: random.Random,
        on_removed: Callable[[], None],
    ) -> None:
        self._dir = data_dir / "raft"
        self._data_key = data_key
        self._certificates = certificates
        self._state = state
        self._tls = tls
        self.store = Store(now=now)
        self.me = Member(raft_id=state.raft_id, node_id=state.node_id, addr=state.advertise_addr)
        self._transport = StreamTransport(lambda addr: dial_raft(addr, tls), self.was_removed)
        self.raft = Raft(
            directory=self._dir,
            me=self.me,
            state_machine=self.store,
            data_key=data_key,
            transport=self._transport,
            rng=rng,
            clock=BootClock(),
        )
        self.store.propose = self._propose
        self.manager = Manager(self.store, self.raft, node_id=state.node_id, now=now, rng=rng)
        self.manager.logs.fetch = lambda addr, asked: fetch_logs(
            addr, tls.client(ALPN_AGENT), asked
        )
        self.raft.on_leadership(self.manager.on_leadership)
        self.raft.on_removed(on_removed)
        self._started = False
        self._authority = CertificateAuthority(self.store, now=now, rng=rng)
        self._port = NodePort(
            tls,
            state.cluster_id,
            make_port_app(self),
            self._accept,
            takes_agents=lambda: self.manager.dispatcher.takes_sessions,
        )

    async def bootstrap(self) -> None:
        """Begin a new group of one."""
        await self._listen()
        await self._begin(self.raft.start("bootstrap"))

    async def reopen(self) -> None:
        """Go on with what is on disk."""
        await self._listen()
        await self._begin(self.raft.start("open"))

    async def join(self, managers: list[Peer]) -> None:
        """Become a member of the group that these managers are in.

        Returns once the group has taken this member in and its log has arrived.
        """
        await self._listen()
        request = MemberRequest(raft_id=self.me.raft_id, addr=self.me.addr)
        async with asyncio.timeout(JOIN_TIMEOUT_S):
            reply = await self._ask_to_join([peer.addr for peer in managers], request)
            members = [Member(raft_id=r, node_id=n, addr=a) for r, n, a in reply.members]
            await self._begin(self.raft.start("join", members))
            while self.store.cluster is None:
                with self.store.watch("clusters") as watch:
                    if self.store.cluster is None:
                        await watch.next()

    async def stop(self, *, transfer: bool) -> None:
        """Stop everything; a leader hands over first if asked, so that nothing is disturbed."""
        if transfer and self._started and self._is_needed_leader():
            try:
                await self.raft.transfer_leadership()
            except SwarmopsError as exc:
                log.info("leadership was not handed over", reason=str(exc))
        self._port.refuse()
        if self._started:
            self._started = False
            # Sessions end here; only then has the port nothing open that it would wait for.
            await self.manager.stop()
            await self.raft.stop()
        await self._port.close()

    async def recover(self) -> None:
        """Make a stopped member's log that of a group of one: what only the others had is lost."""
        await asyncio.to_thread(force_new_cluster, self._dir, me=self.me, data_key=self._data_key)

    async def demote_others(self) -> None:
        """Make every other manager a worker: they are members no more, and count no more."""
        await self.wait_for_leader()
        for node in list(self.store.nodes.by_role(Role.MANAGER)):
            if node.id != self.me.node_id:
                await self.store.modify(self.store.nodes, node.id, _as_worker)

    def wipe(self) -> None:
        """Remove the group's state from disk: a raft ID never comes back."""
        shutil.rmtree(self._dir, ignore_errors=True)

    async def wait_for_leader(self) -> None:
        """Return once a leader is known; raises NoLeader after 2 s."""
        if self.raft.status().leader is not None:
            return
        await self.raft.wait_for_leader(timeout_s=LEADER_WAIT_S)

    async def read_barrier(self) -> None:
        """Return once all that any manager has answered is applied here; NoLeader after 2 s."""
        await self.raft.read_barrier(timeout_s=LEADER_WAIT_S)

    def trouble(self) -> str:
        """Return why this manager neither leads nor votes, empty while all is well."""
        if not self._started:
            return ""
        status = self.raft.status()
        if status.failure is not None:
            return f"{status.failure}: this manager takes no part any more: restart its daemon"
        if status.disk_error is not None:
            return f"{status.disk_error}: this manager neither leads nor votes: make room"
        return ""

    def has_state(self) -> bool:
        """Whether this member was in the group before."""
        return self._dir.is_dir() and any(self._dir.iterdir())

    def _is_needed_leader(self) -> bool:
        status = self.raft.status()
        return status.is_leader and len(status.voters) > 1

    async def _listen(self) -> None:
        host, port = split_address(self._state.listen_addr)
        await self._port.listen(host, port)

    async def _begin(self, start: Awaitable[None]) -> None:
        try:
            await start
            self._started = True
            await self.manager.start()
        except BaseException:
            await self._port.close()
            raise

    def _accept(self, node_id: str) -> asyncio.Protocol | None:
        return self._transport.accept(node_id) if self._started else None

    async def _ask_to_join(self, addrs: list[str], request: MemberRequest) -> MemberReply:
        while True:
            for addr in addrs:
                try:
                    return await become_member(addr, self._tls, request)
                except (UnreachableError, ApiError) as exc:
                    log.info("not a member yet", manager=addr, reason=str(exc))
            await asyncio.sleep(_JOIN_RETRY_S)

    async def _propose(self, data: bytes) -> object:
        return await self.raft.propose(data, timeout_s=PROPOSE_TIMEOUT_S)

    # What the node port's handlers ask for ------------------------------------------------------

    def root_pem(self) -> str:
        """Return the swarm's root certificate."""
        cluster = self.store.cluster
        if cluster is not None and cluster.internal is not UNSET:
            return cluster.internal.ca_cert
        return load_credentials(self._certificates).root_pem

    async def issue(
        self, request: CertificateRequest, shown: PeerIdentity | None
    ) -> CertificateReply:
        """Issue a certificate."""
        return await self._authority.issue(request, shown)

    async def issue_own(self, request: CertificateRequest) -> CertificateReply:
        """Issue this node's own certificate, in the role that the swarm gives it."""
        own = PeerIdentity(
            node_id=self._state.node_id, role=Role.MANAGER, cluster_id=self._state.cluster_id
        )
        return await self._authority.issue(request, own)

    async def add_member(self, request: MemberRequest, peer: PeerIdentity) -> MemberReply:
        """Take a manager into the group; refused unless the swarm made the node a manager."""
        node = self.store.nodes.get(peer.node_id)
        if node is None or node.internal is UNSET or node.internal.role is not Role.MANAGER:
            raise ApiError(403, f"node {peer.node_id} is no manager of this swarm")
        member = Member(raft_id=request.raft_id, node_id=peer.node_id, addr=request.addr)
        await self._remove_predecessors(member)
        members = await self.raft.add_member(member, timeout_s=_ADD_MEMBER_TIMEOUT_S)
        await self.store.modify(
            self.store.nodes, peer.node_id, lambda stored: _with_raft_id(stored, request.raft_id)
        )
        return MemberReply(members=[(m.raft_id, m.node_id, m.addr) for m in members])

    def was_removed(self, node_id: str) -> bool:
        """Whether this node was removed from the swarm, as far as this replica knows."""
        cluster = self.store.cluster
        if cluster is None or cluster.internal is UNSET:
            return False
        return any(gone.id == node_id for gone in cluster.internal.removed_nodes)

    async def _remove_predecessors(self, member: Member) -> None:
        """Remove what the same node was in the group before it lost its state."""
        for old in self.raft.status().members:
            if old.node_id == member.node_id and old.raft_id != member.raft_id:
                await self.raft.remove_member(old.raft_id)

    async def serve_session(self, channel: Channel, node_id: str, addr: str) -> None:
        """Serve an agent until its session ends."""
        await self.manager.dispatcher.serve(channel, node_id, addr)

    def read_logs(self, asked: LogsAsked) -> AsyncGenerator[LogFrame, None]:
        """Read the output of tasks of a node whose session is here."""
        return self.manager.logs.of_held_node(asked)


def _as_worker(node: Node) -> Node:
    internal = replace(given(node.internal, NodeInternal()), role=Role.WORKER, raft_id="")
    spec = replace(node.spec, role=Role.WORKER)
    return replace(node, spec=spec, internal=internal, manager_status=UNSET)


def _with_raft_id(node: Node, raft_id: str) -> Node:
    return replace(node, internal=replace(given(node.internal, NodeInternal()), raft_id=raft_id))
