"""The daemon as the API sees it: init, join, leave, and where this node stands.

Implements ``api.control.NodeControl``. Whatever fails before the node is a member leaves nothing
behind, so the same request can be made again. What only managers need is imported where it is
needed: a worker's memory is for its tasks.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from datetime import datetime

import structlog
from msgspec.structs import replace

from swarmops.api.control import HostFacts, Insight, LocalState
from swarmops.api.errors import LOCKED, NOT_LOCKED
from swarmops.errors import ApiError, InputError, SwarmopsError
from swarmops.model.base import given
from swarmops.model.defaults import DEFAULT_PORT
from swarmops.model.node import (
    Role,
)
from swarmops.model.swarm import (
    InitRequest,
    JoinRequest,
    Peer,
)
from swarmops.pki.identity import Credentials
from swarmops.pki.tokens import WrongRootError, parse_token
from swarmops.pki.wire import CertificateReply, CertificateRequest
from swarmops.runtime.address import advertise_address, listen_address, why_not_listen
from swarmops.runtime.daemon import Daemon
from swarmops.runtime.dial import first_certificate, join_address, split_address
from swarmops.runtime.keyring import WrongKeyError
from swarmops.runtime.keys import new_key
from swarmops.runtime.lean import loaded
from swarmops.runtime.state import NodeState
from swarmops.store import Store

log = structlog.get_logger(__name__)

_BAD_TOKEN = (
    "rpc error: code = InvalidArgument desc = A valid join token is necessary to join this cluster"  # noqa: S105 - Docker's text
)


class Control:
    """What the API may ask of this node."""

    def __init__(self, daemon: Daemon, facts: HostFacts) -> None:
        self._daemon = daemon
        self.facts = facts
        self.engine_socket = daemon.docker_socket
        self._unlocking = asyncio.Lock()
        self.rng: random.Random = daemon.rng
        self.now: Callable[[], datetime] = daemon.now

    @property
    def node_id(self) -> str:
        """This node's ID, empty while it is in no swarm."""
        return self._daemon.state.node_id if self._daemon.state else ""

    @property
    def node_addr(self) -> str:
        """This node's advertised IP address, empty while it is in no swarm."""
        if self._daemon.state is None:
            return ""
        return self._daemon.state.advertise_addr.rpartition(":")[0].strip("[]")

    @property
    def store(self) -> Store | None:
        """The local replica, on a manager."""
        return self._daemon.manager.store if self._daemon.manager else None

    @property
    def insight(self) -> Insight | None:
        """Logs, events and figures, on a manager."""
        return self._daemon.manager.manager if self._daemon.manager else None

    def state(self) -> LocalState:
        """Return where this node stands."""
        if self._daemon.pending:
            return "pending"
        if self._daemon.removed:
            return "error"
        if self._daemon.locked:
            return "locked"
        return "active" if self._daemon.state else "inactive"

    def error(self) -> str:
        """Return what is wrong, empty if all is well."""
        if self._daemon.locked:
            return LOCKED
        part = self._daemon.manager
        return self._daemon.error or (part.trouble() if part is not None else "")

    def is_manager(self) -> bool:
        """Whether the manager part runs."""
        return self._daemon.manager is not None

    def leader_known(self) -> bool:
        """Whether this manager knows a leader."""
        part = self._daemon.manager
        return part is not None and part.raft.status().leader is not None

    def remote_managers(self) -> list[Peer]:
        """Return the managers that this node knows."""
        return list(self._daemon.state.managers) if self._daemon.state else []

    async def read_barrier(self) -> None:
        """Return once all that was answered anywhere in the swarm before is applied here."""
        if self._daemon.manager is not None:
            await self._daemon.manager.read_barrier()

    async def check_demote(self, node_id: str) -> None:
        """Raise QuorumLoss if the group would be left without a majority."""
        from swarmops.runtime.quorum import check_removal  # noqa: PLC0415 - as above

        part = self._daemon.manager
        if part is not None:
            check_removal(part.store, node_id)

    # Init ----------------------------------------------------------------------------------------

    async def init(self, request: InitRequest) -> str:
        """Make a new swarm with this node as its manager; returns the node's ID.

        On a manager, by force: go on with the swarm as it is here, as its only manager.
        """
        if self._daemon.manager is not None:
            await self._daemon.seat.begin_again_alone()
            return self.node_id
        self._daemon.pending = True
        try:
            await loaded("swarmops.runtime.founding")
            from swarmops.runtime.founding import found  # noqa: PLC0415 - see the module's docstring

            return await found(self._daemon, request)
        except BaseException:
            await self._daemon.forget()
            raise
        finally:
            self._daemon.pending = False

    # Join ----------------------------------------------------------------------------------------

    async def join(self, request: JoinRequest) -> None:
        """Join the swarm that one of the given managers is in; returns once active in it."""
        token = given(request.join_token, "")
        try:
            parse_token(token)
        except InputError as exc:
            raise ApiError(500, str(exc)) from exc
        remotes = [
            join_address(*split_address(addr, DEFAULT_PORT))
            for addr in given(request.remote_addrs, [])
        ]
        listen = listen_address(given(request.listen_addr, ""))
        towards = split_address(remotes[0])[0]
        advertise = advertise_address(given(request.advertise_addr, ""), listen, towards)
        asked = CertificateRequest(
            csr_pem="",
            token=token,
            availability=given(request.availability, ""),
            hostname=self._daemon.hostname,
            no_manager_because=why_not_listen(*listen),
        )
        daemon = self._daemon
        daemon.pending = True
        try:
            reply, key_pem, answered = await self._be_admitted(remotes, asked)
            state = NodeState(
                node_id=reply.node_id,
                cluster_id=reply.cluster_id,
                listen_addr=join_address(*listen),
                advertise_addr=advertise,
                manager=False,
                managers=tuple(reply.managers) or (Peer(node_id="", addr=answered),),
                certificate=reply.described,
                certified=reply.role,
            )
            credentials = Credentials(
                key_pem=key_pem, cert_pem=reply.cert_pem, root_pem=reply.root_pem
            )
            daemon.adopt(state, credentials)
            if reply.role is Role.MANAGER:
                await daemon.seat.join()
            daemon.start_agent()
            await daemon.welcomed.wait()
        except BaseException:
            await daemon.forget()
            raise
        finally:
            daemon.pending = False

    async def _be_admitted(
        self, remotes: list[str], asked: CertificateRequest
    ) -> tuple[CertificateReply, str, str]:
        key_pem, csr_pem = await new_key()
        failure: SwarmopsError = ApiError(400, "no manager's address was given")
        for addr in remotes:
            try:
                reply = await first_certificate(addr, replace(asked, csr_pem=csr_pem))
            except WrongRootError as exc:
                raise ApiError(400, str(exc)) from exc
            except ApiError as exc:
                failure = ApiError(400, _BAD_TOKEN) if exc.status == 403 else exc  # noqa: PLR2004
            except SwarmopsError as exc:
                failure = ApiError(500, f"rpc error: code = Unavailable desc = {exc}")
            else:
                return reply, key_pem, addr
        raise failure

    # Unlock --------------------------------------------------------------------------------------

    async def unlock(self, unlock_key: bytes) -> None:
        """Open what this manager has on disk."""
        async with self._unlocking:
            if not self._daemon.locked:
                raise ApiError(409, NOT_LOCKED)
            try:
                await self._daemon.unlock(unlock_key)
            except WrongKeyError as exc:
                raise ApiError(401, f"swarm could not be unlocked: {exc}") from exc

    # Leave ---------------------------------------------------------------------------------------

    async def leave(self, *, force: bool) -> None:
        """Leave the swarm; a manager first tries to be demoted, so that the others keep quorum."""
        from swarmops.runtime.leaving import step_down  # noqa: PLC0415 - as above

        if force and self._daemon.manager is not None:
            await step_down(self._daemon)
        await self._daemon.forget()
