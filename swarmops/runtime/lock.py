"""Autolock on one manager: follows the swarm's unlock key, and opens the node when told the key.

Three things lie on a manager's disk that must not be read without it: the data key of the Raft log,
the node's TLS key, and the key under which secrets of tasks are kept. The first is wrapped by the
unlock key; the other two need the first.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

from swarmops.model.base import given
from swarmops.model.swarm import ClusterInternal
from swarmops.pki.unlock_key import parse_unlock_key

if TYPE_CHECKING:
    from swarmops.runtime.certificate import NodeCertificate
    from swarmops.runtime.keyring import Keyring
    from swarmops.store import Store

RETRY_S = 5.0
"""A full disk may have room again by then."""
log = structlog.get_logger(__name__)


async def follow(store: Store, keyring: Keyring, certificate: NodeCertificate) -> None:
    """Keep this manager's keys as the swarm wants them, until cancelled."""
    with store.watch("clusters") as watch:
        while True:
            cluster = store.cluster
            if cluster is not None:
                text = given(cluster.internal, ClusterInternal()).unlock_key
                try:
                    protect(keyring, certificate, parse_unlock_key(text) if text else None)
                except OSError as error:
                    log.warning(
                        "the manager's keys could not be rewritten, will try again",
                        error=str(error),
                    )
                    await asyncio.sleep(RETRY_S)
                    continue
            await watch.next()


def protect(keyring: Keyring, certificate: NodeCertificate, unlock_key: bytes | None) -> None:
    """Wrap or unwrap, in the order in which a crash between the steps locks nobody out."""
    if keyring.is_wrapped_by(unlock_key):
        return
    if unlock_key is None:
        keyring.unwrap()
        certificate.rewrite(protected=False)
    else:
        if not keyring.protected:
            certificate.rewrite(protected=True)
        keyring.wrap(unlock_key)
    log.info("the manager's keys were rewritten", autolock=unlock_key is not None)
