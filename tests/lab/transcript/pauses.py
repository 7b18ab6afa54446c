"""What the transcript waits for between commands, each a look at the manager's API.

`wait SERVICE N` until so many tasks run and nothing else is under way, `idle` until none does,
`settled SERVICE` until it has its ports and addresses, `lines SERVICE N` until so many were logged,
`nodes N` until so many are ready, `role NODE ROLE`, `state NODE STATE`, `unlisted NETWORK`,
`still NODE` until nobody has written to it for a while, `rotated` until every node trusts the
swarm's newest root.
"""

import json
import urllib.parse
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from http.client import HTTPException
from typing import Any, Final

from tests.lab.oracle.side import Side

STILL_S = 2.0


def holds(manager: Side, what: str, words: list[str]) -> bool:
    """Say whether what a pause waits for has come."""
    return _LOOKS[what](manager, *words)


def answers(side: Side) -> bool:
    """Say whether a daemon answers on its forwarded socket."""
    try:
        return side.api("GET", "/version")[0] == 200
    except (OSError, HTTPException):
        return False


def _wait(manager: Side, service: str, count: str) -> bool:
    wanted = [task for task in _tasks(manager, service) if task["DesiredState"] == "running"]
    return [task["Status"]["State"] for task in wanted] == ["running"] * int(count)


def _idle(manager: Side) -> bool:
    return all(task["Status"]["State"] in _ENDED for task in manager.get("/tasks"))


def _unlisted(manager: Side, network: str) -> bool:
    return network not in [each["Name"] for each in manager.get("/networks")]


def _tasks(manager: Side, service: str) -> list[dict[str, Any]]:
    query = urllib.parse.quote(json.dumps({"service": [service]}))
    status, tasks = manager.api("GET", f"/tasks?filters={query}")
    return tasks if status == 200 else []


def _settled(manager: Side, name: str) -> bool:
    """The ingress network, where a port needs it, comes on top of the networks of the spec."""
    service = manager.get(f"/services/{name}")
    ports = service["Spec"]["EndpointSpec"].get("Ports") or []
    endpoint = service["Endpoint"]
    given, wanted = (
        sorted(sorted(map(str, port.items())) for port in each)
        for each in (endpoint.get("Ports") or [], ports)
    )
    ingress = any(port["PublishMode"] == "ingress" for port in ports)
    networks = service["Spec"]["TaskTemplate"].get("Networks") or []
    addresses = endpoint.get("VirtualIPs") or []
    return given == wanted and len(addresses) == len(networks) + ingress


def _lines(manager: Side, service: str, count: str) -> bool:
    done = manager.run("service", "logs", "--raw", service)
    return len([*done.out.splitlines(), *done.err.splitlines()]) == int(count)


def _nodes(manager: Side, count: str) -> bool:
    nodes = manager.api("GET", "/nodes")[1]
    if not isinstance(nodes, list):
        return False
    ready = [node for node in nodes if node["Status"]["State"] == "ready"]
    return len(ready) == len(nodes) == int(count)


def _role(manager: Side, name: str, role: str) -> bool:
    status = _node(manager, name).get("ManagerStatus") or {}
    reachability = "reachable" if role == "manager" else None
    return bool(status.get("Reachability") == reachability)


def _state(manager: Side, name: str, state: str) -> bool:
    return bool(_node(manager, name).get("Status", {}).get("State") == state)


def _still(manager: Side, name: str) -> bool:
    """A client's update is out of sequence while Docker still writes what a change of role brings.

    The hosts' clocks are this machine's.
    """
    written = _node(manager, name).get("UpdatedAt")
    if written is None:
        return False
    return (datetime.now(UTC) - datetime.fromisoformat(written)).total_seconds() > STILL_S


def _node(manager: Side, name: str) -> Mapping[str, Any]:
    node: Mapping[str, Any] = manager.api("GET", f"/nodes/{name}")[1]
    return node


def _rotated(manager: Side) -> bool:
    swarm = manager.get("/swarm")
    roots = [node["Description"]["TLSInfo"]["TrustRoot"] for node in manager.get("/nodes")]
    trusted = swarm["TLSInfo"]["TrustRoot"]
    return not swarm["RootRotationInProgress"] and all(root == trusted for root in roots)


_ENDED: Final = {"complete", "shutdown", "failed", "rejected", "remove", "orphaned"}

_LOOKS: Final[Mapping[str, Callable[..., bool]]] = {
    "wait": _wait,
    "idle": _idle,
    "rotated": _rotated,
    "unlisted": _unlisted,
    "settled": _settled,
    "lines": _lines,
    "nodes": _nodes,
    "role": _role,
    "state": _state,
    "still": _still,
}
