"""The part of a plan that decides who is in the swarm, and who is a manager: the dangerous part.

Called by ``swarmops.fleet.plan``; pure. The order is the safe one: identities that died with their
machine go first, for each costs tolerance and gives none; then managers are added, one at a time,
because each raises the quorum before it has proved itself; only when all are there are others
demoted, the leader last. What would risk the quorum is not planned but told as a problem.
"""

from __future__ import annotations

from swarmops.fleet.member_steps import (
    Draft,
    added_id,
    init,
    join,
    leave,
    own,
    remove,
    set_role,
)
from swarmops.fleet.quorum import Members, is_leader, is_manager, is_reachable
from swarmops.fleet.roster import Roster
from swarmops.model.node import Node, NodeState, Role


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
    init(draft, first)
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
        leave(draft, host)
    for host in draft.chosen:
        if host not in skip:
            _add_manager(draft, host)
    for host in draft.roster.joining:
        if host not in skip and host not in draft.chosen:
            join(draft, host, Role.WORKER)


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
            join(draft, host, Role.WORKER)
        return
    draft.members = draft.members.plus()
    draft.added.append(host)
    if joins:
        join(draft, host, Role.MANAGER)
        return
    set_role(draft, host, node, Role.MANAGER, own(draft, host))


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
                set_role(draft, host, node, Role.WORKER, (), old=True)
                demoted = draft.chain
            remove(draft, host, node, demoted)
    for host, node in draft.roster.members.items():
        dead = is_manager(node) and not draft.answers(host, node)
        if dead and host not in draft.chosen and node.spec.role is Role.MANAGER:
            if draft.members.may_remove_dead():
                draft.members = draft.members.minus(live=False)
                set_role(draft, host, node, Role.WORKER, (), reason="it is dead")
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
            after = tuple(added_id(draft, name) for name in draft.added)
            set_role(draft, host, members[host], Role.WORKER, (*after, *own(draft, host)))


def _manages(draft: Draft, host: str) -> bool:
    node = draft.roster.members.get(host)
    return node is not None and node.spec.role is Role.MANAGER


def _stays(draft: Draft) -> str:
    return f"it stays a manager while {_silent(draft.members)}: bring the others back first"


def _silent(members: Members) -> str:
    return f"only {members.reachable} of {members.count} managers answer"
