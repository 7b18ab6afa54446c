"""Which of the swarm's secrets and configs are versions of the playbook's, and which one is right.

Called by the planner and by the steps that make them. Secrets can't be read back, so each carries a
slow salted digest of its content (scrypt, as passwords are kept): equal content is recognised, and
nobody who may list secrets learns what a short one is.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import hmac
import re
from collections.abc import Iterable

import msgspec

from swarmops.fleet.materials import Material
from swarmops.fleet.spec_diff import PLAYBOOK_LABEL
from swarmops.model.base import given
from swarmops.model.secret import Config, ConfigSpec, Secret, SecretSpec

BASE_LABEL = "swarmops.name"
"""Label of a version: the name that the playbook has for it."""
DIGEST_LABEL = "swarmops.digest"
_VERSION = re.compile(r"\.v(\d+)$")
_SALT_BYTES = 16


class Versions(msgspec.Struct, frozen=True, kw_only=True):
    """What the swarm has of one secret or config. ``current``: the name to use; '' as yet none."""

    current: str = ""
    next: str
    """The name that a new version gets."""
    old: tuple[Secret | Config, ...] = ()
    """All that are not current."""


def versions_of(material: Material, playbook: str, present: Iterable[Secret | Config]) -> Versions:
    """Return the versions of a secret or config of this playbook."""
    ours = [
        one
        for one in present
        if _labels(one).get(PLAYBOOK_LABEL) == playbook
        and _labels(one).get(BASE_LABEL) == material.name
    ]
    ours.sort(key=_number)
    latest = ours[-1] if ours else None
    number = _number(latest) if latest is not None else 0
    right = latest is not None and _holds(latest, material.content)
    return Versions(
        current=given(latest.spec.name, "") if latest is not None and right else "",
        next=f"{material.name}.v{number + 1}",
        old=tuple(one for one in ours if not (right and one is latest)),
    )


def new_version(
    material: Material, name: str, playbook: str, salt: bytes
) -> SecretSpec | ConfigSpec:
    """Return the spec of a new version; ``salt`` is random, for secrets alone."""
    labels = {**material.labels, PLAYBOOK_LABEL: playbook, BASE_LABEL: material.name}
    data = base64.b64encode(material.content).decode()
    if material.kind == "config":
        return ConfigSpec(name=name, labels=labels, data=data)
    labels[DIGEST_LABEL] = f"{salt.hex()}:{_digest(material.content, salt)}"
    return SecretSpec(name=name, labels=labels, data=data)


def digest_of(plain: object) -> str:
    """Return the digest of something plain: what has the same one is the same."""
    return hashlib.sha256(msgspec.json.encode(plain, order="sorted")).hexdigest()


def content_digest(material: Material, place: str) -> str:
    """Return the digest of what a version is made from; of a secret a slow one, salted by place.

    ``place`` names the swarm and the version, so that two plans of it have the same digest.
    """
    if material.kind == "config":
        content = hashlib.sha256(material.content).hexdigest()
    else:
        content = _digest(material.content, hashlib.sha256(place.encode()).digest()[:_SALT_BYTES])
    return digest_of([content, material.labels])


def _labels(one: Secret | Config) -> dict[str, str]:
    return given(one.spec.labels, {}) or {}


def _number(one: Secret | Config | None) -> int:
    found = _VERSION.search(given(one.spec.name, "")) if one is not None else None
    return int(found[1]) if found else 0


def _holds(one: Secret | Config, content: bytes) -> bool:
    if isinstance(one, Config):
        return base64.b64decode(given(one.spec.data, "")) == content
    salt, _, digest = _labels(one).get(DIGEST_LABEL, "").partition(":")
    try:
        return hmac.compare_digest(_digest(content, bytes.fromhex(salt)), digest)
    except ValueError:
        return False


@functools.lru_cache(maxsize=256)
def _digest(content: bytes, salt: bytes) -> str:
    # Cached: one apply plans several times, and each digest takes 50 ms on purpose.
    return hashlib.scrypt(content, salt=salt, n=2**14, r=8, p=1, dklen=32).hex()
