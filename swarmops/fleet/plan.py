"""The planner: what must be done so that the world becomes what inventory and playbook say.

Called by plan, apply and status; pure: the same three values give the same plan, and a world that
is as it should be gives an empty one. Each part of a plan has its module; this one decides which
parts there are and puts them in order.
"""

from __future__ import annotations

from msgspec.structs import replace

from swarmops.fleet.choice import choose_managers, settled
from swarmops.fleet.inventory import Inventory
from swarmops.fleet.member_steps import Draft
from swarmops.fleet.observation import Observation
from swarmops.fleet.plan_hosts import host_steps, install_id, only_down, start_id
from swarmops.fleet.plan_materials import supplies
from swarmops.fleet.plan_members import change, count_members, form
from swarmops.fleet.plan_nodes import node_step, only_names
from swarmops.fleet.plan_services import service_steps
from swarmops.fleet.playbook import Playbook
from swarmops.fleet.preconditions import with_precondition
from swarmops.fleet.quorum import Members, tolerance
from swarmops.fleet.refusals import too_few, two_swarms, unreadable
from swarmops.fleet.roster import Roster, build_roster
from swarmops.fleet.steps import Plan, Step, StepKind
from swarmops.model.base import given
from swarmops.model.node import Role


def make_plan(inventory: Inventory, playbook: Playbook, observation: Observation) -> Plan:
    """Return the plan. Never raises for any observation; what can't be done is said in it."""
    plan = _plan(inventory, playbook, observation)
    return replace(plan, hooks=tuple(playbook.hooks.lines())) if plan.steps else plan


def _plan(inventory: Inventory, playbook: Playbook, observation: Observation) -> Plan:
    roster = build_roster(inventory, observation)
    usual, playbook = playbook.managers, settled(inventory, playbook, observation, roster)
    alone = _alone(playbook, usual)
    warnings = (*playbook.warnings, *alone, *_strangers(roster, inventory))
    refusal = two_swarms(observation)
    if observation.swarm is None and refusal is None:
        if roster.unsure:
            return Plan(
                steps=tuple(_ordered(only_down(host_steps(observation, roster), observation))),
                warnings=warnings,
                problems=roster.problems,
                again=True,
            )
        refusal = unreadable(observation) or too_few(inventory, playbook, observation, roster)
    if refusal is not None:
        untold = {of: why for of, why in roster.problems.items() if of not in refusal.tells}
        return Plan(warnings=warnings, refusals=(refusal.text,), problems=untold)
    return _full_plan(inventory, playbook, observation, roster, warnings)


def _full_plan(
    inventory: Inventory,
    playbook: Playbook,
    observation: Observation,
    roster: Roster,
    warnings: tuple[str, ...],
) -> Plan:
    hosts = host_steps(observation, roster)
    starting = {
        step.target
        for step in hosts
        if step.kind is StepKind.START and not observation.hosts[step.target].running
    }
    ids = {step.id for step in hosts}
    swarm = observation.swarm
    draft = Draft(
        inventory=inventory,
        playbook=playbook,
        roster=roster,
        chosen=choose_managers(inventory, playbook, observation, roster),
        ready={
            name: next(i for i in (start_id(name), install_id(name)) if i in ids)
            for name in {step.target for step in hosts}
        },
        starting=starting,
        members=count_members(roster, swarm.nodes, starting) if swarm else Members(0, 0),
        chain=tuple(
            step.id
            for step in hosts
            if step.kind is StepKind.START
            and (step.node_id or (step.target in starting and step.target in roster.members))
        ),
    )
    before = draft.members
    if swarm is None:
        form(draft)
    else:
        change(draft)
    members = _asked_first(_with_updates(draft), before, draft.members)
    after = draft.root
    follows = tuple(s.id for s in members if s.id not in after and not only_names(s))
    stock = supplies(playbook, swarm, after)
    services, more = service_steps(playbook, swarm, after, follows, stock)
    return Plan(
        steps=tuple(_ordered([*hosts, *members, *stock.steps, *services])),
        warnings=warnings,
        problems=draft.problems | stock.problems | more | roster.problems,
        again=bool(roster.unsure),
    )


def _with_updates(draft: Draft) -> list[Step]:
    """Return the membership steps with those that set availability and labels.

    A node's role is changed after the rest of it: two updates of one node at once would collide.
    """
    updates: dict[str, Step] = {}
    entered = {
        step.target: step.id for step in draft.steps if step.kind in {StepKind.INIT, StepKind.JOIN}
    }
    for host in draft.inventory.hosts:
        node = draft.roster.members.get(host)
        if node is None and host not in entered:
            continue
        after = (entered[host],) if host in entered else ()
        step = node_step(host, node, draft.playbook.wish(host), after)
        if step is not None:
            updates[step.id] = step
    by_node = {step.node_id: step.id for step in updates.values() if step.node_id}
    steps = [
        replace(step, follows=(*step.follows, by_node[step.node_id]))
        if step.role is not None and step.node_id in by_node
        else step
        for step in draft.steps
    ]
    return [*steps, *updates.values()]


def _asked_first(steps: list[Step], before: Members, after: Members) -> list[Step]:
    """Mark demotions that leave fewer managers to lose than the swarm bears now."""
    if tolerance(after.count) >= tolerance(before.count):
        return steps
    return [replace(step, destructive=True) if step.role is Role.WORKER else step for step in steps]


def _ordered(steps: list[Step]) -> list[Step]:
    """Return the steps so that each comes after all it waits for, else in the order given."""
    known = {step.id for step in steps}
    placed: set[str] = set()
    result: list[Step] = []
    left = steps
    while left:
        step = next(step for step in left if not ({*step.after, *step.follows} & known) - placed)
        result.append(with_precondition(step))
        placed.add(step.id)
        left = [other for other in left if other is not step]
    return result


def _alone(playbook: Playbook, usual: int) -> list[str]:
    if tolerance(playbook.managers) or not tolerance(usual):
        return []
    number = playbook.managers
    stay = "manager stays" if number == 1 else "managers stay"
    told = (
        f"{playbook.path} says nothing of the swarm, so its {number} {stay}, where {usual} could"
        f" bear a loss: say 'swarm: {{managers: {usual}}}' to have them"
    )
    return [told]


def _strangers(roster: Roster, inventory: Inventory) -> list[str]:
    return [
        f"node {given(node.description.hostname, '') or node.id} ({node.id}) is in the swarm and"
        f" not in {inventory.path}: it is left alone"
        for node in roster.strangers
    ]
