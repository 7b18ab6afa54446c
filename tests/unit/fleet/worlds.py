"""Worlds in a few words, ``a=leader, b=manager, c=bare``, and what is planned for them."""

from __future__ import annotations

import msgspec
from msgspec import UNSET

from swarmops.backends.base import Missing
from swarmops.fleet.document import parse_document
from swarmops.fleet.groups import read_groups
from swarmops.fleet.host import OUR_VARS
from swarmops.fleet.inventory import Inventory, build_inventory
from swarmops.fleet.observation import HOST_LABEL, HostView, Observation, SwarmView
from swarmops.fleet.plan import make_plan
from swarmops.fleet.playbook import Playbook, build_playbook
from swarmops.fleet.steps import Plan, Step
from swarmops.model.node import (
    Availability,
    ManagerStatus,
    Node,
    NodeSpec,
    NodeState,
    NodeStatus,
    Reachability,
    Role,
)
from swarmops.model.service import Service
from swarmops.model.swarm import Peer, SwarmInfo

BARE = (Missing("runtime", "nothing is installed"), Missing("process", "it does not run"))
STOPPED = (Missing("process", "it does not run"),)
AWAY = ("silent", "stopped", "wiped", "sick", "troubled", "sealed", "clinging")
OLD = (Missing("runtime", "an older release"), Missing("process", "it runs an older release"))

NEWER = (msgspec.structs.replace(OLD[0], backward=True), OLD[1])


def node(host: str, kind: str) -> Node:
    """Return the node that a kind of host has in the swarm."""
    manager = any(word in kind for word in ("leader", "manager"))
    alive = not any(word in kind for word in AWAY)
    status = ManagerStatus(
        leader="leader" in kind,
        reachability=Reachability.REACHABLE if alive else Reachability.UNREACHABLE,
        addr=f"{host}:2377",
    )
    return Node(
        id=f"id-{host}",
        spec=NodeSpec(
            labels={HOST_LABEL: host},
            role=Role.MANAGER if manager else Role.WORKER,
            availability=Availability.DRAIN if "drained" in kind else Availability.ACTIVE,
        ),
        status=NodeStatus(state=NodeState.READY if alive else NodeState.DOWN),
        manager_status=status if manager else UNSET,
    )


def view(host: str, kind: str) -> HostView:
    """Return how a kind of host looks from outside."""
    if kind in {"unreachable", "silent manager", "silent worker"}:
        return HostView(name=host, error="connection refused")
    if kind == "bare" or kind.startswith(("wiped", "moved")):  # moved: its node lives elsewhere
        return HostView(name=host, missing=BARE)
    if kind.startswith(("stopped", "deaf")):  # a deaf one's process lives, its socket is gone
        alive = kind.startswith("deaf")
        return HostView(name=host, missing=STOPPED, had_state=True, alive=alive)
    if kind.startswith("slow"):  # somebody holds its socket and says nothing
        return HostView(name=host, error="does not answer in time", silent=True, had_state=True)
    if kind == "new":
        return HostView(name=host, running=True)
    swarm = told(host, kind)
    return HostView(
        name=host,
        running=True,
        had_state=True,
        missing=NEWER if "newer" in kind else OLD if "old" in kind else (),
        swarm=swarm,
        cluster_id=("other" if "other" in kind else "swarm") if swarm.control_available else "",
    )


def told(host: str, kind: str) -> SwarmInfo:
    """Return what a runtime that is in a swarm says of it."""
    if kind.startswith(("troubled", "sealed")):  # a Docker Engine that doesn't know its own ID
        state = "error" if kind.startswith("troubled") else "locked"
        return SwarmInfo(local_node_state=state, error="can't initialize raft node")
    known = {"removed": "id-a", "foreign": "id-else"}.get(kind, "id-a")
    if kind.startswith("clinging"):  # a Docker Engine that was demoted while it was off
        return SwarmInfo(
            node_id=f"id-{host}",
            local_node_state="active",
            control_available=True,
            error="The swarm does not have a leader.",
            remote_managers=[Peer(known, "a:2377")],
        )
    return SwarmInfo(
        node_id=f"gone-{host}" if kind in {"removed", "foreign"} else f"id-{host}",
        local_node_state="locked" if kind == "locked" else "active",
        control_available=any(word in kind for word in ("leader", "manager")),
        remote_managers=[Peer(known, "a:2377")],
    )


def seen(world: str, services: tuple[Service, ...] = ()) -> tuple[Inventory, Observation]:
    """Return the inventory and the observation of ``a=leader, b=manager, c=bare``.

    A name that begins with ``x`` is a node of no host of the inventory.
    """
    kinds = dict(part.strip().split("=") for part in world.split(","))
    listed = [name for name in kinds if not name.startswith("x")]
    text = "all: {hosts: {" + ", ".join(f"{name}: " for name in listed) + "}}"
    inventory = build_inventory("inv.yml", read_groups(parse_document(text, "inv.yml"), OUR_VARS))
    views = {name: view(name, kinds[name]) for name in listed}
    outside = {"bare", "new", "unreachable", "removed", "foreign", "locked", "other manager"}
    outside |= {"stopped unknown", "slow unknown"}
    nodes = tuple(node(name, kind) for name, kind in kinds.items() if kind not in outside)
    told = any("leader" in kind for kind in kinds.values())
    swarm = SwarmView(id="swarm", seen_from="a", nodes=nodes, services=services) if told else None
    return inventory, Observation(hosts=views, swarm=swarm)


def play(text: str, inventory: Inventory) -> Playbook:
    """Return a playbook."""
    return build_playbook(parse_document(text, "prod.yml"), inventory)


def plan(world: str, text: str, services: tuple[Service, ...] = ()) -> Plan:
    """Return the plan for a world and a playbook."""
    inventory, observation = seen(world, services)
    return make_plan(inventory, play(text, inventory), observation)


def short(step: Step) -> str:
    """Return a step as the tables write it."""
    words = [step.id]
    if step.role is not None:
        words.append(step.role.value)
    if step.availability is not None:
        words.append(step.availability.value)
    return " ".join(words)


M1, M3 = "swarm: {managers: 1}", "swarm: {managers: 3}"
