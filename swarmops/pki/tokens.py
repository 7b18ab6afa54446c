"""Join tokens in Docker's form, ``SWMTKN-1-<digest of the root>-<secret>``.

The digest lets a joiner check the root that it was given before it trusts it; the secret lets it in
and says in which role. Source: SwarmKit's ``ca/config.go``, as ``docker swarm join-token`` prints.
"""

from __future__ import annotations

import hashlib
import hmac
import random

from swarmops.errors import InputError, SwarmopsError
from swarmops.model.base import Model
from swarmops.model.ids import base36

_DIGEST_LENGTH = 50
_SECRET_LENGTH = 25
_SECRET_BITS = 128
_PARTS = 4


class WrongRootError(SwarmopsError):
    """The manager that answered has another root than the token says."""


class JoinToken(Model, frozen=True):
    """A parsed join token."""

    root_digest: str
    secret: str


def new_token(root_cert_pem: str, rng: random.Random) -> str:
    """Draw a new token for the swarm with this root."""
    secret = base36(rng.getrandbits(_SECRET_BITS), _SECRET_LENGTH)
    return f"SWMTKN-1-{root_digest(root_cert_pem)}-{secret}"


def root_digest(root_cert_pem: str) -> str:
    """Return the SHA-256 of a root certificate in 50 characters of base36."""
    digest = hashlib.sha256(root_cert_pem.encode()).digest()
    return base36(int.from_bytes(digest, "big"), _DIGEST_LENGTH)


def parse_token(token: str) -> JoinToken:
    """Take a token apart; raises InputError with Docker's text if it is none."""
    parts = token.split("-")
    well_formed = (
        len(parts) == _PARTS
        and parts[:2] == ["SWMTKN", "1"]
        and len(parts[2]) == _DIGEST_LENGTH
        and len(parts[3]) == _SECRET_LENGTH
    )
    if not well_formed:
        raise InputError("invalid join token")
    return JoinToken(root_digest=parts[2], secret=parts[3])


def check_root(token: JoinToken, root_cert_pem: str) -> None:
    """Refuse a root that is not the one the token was made for."""
    if not hmac.compare_digest(token.root_digest, root_digest(root_cert_pem)):
        raise WrongRootError(
            f"remote CA does not match fingerprint. Expected: {token.root_digest}: "
            "the address belongs to another swarm, or the token is of an older root"
        )


def same_token(given: str, wanted: str) -> bool:
    """Compare two tokens in constant time; an empty one never matches."""
    return bool(wanted) and hmac.compare_digest(given.encode(), wanted.encode())
