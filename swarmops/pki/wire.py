"""What a node and a manager say to each other about certificates and membership, as JSON."""

from __future__ import annotations

from datetime import datetime

from swarmops.model.base import Model, concealed
from swarmops.model.node import Role, TLSInfo
from swarmops.model.swarm import Peer


class RootReply(Model, frozen=True):
    """Answer of ``GET /root``: the swarm's root, PEM, to be checked against the token's digest."""

    root_pem: str


class CertificateRequest(Model, frozen=True):
    """Body of ``POST /certificate``. Without a token it renews the certificate shown."""

    csr_pem: str
    token: str = ""
    availability: str = ""
    hostname: str = ""
    no_manager_because: str = ""
    """Why this node can't be a manager: refused before it is a member if its token makes it one."""

    def __repr__(self) -> str:
        return concealed(self, "token")


class Described(Model, frozen=True):
    """What a node wants to know of its certificate without a library to read it."""

    tls_info: TLSInfo
    valid_from: datetime
    valid_until: datetime


class CertificateReply(Model, frozen=True):
    """The certificate, and who it makes the asker."""

    node_id: str
    cluster_id: str
    role: Role
    cert_pem: str
    root_pem: str
    managers: list[Peer]
    described: Described


class MemberRequest(Model, frozen=True):
    """Body of ``POST /member``, from a node with a manager's certificate: take me into Raft."""

    raft_id: str
    addr: str


class MemberReply(Model, frozen=True):
    """The group that the new member is in: Raft ID → (node ID, address)."""

    members: list[tuple[str, str, str]]


class ErrorReply(Model, frozen=True):
    """Why not."""

    message: str
