"""Who asks, and what they may: a process of this machine, or a person behind a certificate.

On the unix socket the file's mode has decided already. Over TLS the certificate must be one that
the store lists, looked up for each request: so revoking it takes effect at once. Readers look and
change nothing; what would let them change something later is hidden from them.
"""

from __future__ import annotations

from datetime import datetime

from aiohttp import web

from swarmops.api.path import plain_path
from swarmops.api.route import NODE, Handler
from swarmops.errors import ApiError
from swarmops.model.access import AccessRole, Person
from swarmops.model.base import given
from swarmops.model.swarm import Cluster, ClusterInternal
from swarmops.pki.person import PersonIdentity, person_identity

OVER_NETWORK = web.AppKey("over_network", bool)
"""Whether an application's callers come over the network, and must show who they are."""
_PERSON = web.RequestKey("person", Person)
_READS = frozenset(("GET", "HEAD"))
_FOR_ADMINS = ("/access", "/swarm/unlockkey")
NO_ACCESS = (
    "this certificate gives no access to this swarm: it was revoked, has expired or is not a "
    "person's: ask for a new one ('swarmops access create')"
)


@web.middleware
async def admit(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Raise ApiError 401 for strangers from the network, 403 for readers who would change."""
    if not request.app[OVER_NETWORK]:
        return await handler(request)
    transport = request.transport
    if transport is None or transport.is_closing():
        raise ConnectionResetError("whoever asked has gone, and can't be asked who it was")
    node = request.app[NODE]
    if node.is_manager():
        # Whom this replica lists may be revoked, and whom it doesn't be let in since.
        await node.read_barrier()
    cluster = node.store.cluster if node.store is not None else None
    person = known_person(
        cluster, person_identity(transport.get_extra_info("peercert")), node.now()
    )
    if person is None:
        raise ApiError(401, NO_ACCESS)
    if person.role is AccessRole.READ:
        _refuse_writes(request, person)
    request[_PERSON] = person
    return await handler(request)


def known_person(
    cluster: Cluster | None, shown: PersonIdentity | None, now: datetime
) -> Person | None:
    """Return whom the swarm knows by this certificate."""
    if cluster is None or shown is None or shown.cluster_id != cluster.id:
        return None
    for person in given(cluster.internal, ClusterInternal()).people:
        if (person.name, person.serial) == (shown.name, shown.serial) and now < person.expires_at:
            return person
    return None


def person_of(request: web.Request) -> Person | None:
    """Return who asks over the network; None: a process of this machine."""
    return request.get(_PERSON)


def only_reads(request: web.Request) -> bool:
    """Whether whoever asks must not learn what lets them change something."""
    person = person_of(request)
    return person is not None and person.role is AccessRole.READ


def _refuse_writes(request: web.Request, person: Person) -> None:
    if request.method not in _READS or plain_path(request.path).startswith(_FOR_ADMINS):
        raise ApiError(
            403,
            f"{person.name} may only read this swarm: use access with the role admin "
            f"for {request.method} {plain_path(request.path)}",
        )
