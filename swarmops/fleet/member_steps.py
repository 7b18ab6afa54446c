"""The steps that change who is in the swarm: what each is called, shows, waits for and proves.

Used by ``plan_members``, which decides whether and in which order; pure. Each step that changes the
managers' group waits for the one before it.
"""

from __future__ import annotations

import msgspec

from swarmops.fleet.inventory import Inventory
from swarmops.fleet.playbook import Playbook
from swarmops.fleet.quorum import Members, is_heard, is_reachable
from swarmops.fleet.roster import Roster
from swarmops.fleet.steps import Change, Gate, Step, StepKind
from swarmops.model.node import Availability, Node, Role


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


def init(draft: Draft, host: str) -> None:
    """Make the swarm on its first manager."""
    step = Step(
        id=f"{StepKind.INIT.value}:{host}",
        kind=StepKind.INIT,
        target=host,
        reason="no host is in a swarm",
        proof="it is an active manager",
        changes=(Change("swarm", None, draft.playbook.name),),
        after=own(draft, host),
        role=Role.MANAGER,
        availability=draft.playbook.wish(host).availability,
    )
    draft.steps.append(step)
    draft.root = draft.chain = (step.id,)


def leave(draft: Draft, host: str) -> None:
    """Take a host out of the swarm that it is in."""
    draft.steps.append(
        Step(
            id=_leave_id(host),
            kind=StepKind.LEAVE,
            target=host,
            reason=draft.roster.leaving[host],
            proof="it is in no swarm",
            after=own(draft, host),
        )
    )


def join(draft: Draft, host: str, role: Role) -> None:
    """Let a host join in a role; a manager after the one before it."""
    manager = role is Role.MANAGER
    left = (_leave_id(host),) if host in draft.roster.leaving else ()
    # Of one host there shall not be two nodes because nobody allowed to remove the first.
    instead = tuple(
        step.id
        for step in draft.steps
        if step.kind is StepKind.REMOVE_NODE and step.target == host and step.destructive
    )
    wiped = host in draft.roster.lost and host not in draft.roster.leaving
    availability = draft.playbook.wish(host).availability
    changes = [Change("role", None, role.value)]
    if availability not in {None, Availability.ACTIVE}:
        changes.append(Change("availability", None, availability.value if availability else None))
    step = Step(
        id=_join_id(host),
        kind=StepKind.JOIN,
        target=host,
        reason="it was wiped" if wiped and not instead else "it is in no swarm",
        proof="its manager answers" if manager else "its node is ready",
        changes=tuple(changes),
        after=(*(left or own(draft, host)), *draft.root, *instead),
        follows=tuple(i for i in draft.chain if i not in draft.root) if manager else (),
        gate=Gate.ADD_MANAGER if manager else Gate.NONE,
        role=role,
        availability=availability,
    )
    draft.steps.append(step)
    if manager:
        draft.chain = (step.id,)


def set_role(
    draft: Draft,
    host: str,
    node: Node | None,
    role: Role,
    after: tuple[str, ...],
    *,
    old: bool = False,
    reason: str = "",
) -> None:
    """Promote or demote a node, after the change before it; ``old``: an identity that was lost."""
    assert node is not None  # noqa: S101 - only members change their role
    promotes = role is Role.MANAGER
    step = Step(
        id=_role_id(host, node if old else None),
        kind=StepKind.UPDATE_NODE,
        target=host,
        reason=(_gone(node, "manager") if old else reason) or _reason(draft, host, role),
        proof="its manager answers" if promotes else "it is no member of the managers any more",
        changes=(Change("role", _other(role).value, role.value),),
        after=after,
        follows=draft.chain,
        gate=Gate.ADD_MANAGER if promotes else Gate.REMOVE_MANAGER,
        node_id=node.id,
        role=role,
        destructive=old and is_heard(node),
    )
    draft.steps.append(step)
    draft.chain = (step.id,)


def remove(draft: Draft, host: str, node: Node, after: tuple[str, ...]) -> None:
    """Have the swarm forget a node that its machine lost; one that is still heard, if allowed."""
    draft.steps.append(
        Step(
            id=f"{StepKind.REMOVE_NODE.value}:{host}:{node.id}",
            kind=StepKind.REMOVE_NODE,
            target=host,
            reason=draft.roster.leaving.get(host) or _gone(node, "node"),
            proof="the swarm doesn't list it",
            changes=(Change("node", node.id, None),),
            after=after,
            node_id=node.id,
            destructive=is_heard(node),
        )
    )


def _gone(node: Node, what: str) -> str:
    if is_heard(node):
        return (
            f"this {what} is not that of the machine at the host's address, though the swarm"
            " counts it as alive: that machine was wiped a moment ago, or is another one"
        )
    return f"the machine was wiped, and this {what} with it"


def _reason(draft: Draft, host: str, role: Role) -> str:
    if draft.playbook.wish(host).role is role:
        return f"the playbook gives it role: {role.value}"
    if not draft.inventory.may_manage(host):
        return "the inventory's groups make it a worker"
    number = draft.playbook.managers
    return f"the playbook wants {number} {'manager' if number == 1 else 'managers'}"


def _other(role: Role) -> Role:
    return Role.WORKER if role is Role.MANAGER else Role.MANAGER


def own(draft: Draft, host: str) -> tuple[str, ...]:
    """Return the step after which a host's runtime runs."""
    return (draft.ready[host],) if host in draft.ready else ()


def _join_id(host: str) -> str:
    """Return the ID of a host's join step."""
    return f"{StepKind.JOIN.value}:{host}"


def _leave_id(host: str) -> str:
    return f"{StepKind.LEAVE.value}:{host}"


def _role_id(host: str, old: Node | None = None) -> str:
    middle = f":{old.id}" if old is not None else ""
    return f"{StepKind.UPDATE_NODE.value}:{host}{middle}:role"


def added_id(draft: Draft, host: str) -> str:
    """Return the ID of the step that makes a host a manager."""
    return _join_id(host) if host in draft.roster.joining else _role_id(host)
