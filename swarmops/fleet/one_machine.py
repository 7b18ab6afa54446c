"""Two hosts of the inventory that are one machine: an address that is wrong, or stands twice.

Called by the observation; pure. Nothing may be done on such hosts: what is meant for the one would
be done to the other, whose node may be well.
"""

from __future__ import annotations

from collections.abc import Mapping

from swarmops.backends.base import Facts
from swarmops.fleet.listed import listed
from swarmops.fleet.target import Target


def refused(looked: Mapping[str, Facts], targets: Mapping[str, Target]) -> dict[str, str]:
    """Return why nothing can be done with hosts that share a machine and a data directory."""
    places: dict[tuple[str, str], list[str]] = {}
    for name, facts in looked.items():
        if facts.machine_id:
            places.setdefault((facts.machine_id, targets[name].place.data_dir), []).append(name)
    return {
        name: f"it is the same machine as {listed([host for host in hosts if host != name])}:"
        " correct the ansible_host that is wrong, or give each its own swarmops_data_dir"
        for hosts in places.values()
        if len(hosts) > 1
        for name in hosts
    }
