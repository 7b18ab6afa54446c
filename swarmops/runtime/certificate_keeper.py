"""Keeps a node's certificate valid, and of the root and issuer that the swarm names.

Made by the daemon; ``roles`` asks it for a certificate when the role changes. It decides nothing
about roles: the reply says which one the swarm gave.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from datetime import datetime

import structlog
from msgspec.structs import replace

from swarmops.errors import SwarmopsError
from swarmops.pki.wire import CertificateReply
from swarmops.runtime.background import Background
from swarmops.runtime.certificate import Issue, NodeCertificate
from swarmops.runtime.renewal import renewal_due
from swarmops.runtime.state import Membership

log = structlog.get_logger(__name__)

_RETRY_S = 1.0
_ROOT_SPREAD_S = 2.0


class CertificateKeeper:
    """Renews one node's certificate; ``on_renewed`` is called each time there is a new one.

    ``issue_here`` says how this node issues its own where nobody else does: None on a worker.
    """

    def __init__(
        self,
        certificate: NodeCertificate,
        membership: Membership,
        background: Background,
        *,
        now: Callable[[], datetime],
        rng: random.Random,
        issue_here: Callable[[], Issue | None],
        on_renewed: Callable[[], None],
    ) -> None:
        self._certificate = certificate
        self._membership = membership
        self._background = background
        self._now = now
        self._rng = rng
        self._issue_here = issue_here
        self._on_renewed = on_renewed
        self._renewing = asyncio.Lock()
        self._wanted_issuer = ("", "")
        self._root_task: asyncio.Task[None] | None = None

    async def renew(self) -> CertificateReply:
        """Get a new certificate in the role that the swarm now gives this node.

        Raises what the last manager that was asked said: SwarmopsError, OSError, TimeoutError.
        """
        async with self._renewing:
            state = self._membership.current()
            others = [peer for peer in state.managers if peer.node_id != state.node_id]
            reply = await self._certificate.renew(others, self._issue_here())
            self._membership.remember(
                replace(
                    self._membership.current(), certificate=reply.described, certified=reply.role
                )
            )
        self._on_renewed()
        return reply

    async def keep_valid(self) -> None:
        """Renew at a random point between 50 and 80 % of the certificate's life, for ever."""
        while True:
            certificate = self._membership.current().certificate
            await asyncio.sleep(renewal_due(certificate, self._now(), self._rng))
            try:
                await self.renew()
            except (SwarmopsError, OSError) as exc:
                log.warning("could not renew the certificate yet", reason=str(exc))
                await asyncio.sleep(_RETRY_S)

    def want_issuer(self, root: str, issuer: str) -> None:
        """Hear which root and issuer the swarm names; change to them behind the caller's back."""
        self._wanted_issuer = (root, issuer)
        if not self._is_of_root() and (self._root_task is None or self._root_task.done()):
            self._root_task = self._background.spawn(self._take_root())

    def _is_of_root(self) -> bool:
        """Whether the certificate is of the issuer, and trusts the root, that the swarm names."""
        root, issuer = self._wanted_issuer
        about = self._membership.current().certificate.tls_info
        return not issuer or (about.trust_root, about.cert_issuer_public_key) == (root, issuer)

    async def _take_root(self) -> None:
        """Renew until certificate and root are those that the swarm now wants."""
        await asyncio.sleep(self._rng.uniform(0, _ROOT_SPREAD_S))  # not all nodes at once
        while not self._is_of_root():
            try:
                await self.renew()
            except (SwarmopsError, OSError, TimeoutError) as exc:
                log.warning("could not change to the new root yet", reason=str(exc))
            if not self._is_of_root():
                await asyncio.sleep(_RETRY_S)
        log.info("changed to another root or issuer")
