"""The daemon: where this node stands in its swarm, and what must run because of it.

Holds the worker part always and the manager part when the role says so, and wires them to what the
agent's session brings: the managers, the root (``certificate_keeper``), the role (``roles``, which
takes and gives up the ``manager_seat``). Made by ``node``; the API sees it through ``control``.
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

from swarmops.agent.machine_file import FILE as MACHINE_FILE
from swarmops.model.resolved import resolve_types
from swarmops.model.session import Channel, NodeChanged, Welcome
from swarmops.pki.identity import Credentials
from swarmops.runtime.address import own_address
from swarmops.runtime.background import Background
from swarmops.runtime.certificate import Issue, NodeCertificate
from swarmops.runtime.certificate_keeper import CertificateKeeper
from swarmops.runtime.dial import RemovedError, dial_session
from swarmops.runtime.keyring import Keyring
from swarmops.runtime.manager_seat import ManagerSeat
from swarmops.runtime.roles import Roles
from swarmops.runtime.session_channel import SessionChannel
from swarmops.runtime.state import Membership, NodeState
from swarmops.runtime.worker_part import WorkerPart

if TYPE_CHECKING:
    from swarmops.runtime.manager_part import ManagerPart

log = structlog.get_logger(__name__)

DOCKER_SOCKET = Path("/var/run/docker.sock")
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
        self.pending = False
        self.removed = False
        self.error = ""
        self.locked = False
        """This manager waits for its unlock key."""
        self.keyring = Keyring(data_dir)
        self.certificate = NodeCertificate(data_dir / _CERTIFICATES, self.keyring)
        self._worker: WorkerPart | None = None
        self._background = Background(self._set_error)
        self._last_manager = ""
        self._session: SessionChannel | None = None
        self._membership = Membership(data_dir)
        self.seat = ManagerSeat(
            data_dir,
            self._membership,
            self.certificate,
            self.keyring,
            self._background,
            now=now,
            rng=rng,
            on_lost=self._reconnect,
        )
        self._keeper = CertificateKeeper(
            self.certificate,
            self._membership,
            self._background,
            now=now,
            rng=rng,
            issue_here=self._issue_here,
            on_renewed=self._look_again,
        )
        self._roles = Roles(
            self._membership, self._keeper, self.seat, self._background, self._set_error
        )
        self.welcomed = asyncio.Event()
        """A manager has taken this node's session: the swarm counts on it."""

    @property
    def state(self) -> NodeState | None:
        """Where this node stands in its swarm; None while it is in none."""
        return self._membership.state

    @property
    def manager(self) -> ManagerPart | None:
        """The running manager part; None on a worker."""
        return self.seat.part

    async def start(self) -> None:
        """Resume membership from disk, if there is any; returns once the parts are running."""
        resolve_types()
        self.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        state = self._membership.load()
        if state is None:
            return
        if state.manager and self.keyring.locked:
            log.warning("this manager is locked: it needs its unlock key")
            self.locked = True
            self.start_agent()  # its tasks go on; nobody hears of them until it is unlocked
            return
        self.certificate.use()
        if state.manager:
            part = self.seat.new_part(state)
            if part.has_state():
                await part.reopen()
                self.seat.take(part)
            elif len(state.managers) > 1:
                # The daemon died as it became a manager: the swarm will ask it to again.
                self._membership.remember(replace(state, manager=False, raft_id=""))
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
            part = self.seat.new_part(self._membership.current())
            await part.reopen()
        except BaseException:
            self.keyring.lock_again()
            raise
        self.locked = False
        self.seat.take(part)
        self._reconnect()

    async def stop(self, back_within_s: float = 0.0) -> None:
        """Stop all parts; tasks go on, and a leader hands over first.

        ``back_within_s``: for how long the managers shall not miss this node (0: as usual).
        """
        self._background.cancel()
        if self._worker is not None:
            await self._worker.stop(back_within_s)
        await self.seat.stop()

    # Membership: called by the API through ``control`` -------------------------------------------

    def adopt(self, state: NodeState, credentials: Credentials) -> None:
        """Take up a membership: keep it on disk, use its certificate."""
        self.certificate.adopt(credentials)
        self._membership.remember(state)

    def start_agent(self) -> None:
        """Start the worker part: its tasks first, then a session with a manager."""
        self._worker = WorkerPart(
            self._membership.current(),
            folder=self.data_dir / _WORKER,
            machine_file=self.data_dir / MACHINE_FILE,
            docker_socket=self.docker_socket,
            hostname=self.hostname,
            tls_info=lambda: self._membership.current().certificate.tls_info,
            sealing_key=self._sealing_key,
            dial=self._dial,
            on_node=self._on_node,
            say=self._set_error,
            now=self.now,
            rng=self.rng,
        )
        self._worker.start(self._background)
        self._background.spawn(self._keeper.keep_valid())

    async def forget(self) -> None:
        """Leave the swarm: stop and remove the tasks, the manager part and all state."""
        self._background.cancel()
        if self._worker is not None:
            await self._worker.remove()
            self._worker = None
        await self.seat.stop()
        self._membership.forget()
        self.certificate.forget()
        for folder in (self.data_dir / "raft", self.data_dir / _WORKER):
            shutil.rmtree(folder, ignore_errors=True)
        self.keyring.forget()
        self.locked = False
        self.error = ""
        self.removed = False
        self.welcomed.clear()
        self._roles.forget()

    # The agent's session -------------------------------------------------------------------------

    async def _dial(self) -> Channel:
        """Open a session with one of the managers, but not with the one of the last attempt.

        Nor with the one whose session has just ended: if it lost its power it will not even refuse.
        """
        state = self._membership.current()
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
        if self._worker is not None:
            await self._worker.agent.remove_tasks()

    def _on_node(self, frame: Welcome | NodeChanged) -> None:
        state = self._membership.current()
        if self._session is not None:
            self._session.expect(frame.heartbeat_period_s)
        managers = tuple(sorted(frame.managers, key=lambda peer: peer.node_id))
        if managers and managers != state.managers:
            self._membership.remember(replace(state, managers=managers))
        if isinstance(frame, Welcome):
            self.welcomed.set()
        self._keeper.want_issuer(frame.root_ca, frame.issuer)
        if frame.node.internal is not UNSET:
            self._roles.want(frame.node.internal.role)

    # Small things --------------------------------------------------------------------------------

    def _sealing_key(self) -> bytes | None:
        """Return the key for what tasks use: of its own file where managers don't lock."""
        return self.keyring.derived("secrets of tasks") if self.keyring.protected else None

    def _issue_here(self) -> Issue | None:
        return self.manager.issue_own if self.manager is not None else None

    def _look_again(self) -> None:
        if self._worker is not None:
            self._worker.agent.look_again()

    def _reconnect(self) -> None:
        if self._worker is not None:
            self._worker.agent.reconnect()

    def _set_error(self, reason: str) -> None:
        self.error = reason
