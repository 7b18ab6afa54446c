"""Writes Ansible YAML inventories for lab hosts: the lab's own, and any a test needs."""

import json
from collections.abc import Mapping, Sequence

from tests.lab.hosts import Host

MANAGERS = 3


def inventory_text(
    hosts: Sequence[Host],
    *,
    managers: Sequence[Host] | None = None,
    workers: Sequence[Host] | None = None,
    user: str = "root",
    variables: Mapping[str, object] | None = None,
) -> str:
    """Return an inventory of the hosts.

    Without `managers` and `workers` the first three hosts are in group `managers`, the others in
    `workers`; a host may be in both. `variables` are added to all hosts' vars as they are.
    """
    if managers is None:
        managers = hosts[:MANAGERS]
    if workers is None:
        workers = [host for host in hosts if host not in managers]
    shared: dict[str, object] = {
        "ansible_user": user,
        "ansible_ssh_private_key_file": hosts[0].key,
        **(variables or {}),
    }
    lines = ["all:", "  vars:"]
    lines += [f"    {name}: {json.dumps(value)}" for name, value in shared.items()]
    lines += ["  hosts:"]
    for host in hosts:
        lines += [f"    {host.name}:", f"      ansible_host: {host.address}"]
    lines += ["  children:"]
    for group, members in (("managers", managers), ("workers", workers)):
        lines += [f"    {group}:", "      hosts:" if members else "      hosts: {}"]
        lines += [f"        {host.name}:" for host in members]
    return "\n".join(lines) + "\n"
