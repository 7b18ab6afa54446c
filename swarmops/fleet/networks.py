"""The playbook's ``networks``, as Compose writes them: what to ask the swarm for.

Called by the playbook's reader and the planner; pure. Networks can't be changed once they are
there: one that is otherwise is a problem, told with the cure.
"""

from __future__ import annotations

from collections.abc import Iterator

from swarmops.fleet.compose_fields import Table, fields, pairs
from swarmops.fleet.entry import Entry
from swarmops.model.base import given
from swarmops.model.network import EngineIPAM, EngineIPAMConfig, NetworkCreate, NetworkResource

_COMPARED = ("driver", "internal", "attachable", "enable_ipv6")


def read_networks(section: Entry, prefix: str = "") -> Iterator[tuple[str, NetworkCreate | None]]:
    """Yield each network's name here and what to create; None for an external one.

    The name in the swarm is ``prefix`` and the name here, unless it says ``name``.
    """
    for name, entry in section.mapping():
        found = fields(entry, _TABLE, also=["external", "name"]) if entry.value else {}
        named = entry.get("name") if entry.value else None
        full = named.name() if named else prefix + name
        external = entry.get("external") if entry.value else None
        if external is not None and external.boolean():
            yield full if named else name, None
            continue
        yield full, NetworkCreate(**{"driver": "overlay", **found}, name=full)


def _ipam(entry: Entry) -> EngineIPAM:
    table: Table = {
        "driver": ("driver", Entry.name),
        "config": ("config", lambda item: [_subnet(one) for one in item.items()]),
    }
    return EngineIPAM(**fields(entry, table, also=["options"]))


def _subnet(entry: Entry) -> EngineIPAMConfig:
    table: Table = {
        "subnet": ("subnet", Entry.name),
        "ip_range": ("ip_range", Entry.name),
        "gateway": ("gateway", Entry.name),
    }
    return EngineIPAMConfig(**fields(entry, table))


_TABLE: Table = {
    "driver": ("driver", Entry.name),
    "driver_opts": ("options", pairs),
    "internal": ("internal", Entry.boolean),
    "attachable": ("attachable", Entry.boolean),
    "enable_ipv6": ("enable_ipv6", Entry.boolean),
    "labels": ("labels", pairs),
    "ipam": ("ipam", _ipam),
}


def difference(wanted: NetworkCreate, there: NetworkResource) -> str:
    """Return what is otherwise with a network that is there, '' if it is as wanted."""
    for name in _COMPARED:
        want = given(getattr(wanted, name), False if name != "driver" else "overlay")
        have = getattr(there, name)
        if want != have:
            return f"its {name} is {have}, and the playbook wants {want}"
    return ""
