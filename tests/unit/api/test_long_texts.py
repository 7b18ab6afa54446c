"""Every text of a client, made long and odd: passed or refused at once, wherever it stands.

An expression or a parser that tries all ways to read it would hold the manager for hours. The
texts are written out, since what is drawn at random is short and never quite the wrong one.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from itertools import product
from typing import Any

import msgspec
import pytest

from swarmops.api import access, body, images, networkspec, path, swarmspec
from swarmops.api.configs import ConfigKind, SecretKind, _check
from swarmops.api.prunefilters import until_of
from swarmops.api.servicespec import filled
from swarmops.api.timestamps import timestamp_ns
from swarmops.api.validate import check_service
from swarmops.errors import SwarmopsError
from swarmops.manager import extensions
from swarmops.model.access import AccessRequest, AccessRole
from swarmops.model.defaults import SWARM_SPEC
from swarmops.model.network import NetworkCreate
from swarmops.model.secret import ConfigSpec, SecretSpec
from swarmops.model.service import ServiceSpec
from swarmops.model.swarm import InitRequest, SwarmSpec
from swarmops.pki.unlock_key import parse_unlock_key
from tests.unit.api.test_mutations import FULL, NETWORK

LENGTH = 20_000
UNITS = ("a", "1", "a-", "a.b/", "1.", "1h", "1,", "{{", '{{.Task.Slot}}"', "a==", "\\", "٣")
ENDS = ("", "!")
TEXTS = [(unit * LENGTH)[:LENGTH] + end for unit, end in product(UNITS, ENDS)]
CPU_S_MAX = 5.0
"""For all texts in one place: they need a tenth of it, and one that is gone over again an hour."""
NOW = datetime(2026, 1, 1, tzinfo=UTC)
EXTENDED: dict[str, Any] = FULL | {
    "Labels": {
        "swarmops.update.progress-deadline": "10m",
        "swarmops.restart.backoff": "2",
        "swarmops.restart.backoff-max": "5m",
        "swarmops.rebalance": "true",
        "swarmops.affinity": "service==db",
        "swarmops.anti-affinity": "service==web",
        "swarmops.schedule": "* * * * *",
        "swarmops.schedule.overlap": "forbid",
        "swarmops.schedule.starting-deadline": "1h",
    }
}
SWARM: dict[str, Any] = {
    "Name": "default",
    "Labels": {"a": "b"},
    "CAConfig": {"SigningCACert": "c"},
    "TaskDefaults": {"LogDriver": {"Name": "json-file", "Options": {"a": "b"}}},
}
INIT: dict[str, Any] = {
    "ListenAddr": "10.0.0.1:2377",
    "AdvertiseAddr": "eth0",
    "Availability": "active",
    "DefaultAddrPool": ["10.0.0.0/8"],
    "Spec": {"Name": "default", "Labels": {"a": "b"}},
}


def service(sent: bytes) -> None:
    """Take a service as its handler does."""
    spec = body.decode(sent, ServiceSpec)
    check_service(spec)
    extensions.check_service(spec)
    extensions.read(spec)
    filled(spec)


def network(sent: bytes) -> None:
    """Take a network."""
    networkspec.spec_of(body.decode(sent, NetworkCreate))


def init(sent: bytes) -> None:
    """Take what a swarm is made with."""
    swarmspec.filled(body.decode(sent, InitRequest))


def swarm(sent: bytes) -> None:
    """Take a swarm's settings."""
    swarmspec.checked(SWARM_SPEC, body.decode(sent, SwarmSpec))


def with_text(value: Any, text: str) -> Iterator[tuple[str, Any]]:
    """Iterate over the value with each of its texts replaced, keys too, and where that was."""
    if isinstance(value, str):
        yield "", text
    for key in list(value) if isinstance(value, dict) else ():
        yield f".{key}?", {text if one == key else one: value[one] for one in value}
        for where, changed in with_text(value[key], text):
            yield f".{key}{where}", value | {key: changed}
    for index, item in enumerate(value) if isinstance(value, list) else ():
        for where, changed in with_text(item, text):
            yield f"[{index}]{where}", [*value[:index], changed, *value[index + 1 :]]


BODIES: list[tuple[Callable[[bytes], None], Any]] = [
    (service, EXTENDED),
    (network, NETWORK),
    (init, INIT),
    (swarm, SWARM),
]
OTHER: dict[str, Callable[[str], object]] = {
    "secret's name": lambda text: _check(SecretKind(), SecretSpec(name=text, data="eA==")),
    "config's data": lambda text: _check(ConfigKind(), ConfigSpec(name="a", data=text)),
    "person's name": lambda text: access._check(
        AccessRequest(name=text, role=AccessRole.READ, csr="")
    ),
    "manager's name": access._HOST.fullmatch,
    "image": images.is_reference,
    "path": lambda text: path.plain_path(f"/v{text}"),
    "version": lambda text: path.asked_version(f"/v{text}/info"),
    "point in time": lambda text: timestamp_ns(text, "since"),
    "age": lambda text: until_of({"until": (text,)}, NOW),
    "unlock key": lambda text: parse_unlock_key(f"SWMKEY-1-{text}"),
}


def taken(take: Callable[[Any], object], sent: Any) -> None:
    """Pass it, or refuse it in words."""
    with contextlib.suppress(SwarmopsError):
        take(sent)


@pytest.mark.parametrize(("take", "good"), BODIES, ids=[take.__name__ for take, _ in BODIES])
def test_a_good_body_is_taken(take: Callable[[bytes], None], good: Any):
    """Otherwise its texts would be refused for something else."""
    if "swarmops.schedule" in good.get("Labels", ()):
        good = good | {"Mode": {"ReplicatedJob": {}}}
        del good["UpdateConfig"]
    take(msgspec.json.encode(good))


@pytest.mark.parametrize("text", TEXTS, ids=range(len(TEXTS)))
def test_no_text_in_a_body_holds_the_manager(text: str):
    """Nor does a key, be it of an option or of a label."""
    for take, good in BODIES:
        for where, sent in with_text(good, text):
            begun_s = time.process_time()
            taken(take, msgspec.json.encode(sent))
            assert time.process_time() - begun_s < CPU_S_MAX, (take, where)


@pytest.mark.parametrize("place", OTHER)
def test_no_other_text_holds_the_manager(place: str):
    """What comes in paths and queries, or is looked at one by one."""
    begun_s = time.process_time()
    for text in TEXTS:
        taken(OTHER[place], text)
    assert time.process_time() - begun_s < CPU_S_MAX


def test_thousands_of_pools_are_compared_at_once():
    """Not each with each of the others."""
    pools = [f"10.{number >> 8}.{number & 255}.0/24" for number in range(9000)]
    begun_s = time.process_time()
    kept = swarmspec.filled(InitRequest(default_addr_pool=pools)).default_addr_pool
    assert time.process_time() - begun_s < CPU_S_MAX
    assert kept == pools
