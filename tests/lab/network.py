"""The bridge that a lab's hosts share: a private subnet that the machine doesn't use otherwise.

The lab's daemon makes the bridge and no firewall rule; only this machine and the hosts are on it.
"""

import ipaddress
import json
import subprocess

from tests.lab.engine import LabError, docker
from tests.lab.hosts import LABEL, network_name

_CANDIDATES = [ipaddress.IPv4Network(f"10.86.{third}.0/24") for third in range(32)]
_FIRST_HOST = 11


def ensure_network(lab: str) -> ipaddress.IPv4Network:
    """Return the lab's subnet; its bridge is made if it isn't there."""
    name = network_name(lab)
    if docker("network", "ls", "-q", "--filter", f"name=^{name}$"):
        text = docker("network", "inspect", name, "--format", "{{(index .IPAM.Config 0).Subnet}}")
        return ipaddress.IPv4Network(text)
    subnet = free_subnet(_routes())
    docker(
        "network",
        "create",
        "--driver=bridge",
        f"--subnet={subnet}",
        f"--label={LABEL}={lab}",
        f"--opt=com.docker.network.bridge.name={bridge_name(lab)}",
        name,
    )
    return subnet


def bridge_name(lab: str) -> str:
    """Return the name of a lab's bridge on this machine; Linux allows 15 characters."""
    return f"swl-{lab}"[:15]


def free_subnet(routes: list[ipaddress.IPv4Network]) -> ipaddress.IPv4Network:
    """Return the first candidate that overlaps no route; LabError if all do."""
    for candidate in _CANDIDATES:
        if not any(candidate.overlaps(route) for route in routes):
            return candidate
    raise LabError("every subnet from 10.86.0.0/24 to 10.86.31.0/24 is in use on this machine")


def address_of(subnet: ipaddress.IPv4Network, number: int) -> str:
    """Return the address of the lab's host number 1, 2 and so on."""
    return str(subnet[_FIRST_HOST + number - 1])


def _routes() -> list[ipaddress.IPv4Network]:
    """Return the machine's IPv4 destinations but for the default route."""
    done = subprocess.run(["ip", "-j", "-4", "route"], capture_output=True, text=True, check=True)
    return [
        ipaddress.IPv4Network(route["dst"])
        for route in json.loads(done.stdout)
        if route["dst"] != "default"
    ]
