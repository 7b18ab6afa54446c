"""Who a person is, as the certificate says that they show; it never is a node's, nor a node's one.

Read by the API for each request that came over TLS. Making such certificates is ``access``'s part.
"""

from __future__ import annotations

from typing import Any

from swarmops.model.base import Model

PERSON_UNIT = "swarm-person"
"""The organizational unit of people: no role of a node is spelled so."""


class PersonIdentity(Model, frozen=True):
    """Name, swarm and number of a verified certificate."""

    name: str
    cluster_id: str
    serial: str


def person_identity(peercert: dict[str, Any] | None) -> PersonIdentity | None:
    """Read who a peer is from ``getpeercert()``; None if it is no person."""
    if not peercert:
        return None
    subject = {key: value for group in peercert.get("subject", ()) for key, value in group}
    name = subject.get("commonName")
    cluster_id = subject.get("organizationName")
    serial = peercert.get("serialNumber")
    if subject.get("organizationalUnitName") != PERSON_UNIT or not (name and cluster_id and serial):
        return None
    return PersonIdentity(name=name, cluster_id=cluster_id, serial=serial)
