"""People who use the swarm's API over the network: what they may, and how they are let in."""

from __future__ import annotations

from datetime import datetime
from enum import Enum

from swarmops.model.base import Model

DEFAULT_API_PORT = 2376
"""Docker's convention for its API behind TLS."""
ACCESS_LIFETIME_S = 365 * 24 * 3600


class AccessRole(Enum):
    """What a person may: everything, or look."""

    ADMIN = "admin"
    READ = "read"


class Person(Model, frozen=True):
    """A certificate that is let in. ``serial`` is its number in upper-case hexadecimal."""

    name: str
    role: AccessRole
    serial: str
    created_at: datetime
    expires_at: datetime


class AccessState(Model, frozen=True):
    """Answer of ``GET /access``; port 0: the API is not served over the network."""

    port: int
    names: list[str]
    people: list[Person]


class AccessPortRequest(Model, frozen=True):
    """Body of ``POST /access/update``. ``names``: what else clients call the managers."""

    port: int
    names: list[str] = []


class AccessRequest(Model, frozen=True):
    """Body of ``POST /access/create``: a signing request of the person's own key, PEM."""

    name: str
    role: AccessRole
    csr: str
    lifetime_s: int = ACCESS_LIFETIME_S


class AccessReply(Model, frozen=True):
    """The person's certificate, the root to trust, and where the API is: ``host:port``."""

    cert: str
    ca: str
    addresses: list[str]
