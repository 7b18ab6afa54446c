"""This node's seat among the managers: taken, kept over a restart, given up.

Held by the daemon, which asks for it at the start and ``roles`` when the role changes. What only
managers need is imported where it is needed: a worker's memory is for its tasks.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import structlog
from msgspec.structs import replace

from swarmops.model.resolved import resolve_types
from swarmops.model.swarm import Peer
from swarmops.runtime.background import Background
from swarmops.runtime.certificate import NodeCertificate
from swarmops.runtime.keyring import Keyring
from swarmops.runtime.lean import loaded
from swarmops.runtime.state import Membership, NodeState, new_raft_id

if TYPE_CHECKING:
    from swarmops.runtime.manager_part import ManagerPart

log = structlog.get_logger(__name__)


class ManagerSeat:
    """Holds the manager part while there is one; ``on_lost`` is called when the group took it."""

    def __init__(
        self,
        data_dir: Path,
        membership: Membership,
        certificate: NodeCertificate,
        keyring: Keyring,
        background: Background,
        *,
        now: Callable[[], datetime],
        rng: random.Random,
        on_lost: Callable[[], None],
    ) -> None:
        self._data_dir = data_dir
        self._membership = membership
        self._certificate = certificate
        self._keyring = keyring
        self._background = background
        self._now = now
        self._rng = rng
        self._on_lost = on_lost
        self._locking: asyncio.Task[None] | None = None
        self.part: ManagerPart | None = None
        """The running manager part; None on a worker."""
        self.given_up = asyncio.Event()
        """This node was a manager and no longer is."""

    def new_part(self, state: NodeState) -> ManagerPart:
        """Build a manager part for this membership, not started yet."""
        from swarmops.runtime.manager_part import ManagerPart  # noqa: PLC0415 - see above

        resolve_types()
        return ManagerPart(
            data_dir=self._data_dir,
            data_key=self._keyring.data_key(),
            certificates=self._certificate.folder,
            state=state,
            tls=self._certificate.tls,
            now=self._now,
            rng=self._rng,
            on_removed=self._removed_from_raft,
        )

    def take(self, part: ManagerPart) -> None:
        """Be a manager from now on, whose keys are locked as the swarm wants them."""
        from swarmops.runtime import lock  # noqa: PLC0415 - see above

        self.part = part
        if self._locking is not None:
            self._locking.cancel()
        self._locking = self._background.spawn(
            lock.follow(part.store, self._keyring, self._certificate)
        )

    async def join(self) -> None:
        """Start the manager part and join the group; on disk only once that is done."""
        await loaded("swarmops.runtime.manager_part")
        current = self._membership.current()
        state = replace(current, manager=True, raft_id=new_raft_id(self._rng))
        part = self.new_part(state)
        others = [peer for peer in state.managers if peer.node_id != state.node_id]
        try:
            await part.join(others)
        except BaseException:
            await part.stop(transfer=False)
            part.wipe()
            raise
        self._membership.remember(state)
        self.take(part)
        self.given_up.clear()

    async def begin_again_alone(self) -> None:
        """Go on as the only manager with the state that is here, after the others are lost.

        Raises what reopening raises; the part is stopped then, and the daemon can be restarted.
        """
        part, self.part = self.part, None
        if part is None:
            return
        await part.stop(transfer=False)
        await part.recover()
        state = self._membership.current()
        alone = (Peer(node_id=state.node_id, addr=state.advertise_addr),)
        self._membership.remember(replace(state, managers=alone))
        fresh = self.new_part(self._membership.current())
        await fresh.reopen()
        self.take(fresh)
        await fresh.demote_others()

    async def stop(self) -> None:
        """Stop the manager part where there is one; a leader hands over first."""
        if self.part is not None:
            await self.part.stop(transfer=True)
            self.part = None

    async def give_up(self) -> None:
        """Stop the manager part and forget its log: a raft ID never comes back."""
        self._membership.remember(replace(self._membership.current(), manager=False, raft_id=""))
        part, self.part = self.part, None
        if part is not None:
            await part.stop(transfer=False)
            part.wipe()
        self._forget_keys()
        self.given_up.set()

    def _forget_keys(self) -> None:
        """Keep the node's own key as workers do; the log is gone, and so goes its key."""
        if self._locking is not None:
            self._locking.cancel()
            self._locking = None
        if self._keyring.protected:
            self._keyring.unwrap()
            self._certificate.rewrite(protected=False)
        self._keyring.forget()

    def _removed_from_raft(self) -> None:
        """Raft says that this member was removed: whatever comes next, it begins without a member.

        The role may be the worker's next, or the manager's again before this node heard of it.
        """
        if self.part is not None:
            log.info("removed from the Raft group")
            self._background.spawn(self._leave_removed())

    async def _leave_removed(self) -> None:
        await self.give_up()
        self._on_lost()
