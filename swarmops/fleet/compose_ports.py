"""A Compose service's ``ports``, short and long, as Docker's PortConfigs.

Called by ``swarmops.fleet.compose``; pure.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from swarmops.fleet.compose_fields import Table, fields
from swarmops.fleet.entry import Entry
from swarmops.model import defaults
from swarmops.model.base import given
from swarmops.model.service import PortConfig, ServiceSpec

_RANGE = r"(\d{1,5})(?:-(\d{1,5}))?"
_SHORT = re.compile(rf"(?:{_RANGE}:)?{_RANGE}(?:/(tcp|udp|sctp))?")
_PORT_MAX = 65535
_WANTED = "a port like 8080:80, 80 or 8000-8009:80-89/udp"


def ports(entry: Entry) -> list[PortConfig]:
    """Return the published ports, sorted as ``docker stack deploy`` sorts them."""
    found: list[PortConfig] = []
    published: set[tuple[int, str]] = set()
    for item in entry.items():
        for port in [_long(item)] if isinstance(item.value, dict) else _short(item):
            number, protocol = given(port.published_port, 0), given(port.protocol, "tcp")
            if number and (number, protocol) in published:
                item.fail(f"{entry.key} has {number}/{protocol} twice: keep one")
            published.add((number, protocol))
            found.append(port)
    return sorted(
        found,
        key=lambda port: (port.published_port or 0, port.target_port or 0, port.protocol or ""),
    )


def single_ports(text: str) -> list[str]:
    """Return a port in short form as ``published:target/protocol``, a range as one text each.

    What is no such port is returned as it is, for whoever reads it tells.
    """
    found = _SHORT.fullmatch(text)
    if found is None:
        return [text]
    published_first, published_last, first, last, protocol = found.groups()
    targets = range(int(first), int(last or first) + 1)
    if published_first is None:
        return [f"{target}/{protocol or 'tcp'}" for target in targets]
    published = range(int(published_first), int(published_last or published_first) + 1)
    if len(published) != len(targets):
        return [text]
    both = zip(published, targets, strict=True)
    return [f"{outside}:{target}/{protocol or 'tcp'}" for outside, target in both]


def refuse_taken(
    entry: Entry, added: Mapping[str, ServiceSpec], others: Mapping[str, ServiceSpec]
) -> None:
    """Fail if an added service publishes a port of another one, unless both do so in mode host."""
    taken = {port: name for name, spec in others.items() for port in _published(spec)}
    for name, spec in added.items():
        for number, protocol, mode in sorted(_published(spec)):
            for theirs in ("ingress", "host"):
                other = taken.get((number, protocol, theirs))
                if other is not None and not mode == theirs == "host":
                    entry.fail(
                        f"services '{other}' and '{name}' both publish {number}/{protocol}: give"
                        " one of them another port"
                    )


def _published(spec: ServiceSpec) -> set[tuple[int, str, str]]:
    return {
        (number, given(port.protocol, "tcp"), given(port.publish_mode, "ingress"))
        for port in defaults.ports(spec)
        if (number := given(port.published_port, 0))
    }


def _short(entry: Entry) -> list[PortConfig]:
    text = entry.string()
    found = _SHORT.fullmatch(text)
    if found is None:
        if text.count(":") > 1 or "." in text:
            entry.fail(
                f"{entry.key}: a swarm publishes on every address of a node: leave the address"
                f" out of '{text}'"
            )
        entry.expected(_WANTED)
    published_first, published_last, first, last, protocol = found.groups()
    targets = _span(entry, first, last)
    published = _span(entry, published_first, published_last) if published_first else []
    if published and len(published) != len(targets):
        entry.fail(f"{entry.key}: both ranges of '{text}' must have the same length")
    return [
        _port(target, published[i] if published else None, protocol or "tcp", "ingress")
        for i, target in enumerate(targets)
    ]


def _span(entry: Entry, first: str, last: str | None) -> range:
    low, high = int(first), int(last or first)
    if not 0 < low <= high <= _PORT_MAX:
        entry.expected(f"{_WANTED}, from 1 to {_PORT_MAX}")
    return range(low, high + 1)


def _port(target: int, published: int | None, protocol: str, mode: str) -> PortConfig:
    if published is None:
        return PortConfig(protocol=protocol, target_port=target, publish_mode=mode)
    return PortConfig(
        protocol=protocol, target_port=target, published_port=published, publish_mode=mode
    )


def _number(entry: Entry) -> int:
    return entry.integer(1, _PORT_MAX)


LONG: Table = {
    "target": ("target_port", _number),
    "published": ("published_port", _number),
    "protocol": ("protocol", lambda entry: entry.choice("tcp", "udp", "sctp")),
    "mode": ("publish_mode", lambda entry: entry.choice("ingress", "host")),
    "name": ("name", Entry.name),
}


def _long(entry: Entry) -> PortConfig:
    found = fields(entry, LONG, also=["app_protocol"])
    if "target_port" not in found:
        entry.fail(f"{entry.key} needs target: the port inside the task")
    return PortConfig(**{"protocol": "tcp", "publish_mode": "ingress"} | found)
