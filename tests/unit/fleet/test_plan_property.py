"""From any world, applying plans reaches the wanted state, and the quorum is never risked.

The world is a toy: hosts with power, SSH and a disk; a swarm that is its managers' agreement. Steps
are carried out in any order that the plan allows, each checked at its gate, as apply does it.
"""

from __future__ import annotations

import random
from collections.abc import Collection
from dataclasses import dataclass, field

import msgspec
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from swarmops.backends.base import Missing
from swarmops.fleet.groups import Group, Groups
from swarmops.fleet.inventory import Inventory, build_inventory
from swarmops.fleet.nodes import NodeWish
from swarmops.fleet.observation import HostView, Observation, SwarmView
from swarmops.fleet.plan import make_plan
from swarmops.fleet.playbook import Playbook
from swarmops.fleet.quorum import gate_refusal, quorum
from swarmops.fleet.selection import Selection, select
from swarmops.fleet.spec_diff import labelled
from swarmops.fleet.steps import Gate, Plan, Step, StepKind
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
from swarmops.model.object import ObjectVersion
from swarmops.model.service import Service, ServiceSpec
from swarmops.model.swarm import Peer, SwarmInfo

OFTEN = settings(deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
"""The same worlds each time: what is found among others is a row of a table from then on."""
ROUNDS_MAX = 9
ROUNDS_FAULTY_MAX = 3


@dataclass
class Machine:
    """One host of the toy world."""

    ssh: bool = True
    installed: bool = True
    running: bool = True
    state: str = ""
    """The node ID on its disk."""
    old: bool = False
    """An older release runs."""
    deaf: bool = False
    """It runs, and its socket is gone."""
    slow: bool = False
    """It runs, and does not answer in time."""


@dataclass
class Member:
    """One node, as the managers have agreed."""

    role: Role
    availability: Availability = Availability.ACTIVE
    labels: dict[str, str] = field(default_factory=dict)


@dataclass
class World:
    """Machines and the swarm that some of them are in."""

    machines: dict[str, Machine]
    nodes: dict[str, Member] = field(default_factory=dict)
    services: dict[str, ServiceSpec] = field(default_factory=dict)
    counter: int = 0
    seen: bool = False
    """Who looked last saw the swarm; else nobody could tell which machines are managers."""

    def alive(self, node_id: str) -> bool:
        """Say whether a node's machine still is that node, and runs."""
        return any(m.running and m.state == node_id for m in self.machines.values())

    def managers(self) -> list[str]:
        """Return the IDs of the managers."""
        return [i for i, node in self.nodes.items() if node.role is Role.MANAGER]

    def living_managers(self) -> list[str]:
        """Return the IDs of the managers that answer."""
        return [i for i in self.managers() if self.alive(i)]

    def works(self) -> bool:
        """Say whether the swarm has a quorum."""
        return len(self.living_managers()) >= quorum(len(self.managers()))

    def api_nodes(self) -> tuple[Node, ...]:
        """Return the nodes as the API tells them."""
        leader = next(iter(self.living_managers()), None)
        return tuple(
            Node(
                id=node_id,
                spec=NodeSpec(
                    labels=dict(node.labels), role=node.role, availability=node.availability
                ),
                status=NodeStatus(state=NodeState.READY if self.alive(node_id) else NodeState.DOWN),
                manager_status=ManagerStatus(
                    leader=node_id == leader,
                    reachability=Reachability.REACHABLE
                    if self.alive(node_id)
                    else Reachability.UNREACHABLE,
                )
                if node.role is Role.MANAGER
                else msgspec.UNSET,
            )
            for node_id, node in self.nodes.items()
        )

    def observe(self) -> Observation:
        """Look at everything as the fleet's side does."""
        views = {name: self._view(name, machine) for name, machine in self.machines.items()}
        asked = [n for n, view in views.items() if view.cluster_id]
        self.seen = bool(asked) and self.works()
        if not self.seen:
            return Observation(hosts=views, swarm_error="no leader" if asked else "")
        services = tuple(
            Service(id=f"svc-{name}", version=ObjectVersion(1), spec=spec)
            for name, spec in self.services.items()
        )
        swarm = SwarmView(id="swarm", seen_from=asked[0], nodes=self.api_nodes(), services=services)
        return Observation(hosts=views, swarm=swarm)

    def _view(self, name: str, machine: Machine) -> HostView:
        if not machine.ssh:
            silent = machine.slow and machine.running
            had_state = silent and bool(machine.state)
            return HostView(name=name, error="no answer", silent=silent, had_state=had_state)
        missing = [] if machine.installed else [Missing("runtime", "it is not the wanted one")]
        if not machine.running or machine.deaf:
            missing.append(Missing("process", "it does not run"))
            return HostView(
                name=name,
                missing=tuple(missing),
                had_state=bool(machine.state),
                alive=machine.running,
            )
        if machine.old:
            missing.append(Missing("process", "it has to be restarted"))
        manager = machine.state in self.managers()
        removed = bool(machine.state) and machine.state not in self.nodes
        return HostView(
            name=name,
            running=True,
            missing=tuple(missing),
            had_state=bool(machine.state),
            swarm=SwarmInfo(
                node_id=machine.state,
                local_node_state="active" if machine.state else "inactive",
                control_available=manager,
                remote_managers=[Peer(i, "a:2377") for i in self.managers()] if removed else None,
            ),
            cluster_id="swarm" if manager else "",
        )

    def do(self, step: Step) -> bool:
        """Carry out a step as apply would; False: it was refused or failed."""
        if gate_refusal(step.gate, self.api_nodes(), step.node_id) is not None:
            return False
        machine = self.machines.get(step.target)
        on_host = {StepKind.INSTALL, StepKind.START, StepKind.INIT, StepKind.JOIN, StepKind.LEAVE}
        if step.kind in on_host:
            assert machine is not None
            assert machine.ssh
            return self._on_host(step, machine)
        if not self.works():  # only ever after one manager became two and the second died
            return False
        if step.kind is StepKind.UPDATE_NODE:
            node_id = step.node_id or (machine.state if machine else "")
            node = self.nodes[node_id]
            if step.role is Role.WORKER and self.alive(node_id):
                assert len(self.living_managers()) == len(self.managers()), (
                    "a manager was touched while another didn't answer"
                )
            node.role = step.role or node.role
            node.availability = step.availability or node.availability
            for key, value in step.labels.items():
                node.labels.pop(key, None)
                if value is not None:
                    node.labels[key] = value
        elif step.kind is StepKind.REMOVE_NODE:
            assert self.nodes[step.node_id].role is Role.WORKER
            assert not self.alive(step.node_id)
            del self.nodes[step.node_id]
        elif step.kind is StepKind.REMOVE_SERVICE:
            del self.services[step.target]
        else:
            assert step.service is not None
            self.services[step.target] = step.service
        return True

    def _on_host(self, step: Step, machine: Machine) -> bool:
        if step.kind is StepKind.INSTALL:
            machine.installed = True
        elif step.kind is StepKind.START:
            assert machine.installed
            self._restart(machine)
        elif step.kind is StepKind.LEAVE:
            machine.state = ""
        else:
            assert machine.running
            assert not machine.state
            assert step.role is not None
            if step.kind is StepKind.INIT:
                assert not self.living_managers(), "a second swarm"
                self.nodes.clear()  # those of a swarm whose managers were all wiped
            elif not self.works():
                return False
            self.counter += 1
            machine.state = f"new-{self.counter}"
            self.nodes[machine.state] = Member(step.role, step.availability or Availability.ACTIVE)
        return True

    def _restart(self, machine: Machine) -> None:
        """Take a machine away for a moment, with what that must not cost."""
        count, living = len(self.managers()), len(self.living_managers())
        manages = machine.running and machine.state in self.managers()
        if manages and count > 2 and self.seen and self.works():
            assert living == count, "a manager was restarted while another didn't answer"
            assert living - 1 >= quorum(count), "a restart cost the quorum"
        machine.running, machine.old, machine.deaf = True, False, False


def inventory(names: list[str]) -> Inventory:
    """Return an inventory of hosts without groups."""
    groups = Groups(
        groups={"all": Group(name="all", hosts=names)}, host_vars={name: {} for name in names}
    )
    return build_inventory("inv.yml", groups)


_STATES = ("slow", "deaf", "old")


@st.composite
def worlds(draw: st.DrawFn) -> World:
    """Draw a world: any mixture of hosts that are new, stopped, wiped, silent or members."""
    count = draw(st.integers(1, 7))
    world = World(machines={})
    swarm = draw(st.booleans())
    for index in range(count):
        name = f"h{index}"
        kinds = ["bare", "new", "silent"]
        if swarm:
            kinds = ["manager"] * 5 + ["worker"] * 4 + ["bare", "new", "silent"]
        kind = draw(st.sampled_from(kinds))
        fate = "well"
        if kind in {"manager", "worker"}:
            fate = draw(
                st.sampled_from(
                    ["well"] * 6
                    + ["stopped", "wiped", "dead", "dead", "unreachable"]
                    + ["old", "old", "deaf", "slow", "removed"]
                )
            )
        machine = Machine(ssh=kind != "silent" and fate not in {"unreachable", "dead", "slow"})
        machine.slow, machine.deaf, machine.old = (fate == word for word in _STATES)
        machine.installed = fate != "old" or draw(st.booleans())
        world.machines[name] = machine
        if kind == "bare":
            machine.installed = machine.running = False
        if kind in {"manager", "worker"}:
            machine.state = f"id-{name}"
            labels = {"swarmops.host": name} if fate != "well" or draw(st.booleans()) else {}
            world.nodes[machine.state] = Member(
                Role(kind), draw(st.sampled_from(list(Availability))), labels
            )
            machine.running = fate not in {"stopped", "wiped", "dead"}
            if fate == "wiped":
                machine.state, machine.installed = "", False
            if fate == "removed":
                del world.nodes[machine.state]
    if draw(st.booleans()) and world.managers():
        world.nodes["id-stranger"] = Member(Role.WORKER)
        world.services = {
            name: labelled(ServiceSpec(name=name), of) for name, of in (("a", "p"), ("b", "q"))
        }
    return world


@st.composite
def playbooks(draw: st.DrawFn, names: list[str]) -> Playbook:
    """Draw a playbook for these hosts, one that the reader would accept."""
    nodes = {
        name: NodeWish(
            role=draw(st.sampled_from([None, None, None, Role.WORKER])),
            availability=draw(st.sampled_from([None, *Availability])),
            labels=draw(st.sampled_from([{}, {"disk": "ssd"}, {"disk": None}])),
        )
        for name in names
    }
    fit = [name for name in names if nodes[name].role is None]
    assume(fit)
    managers = draw(st.integers(1, len(fit)))
    for name in draw(st.lists(st.sampled_from(fit), max_size=managers, unique=True)):
        nodes[name] = msgspec.structs.replace(nodes[name], role=Role.MANAGER)
    services = {"web": ServiceSpec(name="web")} if draw(st.booleans()) else {}
    return Playbook(
        paths=("p.yml",),
        name="p",
        managers=managers,
        nodes=nodes,
        services=services,
        replace_dead_after_s=draw(st.sampled_from([None, None, 0.0])),
        zones={name: draw(st.sampled_from(["one", "two"])) for name in names},
        prune=draw(st.booleans()),
    )


def carry_out(world: World, plan: Plan, rng: random.Random, *, wanted: int, faults: float) -> None:
    """Do the steps in an order that the plan allows, and watch the managers after each.

    A share of ``faults`` of the steps fails: without effect, or leaving a newcomer that never
    answers. No other step takes from three and more managers the one that they could lose.
    """
    ended: dict[str, bool] = {}
    least = min(wanted, len(world.living_managers()))
    left = list(plan.steps)
    ids = {step.id for step in plan.steps}
    assert len(ids) == len(left), "two steps have one ID"
    while left:
        able = [
            step
            for step in left
            if all(one in ended for one in (*step.after, *step.follows) if one in ids)
        ]
        assert able, "the steps wait for each other in a circle"
        step = rng.choice(able)
        left.remove(step)
        worked, alone = world.works(), len(world.managers()) <= 1
        bore_a_loss = len(world.living_managers()) - 1 >= quorum(len(world.managers()))
        fault = rng.random() < faults
        ready = all(ended.get(one, True) for one in step.after)
        newcomer = step.kind is StepKind.JOIN or step.role is Role.MANAGER
        ended[step.id] = ready and (newcomer or not fault) and world.do(step)
        if ended[step.id] and fault:
            world.machines[step.target].running = False
            ended[step.id] = bore_a_loss = False
        count, living = len(world.managers()), len(world.living_managers())
        assert world.works() or not worked or alone, f"{step.id} cost the quorum"
        assert living >= least or alone, f"{step.id} gave up a manager too early"
        if bore_a_loss and count >= 3:
            assert living - 1 >= quorum(count), f"{step.id} left no tolerance"


def settled(world: World, playbook: Playbook, problems: Collection[str]) -> None:
    """Assert that all is as the playbook says, and each host that has no problem is in any case."""
    if not problems:
        assert len(world.managers()) == playbook.managers
        known = {machine.state for machine in world.machines.values()} | {"id-stranger"}
        assert set(world.nodes) | {"id-stranger"} == known
    for name, machine in world.machines.items():
        if name in problems:
            continue
        node, wish = world.nodes[machine.state], playbook.wish(name)
        assert machine.running
        assert machine.installed
        assert not machine.old
        assert not machine.deaf
        assert problems or wish.role in {None, node.role}
        assert wish.availability in {None, node.availability}
        assert node.labels["swarmops.host"] == name
        assert all(node.labels.get(key) == value for key, value in wish.labels.items())
    assert set(playbook.services) <= set(world.services)
    assert not playbook.prune or "a" not in world.services


@pytest.mark.slow
@settings(OFTEN, max_examples=120)
@given(st.data())
def test_parts_of_plans_keep_the_quorum_too(data: st.DataObject):
    """Whatever is selected, in whatever batches, no step costs the quorum or gives up too much."""
    world = data.draw(worlds())
    names = list(world.machines)
    fleet = inventory(names)
    playbook = data.draw(playbooks(names))
    rng = random.Random(data.draw(st.integers(0, 999)))
    assume(not world.nodes or any(m.ssh and m.state for m in world.machines.values()))
    areas = st.sets(st.sampled_from(["runtime", "nodes", "services"]), min_size=1)
    for _ in range(3):
        selection = Selection(
            hosts=frozenset(data.draw(st.sets(st.sampled_from(names), min_size=1))),
            areas=data.draw(st.none() | areas.map(frozenset)),
            serial=data.draw(st.none() | st.integers(1, 3)),
        )
        plan = select(make_plan(fleet, playbook, world.observe()), selection)
        carry_out(world, plan, rng, wanted=playbook.managers, faults=0.0)


@settings(OFTEN, max_examples=250)
@given(st.data())
def test_plans_lead_to_the_wanted_state_and_keep_the_quorum(data: st.DataObject):
    """In bounded rounds nothing is left to do; what is then not as wanted is told as a problem."""
    world = data.draw(worlds())
    names = list(world.machines)
    fleet = inventory(names)
    playbook = data.draw(playbooks(names))
    rng = random.Random(data.draw(st.integers(0, 999)))
    had_swarm = any(machine.state for machine in world.machines.values()) or bool(world.nodes)
    # A swarm of which no host can be seen can't be told from none: see docs/inventory.md.
    assume(not had_swarm or any(m.ssh and m.state for m in world.machines.values()))
    faults = data.draw(st.sampled_from([0.0, 0.0, 0.2, 0.5]))
    for number in range(ROUNDS_MAX):
        plan = make_plan(fleet, playbook, world.observe())
        assert not (plan.refusals and plan.steps)
        if plan.refusals or plan.empty:
            break
        if number == ROUNDS_FAULTY_MAX:
            faults = 0.0
        carry_out(world, plan, rng, wanted=playbook.managers, faults=faults)
    else:
        # A manager that lives waits for its restart until all others answer, and says so.
        shut = [s for s in plan.steps if gate_refusal(s.gate, world.api_nodes(), s.node_id)]
        held = {step.id for step in shut if step.gate is Gate.RESTART_MANAGER}
        for step in plan.steps:
            if held & {*step.after, *step.follows}:
                held.add(step.id)
        assert held, f"still to do after {ROUNDS_MAX} rounds: {plan}"
        assert {step.id for step in plan.steps} == held, plan
        return
    if plan.refusals:
        assert (
            not world.works()
            or not world.nodes
            or not any(
                world.machines[n].ssh for n in names if world.machines[n].state in world.managers()
            )
        )
        assert had_swarm or any(not machine.ssh for machine in world.machines.values())
    else:
        settled(world, playbook, plan.problems)
        if all(machine.ssh for machine in world.machines.values()):
            assert not plan.problems
    assert make_plan(fleet, playbook, world.observe()) == plan
