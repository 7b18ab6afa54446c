"""The daemon: where this node stands in its swarm, and what must run because of it.

Holds the agent always and the manager part when the role says so. Roles change through the swarm:
the agent's session brings the node's observed role, the daemon gets the certificate that fits it,
and starts or stops the manager part. Made by ``__main__``; the API sees it through ``control``.
What only managers need is imported where it is needed: a worker's memory is for its tasks.
"""

from __future__ import annotations

import asyncio
import random
import shutil
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import structlog
from msgspec import UNSET
from msgspec.structs import replace

from swarmops.agent.agent import Agent
from swarmops.agent.describe import Describe
from swarmops.agent.executors import ExecutorContext, load_executors
from swarmops.agent.ingress.keeper import Keeper
from swarmops.agent.machine_file import FILE as MACHINE_FILE
from swarmops.agent.vault import KEY_FILE, KeyFile
from swarmops.errors import SwarmopsError
from swarmops.model.node import Role
from swarmops.model.resolved import resolve_types
from swarmops.model.session import Channel, NodeChanged, Welcome
from swarmops.model.swarm import Peer
from swarmops.pki.identity import Credentials
from swarmops.pki.wire import CertificateReply
from swarmops.runtime.address import own_address
from swarmops.runtime.background import Background
from swarmops.runtime.certificate import NodeCertificate
from swarmops.runtime.dial import RemovedError, dial_session
from swarmops.runtime.keyring import Keyring
from swarmops.runtime.renewal import renewal_due
from swarmops.runtime.session_channel import SessionChannel
from swarmops.runtime.state import (
    STATE_FILE,
    NodeState,
    load_state,
    new_raft_id,
    save_state,
)

if TYPE_CHECKING:
    from swarmops.runtime.manager_part import ManagerPart

log = structlog.get_logger(__name__)

DOCKER_SOCKET = Path("/var/run/docker.sock")
_ROLE_RETRY_S = 1.0
_ROOT_SPREAD_S = 2.0
_CERTIFICATES = "certificates"
_WORKER = "worker"


class Daemon:
    """One node. ``start`` brings it back to where it was; ``stop`` leaves its tasks running."""

    def __init__(
        self,
        data_dir: Path,
        *,
        hostname: str,
        now: Callable[[], datetime],
        rng: random.Random,
        docker_socket: Path = DOCKER_SOCKET,
    ) -> None:
        self.data_dir = data_dir
        self.docker_socket = docker_socket
        self.hostname = hostname
        self.now = now
        self.rng = rng
        self.state: NodeState | None = None
        self.manager: ManagerPart | None = None
        self.pending = False
        self.removed = False
        self.error = ""
        self.locked = False
        """This manager waits for its unlock key."""
        self.keyring = Keyring(data_dir)
        self.certificate = NodeCertificate(data_dir / _CERTIFICATES, self.keyring)
        self._agent: Agent | None = None
        self._ingress: Keeper | None = None
        self._background = Background(self._part_failed)
        self._wanted_role: Role | None = None
        self._wanted_issuer = ("", "")
        self._root_task: asyncio.Task[None] | None = None
        self._renewing = asyncio.Lock()
        self._role_task: asyncio.Task[None] | None = None
        self._last_manager = ""
        self._locking: asyncio.Task[None] | None = None
        self._session: SessionChannel | None = None
        self.became_worker = asyncio.Event()
        self.welcomed = asyncio.Event()
        """A manager has taken this node's session: the swarm counts on it."""

    async def start(self) -> None:
        """Resume membership from disk, if there is any; returns once the parts are running."""
        resolve_types()
        self.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        state = load_state(self.data_dir)
        if state is None:
            return
        self.state = state
        if state.manager and self.keyring.locked:
            log.warning("this manager is locked: it needs its unlock key")
            self.locked = True
            self.start_agent()  # its tasks go on; nobody hears of them until it is unlocked
            return
        self.certificate.use()
        if state.manager:
            part = self.new_manager_part(state)
            if part.has_state():
                await part.reopen()
                self.have_manager(part)
            elif len(state.managers) > 1:
                # The daemon died as it became a manager: the swarm will ask it to again.
                self._remember(replace(state, manager=False, raft_id=""))
            else:
                # It died while it made the swarm: nothing was promised to anybody.
                await self.forget()
                return
        self.start_agent()

    async def unlock(self, unlock_key: bytes) -> None:
        """Open what is on disk and go on as a manager. Raises WrongKeyError, ApiError."""
        self.keyring.unlock(unlock_key)
        try:
            self.certificate.use()
            part = self.new_manager_part(self._member())
            await part.reopen()
        except BaseException:
            self.keyring.lock_again()
            raise
        self.locked = False
        self.have_manager(part)
        if self._agent is not None:
            self._agent.reconnect()

    async def stop(self, back_within_s: float = 0.0) -> None:
        """Stop all parts; tasks go on, and a leader hands over first.

        ``back_within_s``: for how long the managers shall not miss this node (0: as usual).
        """
        self._background.cancel()
        if self._agent is not None:
            await self._agent.stop(back_within_s)
            await self._agent.close()
        if self.manager is not None:
            await self.manager.stop(transfer=True)

    # Membership: called by the API through ``control`` -------------------------------------------

    def adopt(self, state: NodeState, credentials: Credentials) -> None:
        """Take up a membership: keep it on disk, use its certificate."""
        self.certificate.adopt(credentials)
        self._remember(state)

    def new_manager_part(self, state: NodeState) -> ManagerPart:
        """Build a manager part for this membership, not started yet."""
        from swarmops.runtime.manager_part import ManagerPart  # noqa: PLC0415 - see above

        resolve_types()
        return ManagerPart(
            data_dir=self.data_dir,
            data_key=self.keyring.data_key(),
            certificates=self.certificate.folder,
            state=state,
            tls=self.certificate.tls,
            now=self.now,
            rng=self.rng,
            on_removed=self._removed_from_raft,
        )

    def start_agent(self) -> None:
        """Start the worker part: its tasks first, then a session with a manager."""
        state = self._member()
        context = ExecutorContext(
            node_id=state.node_id,
            data_dir=self.data_dir / _WORKER,
            docker_host=f"unix://{self.docker_socket}",
        )
        executors = load_executors(context)
        host, _, _ = state.advertise_addr.rpartition(":")
        listen_host, _, _ = state.listen_addr.rpartition(":")
        ingress = self._ingress = Keeper(
            context.data_dir,
            host=listen_host.strip("[]"),
            node_id=state.node_id,
            say=self._complain,
        )
        self._agent = Agent(
            node_id=state.node_id,
            dial=self._dial,
            data_dir=context.data_dir,
            executors=executors,
            describe=Describe(
                hostname=self.hostname,
                executors=executors,
                file=self.data_dir / MACHINE_FILE,
                tls_info=lambda: self._member().certificate.tls_info,
            ),
            node_addr=host.strip("[]"),
            on_node=self._on_node,
            on_ingress=ingress.take,
            sealer=KeyFile(context.data_dir / KEY_FILE, self._sealing_key),
            now=self.now,
            rng=self.rng,
        )
        self._background.spawn(self._run_agent(self._agent))
        self._background.spawn(ingress.run())
        self._background.spawn(self._renew_certificates())

    async def forget(self) -> None:
        """Leave the swarm: stop and remove the tasks, the manager part and all state."""
        self._background.cancel()
        if self._ingress is not None:
            await self._ingress.end()
            self._ingress = None
        if self._agent is not None:
            await self._agent.remove_tasks()
            await self._agent.stop()
            await self._agent.close()
            self._agent = None
        if self.manager is not None:
            await self.manager.stop(transfer=True)
            self.manager = None
        (self.data_dir / STATE_FILE).unlink(missing_ok=True)
        self.certificate.forget()
        for folder in (self.data_dir / "raft", self.data_dir / _WORKER):
            shutil.rmtree(folder, ignore_errors=True)
        self.keyring.forget()
        self.locked = False
        self.state = None
        self.error = ""
        self.removed = False
        self.welcomed.clear()
        self._wanted_role = None

    # The agent's session -------------------------------------------------------------------------

    async def _run_agent(self, agent: Agent) -> None:
        try:
            await agent.run()
        except SwarmopsError as exc:
            self.error = str(exc)
            log.error("the agent stopped", reason=str(exc))  # noqa: TRY400 - one sentence is all

    def _complain(self, text: str) -> None:
        if self._agent is not None:
            self._agent.complain(text)

    async def _dial(self) -> Channel:
        """Open a session with one of the managers, never twice in a row with one that failed."""
        state = self._member()
        others = [p.addr for p in state.managers if p.addr != self._last_manager]
        addr = self.rng.choice(others or [p.addr for p in state.managers])
        self._last_manager = addr
        # Managers show the address that a session comes from: it shall be the advertised one.
        try:
            self._session = await dial_session(
                addr, self.certificate.tls, own_address(state.advertise_addr)
            )
        except RemovedError as exc:
            if not self.removed:
                self.removed = True
                self.error = str(exc)
                self._background.spawn(self._end_tasks())
            raise
        return self._session

    async def _end_tasks(self) -> None:
        """End what the swarm has replaced elsewhere: nothing must run twice."""
        log.warning("removed from the swarm: ending all tasks")
        if self._agent is not None:
            await self._agent.remove_tasks()

    def _on_node(self, frame: Welcome | NodeChanged) -> None:
        state = self._member()
        if self._session is not None:
            self._session.expect(frame.heartbeat_period_s)
        managers = tuple(sorted(frame.managers, key=lambda peer: peer.node_id))
        if managers and managers != state.managers:
            self._remember(replace(state, managers=managers))
        if isinstance(frame, Welcome):
            self._last_manager = ""
            self.welcomed.set()
        self._wanted_issuer = (frame.root_ca, frame.issuer)
        if not self._is_of_root() and (self._root_task is None or self._root_task.done()):
            self._root_task = self._background.spawn(self._take_root())
        if frame.node.internal is not UNSET:
            self._want_role(frame.node.internal.role)

    # Roles ---------------------------------------------------------------------------------------

    def _want_role(self, role: Role) -> None:
        self._wanted_role = role
        if self._role_task is None or self._role_task.done():
            if self._has_role(role):
                return
            self._role_task = self._background.spawn(self._take_role())

    async def _take_role(self) -> None:
        """Follow the swarm's decision about this node's role until both agree."""
        while self._wanted_role is not None and not self._has_role(self._wanted_role):
            try:
                reply = await self._renew()
                if reply.role is Role.WORKER:
                    await self._leave_group()
                elif not self._member().manager:
                    await self.become_manager()
            except (SwarmopsError, OSError, TimeoutError) as exc:
                self.error = f"the role change waits: {exc}"
                log.warning("could not change role yet", reason=str(exc))
                await asyncio.sleep(_ROLE_RETRY_S)
            else:
                self.error = ""
                log.info("role changed", role=reply.role.value)

    async def become_manager(self) -> None:
        """Start the manager part and join the group; on disk only once that is done."""
        state = replace(self._member(), manager=True, raft_id=new_raft_id(self.rng))
        part = self.new_manager_part(state)
        others = [peer for peer in state.managers if peer.node_id != state.node_id]
        try:
            await part.join(others)
        except BaseException:
            await part.stop(transfer=False)
            part.wipe()
            raise
        self._remember(state)
        self.have_manager(part)
        self.became_worker.clear()

    def have_manager(self, part: ManagerPart) -> None:
        """Be a manager from now on, whose keys are locked as the swarm wants them."""
        from swarmops.runtime import lock  # noqa: PLC0415 - see above

        self.manager = part
        if self._locking is not None:
            self._locking.cancel()
        self._locking = self._background.spawn(
            lock.follow(part.store, self.keyring, self.certificate)
        )

    def _sealing_key(self) -> bytes | None:
        """Return the key for what tasks use: of its own file where managers don't lock."""
        return self.keyring.derived("secrets of tasks") if self.keyring.protected else None

    async def begin_again_alone(self) -> None:
        """Go on as the only manager with the state that is here, after the others are lost.

        Raises what reopening raises; the part is stopped then, and the daemon can be restarted.
        """
        part, self.manager = self.manager, None
        if part is None:
            return
        await part.stop(transfer=False)
        await part.recover()
        state = self._member()
        alone = (Peer(node_id=state.node_id, addr=state.advertise_addr),)
        self._remember(replace(state, managers=alone))
        fresh = self.new_manager_part(self._member())
        await fresh.reopen()
        self.have_manager(fresh)
        await fresh.demote_others()

    async def _leave_group(self) -> None:
        """Stop the manager part and forget its log: a raft ID never comes back."""
        self._remember(replace(self._member(), manager=False, raft_id=""))
        part, self.manager = self.manager, None
        if part is not None:
            await part.stop(transfer=False)
            part.wipe()
        self._forget_keys()
        self.became_worker.set()

    def _forget_keys(self) -> None:
        """Keep the node's own key as workers do; the log is gone, and so goes its key."""
        if self._locking is not None:
            self._locking.cancel()
            self._locking = None
        if self.keyring.protected:
            self.keyring.unwrap()
            self.certificate.rewrite(protected=False)
        self.keyring.forget()

    def _removed_from_raft(self) -> None:
        """Raft says that this member was removed: whatever comes next, it begins without a member.

        The role may be the worker's next, or the manager's again before this node heard of it.
        """
        if self.manager is not None:
            log.info("removed from the Raft group")
            self._background.spawn(self._leave_removed())

    async def _leave_removed(self) -> None:
        await self._leave_group()
        if self._agent is not None:
            self._agent.reconnect()

    def _has_role(self, role: Role) -> bool:
        state = self._member()
        return state.certified is role and state.manager is (role is Role.MANAGER)

    # Certificates --------------------------------------------------------------------------------

    async def _renew(self) -> CertificateReply:
        """Get a new certificate in the role that the swarm now gives this node."""
        async with self._renewing:
            state = self._member()
            others = [peer for peer in state.managers if peer.node_id != state.node_id]
            here = self.manager.issue_own if self.manager is not None else None
            reply = await self.certificate.renew(others, here)
            self._remember(
                replace(self._member(), certificate=reply.described, certified=reply.role)
            )
        if self._agent is not None:
            self._agent.look_again()
        return reply

    def _is_of_root(self) -> bool:
        """Whether the certificate is of the issuer, and trusts the root, that the swarm names."""
        root, issuer = self._wanted_issuer
        about = self._member().certificate.tls_info
        return not issuer or (about.trust_root, about.cert_issuer_public_key) == (root, issuer)

    async def _take_root(self) -> None:
        """Renew until certificate and root are those that the swarm now wants."""
        await asyncio.sleep(self.rng.uniform(0, _ROOT_SPREAD_S))  # not all nodes at once
        while not self._is_of_root():
            try:
                await self._renew()
            except (SwarmopsError, OSError, TimeoutError) as exc:
                log.warning("could not change to the new root yet", reason=str(exc))
            if not self._is_of_root():
                await asyncio.sleep(_ROLE_RETRY_S)
        log.info("changed to another root or issuer")

    async def _renew_certificates(self) -> None:
        """Renew at a random point between 50 and 80 % of the certificate's life, for ever."""
        while True:
            certificate = self._member().certificate
            await asyncio.sleep(renewal_due(certificate, self.now(), self.rng))
            try:
                await self._renew()
            except (SwarmopsError, OSError) as exc:
                log.warning("could not renew the certificate yet", reason=str(exc))
                await asyncio.sleep(_ROLE_RETRY_S)

    # Small things --------------------------------------------------------------------------------

    def _member(self) -> NodeState:
        if self.state is None:
            raise RuntimeError("this node is in no swarm")
        return self.state

    def _remember(self, state: NodeState) -> None:
        save_state(self.data_dir, state)
        self.state = state

    def _part_failed(self, reason: str) -> None:
        self.error = reason
