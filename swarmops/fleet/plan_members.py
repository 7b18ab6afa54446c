"""The part of a plan that decides who is in the swarm, and who is a manager: the dangerous part.

Called by ``swarmops.fleet.plan``; pure. The order is the safe one: identities that died with their
machine go first, for each costs tolerance and gives none; then managers are added, one at a time,
because each raises the quorum before it has proved itself; only when all are there are others
demoted, the leader last. What would risk the quorum is not planned but told as a problem.
"""

from __future__ import annotations

import msgspec

from swarmops.fleet.inventory import Inventory
from swarmops.fleet.playbook import Playbook
from swarmops.fleet.quorum import Members, is_leader, is_manager, is_reachable
from swarmops.fleet.roster import Roster
from swarmops.fleet.steps import Change, Gate, Step, StepKind
from swarmops.model.node import Availability, Node, NodeState, Role


class Draft(msgspec.Struct):
    """The membership steps while they are put together."""

    inventory: Inventory
    playbook: Playbook
    roster: Roster
    chosen: list[str]
    ready: dict[str, str]
    """Host → the last install or start step that it has."""
    starting: set[str]
    """Hosts whose stopped runtime is started by this plan."""
    members: Members
    steps: list[Step] = []
    problems: dict[str, str] = {}
    chain: tuple[str, ...] = ()
    """The step that the next change of the managers' group waits for."""
    added: list[str] = []
    root: tuple[str, ...] = ()
    """The init step, if this plan has one."""

    def answers(self, host: str, node: Node) -> bool:
        """Say whether a manager answers, or will once it is started."""
        return is_reachable(node) or host in self.starting


def count_members(roster: Roster, nodes: tuple[Node, ...], starting: set[str]) -> Members:
    """Count the managers: lost identities don't answer, those that are started will."""
    lost = {node.id for nodes_ in roster.lost.values() for node in nodes_}
    started = {node.id for host, node in roster.members.items() if host in starting}
    managers = [node for node in nodes if is_manager(node)]
    reachable = [
        node
        for node in managers
        if node.id not in lost and (is_reachable(node) or node.id in started)
    ]
    return Members(len(managers), len(reachable))


def form(draft: Draft) -> None:
    """Plan a new swarm: init on the first chosen host that can be used, then everyone joins."""
    first = next(host for host in draft.chosen if host in draft.roster.joining)
    step = Step(
        id=f"{StepKind.INIT.value}:{first}",
        kind=StepKind.INIT,
        target=first,
        reason="no host is in a swarm",
        proof="it is an active manager",
        changes=(Change("swarm", None, draft.playbook.name),),
        after=_own(draft, first),
        role=Role.MANAGER,
        availability=draft.playbook.wish(first).availability,
    )
    draft.steps.append(step)
    draft.root = draft.chain = (step.id,)
    draft.members = Members(1, 1)
    grow(draft, skip={first})


def change(draft: Draft) -> None:
    """Plan the changes of a swarm that is there."""
    _bury(draft)
    grow(draft, skip=set())
    _shrink(draft)


def grow(draft: Draft, skip: set[str]) -> None:
    """Plan who joins and who is promoted, the managers one after the other."""
    for host in draft.roster.leaving:
        draft.steps.append(
            Step(
                id=_leave_id(host),
                kind=StepKind.LEAVE,
                target=host,
                reason=draft.roster.leaving[host],
                proof="it is in no swarm",
                after=_own(draft, host),
            )
        )
    for host in draft.chosen:
        if host not in skip:
            _add_manager(draft, host)
    for host in draft.roster.joining:
        if host not in skip and host not in draft.chosen:
            _join(draft, host, Role.WORKER)


def _add_manager(draft: Draft, host: str) -> None:
    node = draft.roster.members.get(host)
    if node is not None and is_manager(node) and node.spec.role is Role.MANAGER:
        return
    joins = host in draft.roster.joining
    if node is None and not joins:
        return  # it has a problem, or is looked at again
    down = node is not None and node.status.state is not NodeState.READY
    if down and host not in draft.starting:
        draft.problems.setdefault(host, "it can't be made a manager while its node is down")
        return
    if not draft.members.may_add():
        draft.problems.setdefault(
            host,
            f"it is not made a manager while {_silent(draft.members)}: bring the others back, or"
            " give them up with 'role: worker'",
        )
        if joins:
            _join(draft, host, Role.WORKER)
        return
    draft.members = draft.members.plus()
    draft.added.append(host)
    if joins:
        _join(draft, host, Role.MANAGER)
        return
    _set_role(draft, host, node, Role.MANAGER, _own(draft, host))


def _join(draft: Draft, host: str, role: Role) -> None:
    manager = role is Role.MANAGER
    leave = (_leave_id(host),) if host in draft.roster.leaving else ()
    availability = draft.playbook.wish(host).availability
    changes = [Change("role", None, role.value)]
    if availability not in {None, Availability.ACTIVE}:
        changes.append(Change("availability", None, availability.value if availability else None))
    step = Step(
        id=join_id(host),
        kind=StepKind.JOIN,
        target=host,
        reason="it was wiped" if host in draft.roster.lost else "it is in no swarm",
        proof="its manager answers" if manager else "its node is ready",
        changes=tuple(changes),
        after=(*(leave or _own(draft, host)), *draft.root),
        follows=tuple(i for i in draft.chain if i not in draft.root) if manager else (),
        gate=Gate.ADD_MANAGER if manager else Gate.NONE,
        role=role,
        availability=availability,
    )
    draft.steps.append(step)
    if manager:
        draft.chain = (step.id,)


def _set_role(
    draft: Draft,
    host: str,
    node: Node | None,
    role: Role,
    after: tuple[str, ...],
    *,
    old: bool = False,
    reason: str = "",
) -> None:
    assert node is not None  # noqa: S101 - only members change their role
    promotes = role is Role.MANAGER
    step = Step(
        id=_role_id(host, node if old else None),
        kind=StepKind.UPDATE_NODE,
        target=host,
        reason=reason or _reason(draft, host, role, old=old),
        proof="its manager answers" if promotes else "it is no member of the managers any more",
        changes=(Change("role", _other(role).value, role.value),),
        after=after,
        follows=draft.chain,
        gate=Gate.ADD_MANAGER if promotes else Gate.REMOVE_MANAGER,
        node_id=node.id,
        role=role,
    )
    draft.steps.append(step)
    draft.chain = (step.id,)


def _reason(draft: Draft, host: str, role: Role, *, old: bool) -> str:
    if old:
        return "the machine was wiped, and this manager with it"
    if draft.playbook.wish(host).role is role:
        return f"the playbook gives it role: {role.value}"
    if not draft.inventory.may_manage(host):
        return "the inventory's groups make it a worker"
    number = draft.playbook.managers
    return f"the playbook wants {number} {'manager' if number == 1 else 'managers'}"


def _bury(draft: Draft) -> None:
    """Plan to demote managers that are gone for good or given up, and to remove lost nodes."""
    for host, nodes in draft.roster.lost.items():
        for node in nodes:
            demoted: tuple[str, ...] = ()
            if is_manager(node):
                if not draft.members.may_remove_dead():
                    draft.problems.setdefault(
                        host,
                        f"its old manager can't be removed while {_silent(draft.members)}: bring"
                        " the others back first",
                    )
                    continue
                draft.members = draft.members.minus(live=False)
                _set_role(draft, host, node, Role.WORKER, (), old=True)
                demoted = draft.chain
            draft.steps.append(
                Step(
                    id=f"{StepKind.REMOVE_NODE.value}:{host}:{node.id}",
                    kind=StepKind.REMOVE_NODE,
                    target=host,
                    reason="the machine was wiped, and this node with it",
                    proof="the swarm doesn't list it",
                    changes=(Change("node", node.id, None),),
                    after=demoted,
                    node_id=node.id,
                )
            )
    for host, node in draft.roster.members.items():
        dead = is_manager(node) and not draft.answers(host, node)
        if dead and host not in draft.chosen and node.spec.role is Role.MANAGER:
            if draft.members.may_remove_dead():
                draft.members = draft.members.minus(live=False)
                _set_role(draft, host, node, Role.WORKER, (), reason="it is dead")
            else:
                draft.problems.setdefault(host, _stays(draft))


def _shrink(draft: Draft) -> None:
    """Plan to demote managers that answer and are not wanted, the leader last."""
    members = draft.roster.members
    surplus = [
        host
        for host, node in members.items()
        if host not in draft.chosen and node.spec.role is Role.MANAGER and draft.answers(host, node)
    ]
    missing = [
        host for host in draft.chosen if host not in draft.added and not _manages(draft, host)
    ]
    there = len(draft.chosen) - len(missing) + len(surplus)
    for host in sorted(surplus, key=lambda name: is_leader(members[name])):
        if missing and there <= draft.playbook.managers:
            draft.problems.setdefault(
                host, f"it stays a manager until {', '.join(missing)} can be one instead"
            )
        elif not draft.members.may_remove_live():
            draft.problems.setdefault(host, _stays(draft))
        else:
            there -= 1
            draft.members = draft.members.minus(live=True)
            after = tuple(_added_id(draft, name) for name in draft.added)
            _set_role(draft, host, members[host], Role.WORKER, (*after, *_own(draft, host)))


def _manages(draft: Draft, host: str) -> bool:
    node = draft.roster.members.get(host)
    return node is not None and node.spec.role is Role.MANAGER


def _stays(draft: Draft) -> str:
    return f"it stays a manager while {_silent(draft.members)}: bring the others back first"


def _silent(members: Members) -> str:
    return f"only {members.reachable} of {members.count} managers answer"


def _other(role: Role) -> Role:
    return Role.WORKER if role is Role.MANAGER else Role.MANAGER


def _own(draft: Draft, host: str) -> tuple[str, ...]:
    """Return the step after which a host's runtime runs."""
    return (draft.ready[host],) if host in draft.ready else ()


def join_id(host: str) -> str:
    """Return the ID of a host's join step."""
    return f"{StepKind.JOIN.value}:{host}"


def _leave_id(host: str) -> str:
    return f"{StepKind.LEAVE.value}:{host}"


def _role_id(host: str, old: Node | None = None) -> str:
    middle = f":{old.id}" if old is not None else ""
    return f"{StepKind.UPDATE_NODE.value}:{host}{middle}:role"


def _added_id(draft: Draft, host: str) -> str:
    return join_id(host) if host in draft.roster.joining else _role_id(host)
