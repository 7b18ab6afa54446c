"""The swarm's settings: Docker's defaults, and an update laid over what is stored.

Pure; used by ``swarmops.api.swarm``. As in Docker, what an update leaves out or sends as zero stays
as it was.
"""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Network
from itertools import pairwise
from typing import Any, TypeVar

import msgspec
from msgspec import UNSET

from swarmops.api.ca import refuse_external
from swarmops.api.errors import bad_request, invalid, rpc
from swarmops.model.base import Model, given
from swarmops.model.defaults import ADDR_POOLS, DATA_PATH_PORT, NANOSECONDS, SUBNET_SIZE, SWARM_SPEC
from swarmops.model.node import Availability
from swarmops.model.swarm import (
    CAConfig,
    DispatcherConfig,
    EncryptionConfig,
    InitRequest,
    SwarmSpec,
)

IPV4_BITS = 32
DATA_PATH_PORTS = range(1024, 49152)
CERT_EXPIRY_MIN_S = 3600

M = TypeVar("M", bound=Model)


def filled(request: InitRequest) -> InitRequest:
    """Check an init request and fill it with defaults. Raises ApiError 400 or 501."""
    root = given(given(request.spec, SwarmSpec()).ca_config, CAConfig())
    if given(root.signing_ca_cert, "") or given(root.signing_ca_key, ""):
        raise rpc(
            "Unimplemented",
            "a new swarm makes its own root: replace it then, with 'docker swarm ca --rotate'",
        )
    spec = checked(SWARM_SPEC, given(request.spec, SwarmSpec()))
    if given(request.auto_lock_managers, False):
        spec = msgspec.structs.replace(
            spec, encryption_config=EncryptionConfig(auto_lock_managers=True)
        )
    pools = given(request.default_addr_pool, ADDR_POOLS)
    _check_pools(pools, given(request.subnet_size, 0) or SUBNET_SIZE)
    return msgspec.structs.replace(
        request,
        spec=spec,
        availability=availability(given(request.availability, "")),
        # The CLI sends [] for "no pools of my own", and is shown null.
        default_addr_pool=pools or None,
        subnet_size=given(request.subnet_size, 0) or SUBNET_SIZE,
        data_path_port=_data_path_port(given(request.data_path_port, 0)),
    )


def _data_path_port(port: int) -> int:
    """Return the port for traffic between nodes; 0 asks for the usual one."""
    if port and port not in DATA_PATH_PORTS:
        first, last = DATA_PATH_PORTS[0], DATA_PATH_PORTS[-1]
        text = f"Datapath port number is not in valid range ({first}-{last}) : {port}"
        raise bad_request(text)
    return port or DATA_PATH_PORT


def _check_pools(pools: Sequence[str], size: int) -> None:
    """Refuse what no network could get a subnet from."""
    if not 0 < size <= IPV4_BITS:
        raise bad_request(f"subnet size is out of range: {size}")
    seen: list[tuple[IPv4Network, str]] = []
    for text in pools:
        try:
            pool = IPv4Network(text, strict=False)
        except ValueError:
            raise bad_request(f"invalid base pool {text}: invalid CIDR address: {text}") from None
        if size < pool.prefixlen:
            raise bad_request(f'invalid CIDR: "{text}". Subnet size is too small for pool: {size}')
        seen.append((pool, text))
    # In order, for what overlaps anything overlaps its neighbour: there may be very many.
    for (before, _), (pool, text) in pairwise(sorted(seen)):
        if pool.overlaps(before):
            raise bad_request(f"invalid base pool {text}: it overlaps with another one")


def checked(stored: SwarmSpec, wanted: SwarmSpec) -> SwarmSpec:
    """Return the stored settings with the wanted ones over them. Raises ApiError 400 or 501."""
    if given(wanted.name, "") not in ("", "default"):
        raise bad_request('swarm spec must be named "default"')
    spec = merged(stored, wanted)
    ca = given(spec.ca_config, CAConfig())
    expiry_ns = given(ca.node_cert_expiry, 0)
    if expiry_ns and expiry_ns < CERT_EXPIRY_MIN_S * NANOSECONDS:
        raise invalid("minimum certificate expiry time is: 1h0m0s")
    if given(given(spec.dispatcher, DispatcherConfig()).heartbeat_period, 0) < 0:
        raise invalid("heartbeat time period cannot be a negative duration")
    lock = given(wanted.encryption_config, EncryptionConfig()).auto_lock_managers
    if lock is not UNSET:
        # The one setting where "no" is an answer, and not what was left out.
        spec = msgspec.structs.replace(
            spec, encryption_config=EncryptionConfig(auto_lock_managers=lock)
        )
    refuse_external(given(wanted.ca_config, CAConfig()))
    return spec


def availability(text: str) -> str:
    """Return a new node's availability, active by default. Raises ApiError 400."""
    if text.lower() not in ("", *(one.value for one in Availability)):
        raise bad_request(f'invalid Availability: "{text}"')
    return text.lower() or Availability.ACTIVE.value


def locks(spec: SwarmSpec) -> bool:
    """Whether managers need an unlock key after they were restarted."""
    return given(given(spec.encryption_config, EncryptionConfig()).auto_lock_managers, False)


def merged(stored: M, wanted: M) -> M:
    """Lay ``wanted`` over ``stored``: absent, null, zero and empty leave what is there."""
    changes: dict[str, Any] = {}
    for field in msgspec.structs.fields(wanted):
        new = getattr(wanted, field.name)
        old = getattr(stored, field.name)
        if isinstance(new, Model) and isinstance(old, Model):
            changes[field.name] = merged(old, new)
        elif new is UNSET or new is None:
            continue
        elif new or isinstance(new, bool) or field.name in _ZERO_COUNTS:
            changes[field.name] = new
    return msgspec.structs.replace(stored, **changes)


_ZERO_COUNTS = frozenset(("task_history_retention_limit", "keep_old_snapshots"))
"""Here 0 is a value of its own: clients that mean nothing send nothing."""
