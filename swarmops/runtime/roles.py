"""Follows the swarm's decision about this node's role: a certificate that fits it, then the part.

Made by the daemon, which passes on what the agent's session says. It never decides on a role.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog

from swarmops.errors import SwarmopsError
from swarmops.model.node import Role
from swarmops.runtime.background import Background
from swarmops.runtime.certificate_keeper import CertificateKeeper
from swarmops.runtime.manager_seat import ManagerSeat
from swarmops.runtime.state import Membership

log = structlog.get_logger(__name__)

_RETRY_S = 1.0


class Roles:
    """Makes one node's role the wanted one; ``say`` hears why it isn't yet, and "" once it is."""

    def __init__(
        self,
        membership: Membership,
        keeper: CertificateKeeper,
        seat: ManagerSeat,
        background: Background,
        say: Callable[[str], None],
    ) -> None:
        self._membership = membership
        self._keeper = keeper
        self._seat = seat
        self._background = background
        self._say = say
        self._wanted: Role | None = None
        self._task: asyncio.Task[None] | None = None

    def want(self, role: Role) -> None:
        """Hear which role the swarm gives this node; take it behind the caller's back."""
        self._wanted = role
        if self._task is None or self._task.done():
            if self._has(role):
                return
            self._task = self._background.spawn(self._take())

    def forget(self) -> None:
        """Want nothing any more: the node left its swarm."""
        self._wanted = None

    async def _take(self) -> None:
        """Follow the swarm's decision until both agree; it may change meanwhile."""
        while self._wanted is not None and not self._has(self._wanted):
            try:
                reply = await self._keeper.renew()
                if reply.role is Role.WORKER:
                    await self._seat.give_up()
                elif not self._membership.current().manager:
                    await self._seat.join()
            except (SwarmopsError, OSError, TimeoutError) as exc:
                self._say(f"the role change waits: {exc}")
                log.warning("could not change role yet", reason=str(exc))
                await asyncio.sleep(_RETRY_S)
            else:
                self._say("")
                log.info("role changed", role=reply.role.value)

    def _has(self, role: Role) -> bool:
        state = self._membership.current()
        return state.certified is role and state.manager is (role is Role.MANAGER)
