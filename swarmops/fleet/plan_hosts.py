"""The part of a plan that makes every host run the wanted runtime: install, start, restart.

Called by ``swarmops.fleet.plan``; pure. What is down is started everywhere at once; what lives is
restarted in batches, managers one by one, each only while all the others answer.
"""

from __future__ import annotations

import msgspec

from swarmops.fleet.observation import HostView, Observation
from swarmops.fleet.quorum import is_leader, is_manager, is_reachable
from swarmops.fleet.roster import Roster
from swarmops.fleet.steps import Gate, Step, StepKind
from swarmops.model.node import Node

BATCH_PERCENT = 25
"""How many of the workers are restarted at once."""


def install_id(host: str) -> str:
    """Return the ID of a host's install step."""
    return f"{StepKind.INSTALL.value}:{host}"


def start_id(host: str) -> str:
    """Return the ID of a host's start step."""
    return f"{StepKind.START.value}:{host}"


def host_steps(observation: Observation, roster: Roster) -> list[Step]:
    """Return the install and start steps of all usable hosts.

    Nodes that live are restarted in batches, workers first, then the managers: those that the
    others don't hear first, the leader last. Each batch waits until the one before has come back
    well, so that a release that doesn't start takes at most one batch's daemons down, for a moment.
    One that lives but doesn't serve its socket may be a good member all the same: it has its turn.
    """
    usable = [view for view in observation.hosts.values() if view.usable and view.missing]
    installs = [step for view in usable if (step := _install(view))]
    installed = {step.target for step in installs}
    starting = [view for view in usable if _stopped(view)]
    starts = [_start(view, installed) for view in starting if not _lives(view)]
    stopped = tuple(step.id for step in starts if _manages(step.target, roster))
    restarting = [view for view in starting if _lives(view)]
    before: tuple[str, ...] = ()
    for batch in _batches([view for view in restarting if not _manages(view.name, roster)]):
        steps = [_after(_start(view, installed), before) for view in batch]
        starts += steps
        before = tuple(step.id for step in steps)
    managers = [view for view in restarting if _manages(view.name, roster)]
    for view in sorted(managers, key=lambda view: _turn(roster.members[view.name])):
        step = msgspec.structs.replace(
            _after(_start(view, installed), before),
            follows=stopped,
            gate=Gate.RESTART_MANAGER,
            node_id=roster.members[view.name].id,
        )
        starts.append(step)
        before = (step.id,)
    return installs + starts


def _lives(view: HostView) -> bool:
    return view.running or view.alive


def _turn(node: Node) -> int:
    return 2 if is_leader(node) else int(is_reachable(node))


def only_down(steps: list[Step], observation: Observation) -> list[Step]:
    """Return the steps that may be done while nobody tells who is a manager.

    What is down is started. What lives may be one of those that make up the quorum once the others
    are back: it has its turn when the swarm can be seen, or nothing else is left to start, and then
    one after the other, for any of them may be a manager.
    """
    hosts = observation.hosts
    down = {s.target for s in steps if s.kind is StepKind.START and not _lives(hosts[s.target])}
    deaf = {view.name for view in hosts.values() if view.alive and not view.running}
    kept = [s for s in steps if s.kind is not StepKind.START or s.target in (down or deaf)]
    ids = {step.id for step in kept}
    result: list[Step] = []
    before: tuple[str, ...] = ()
    for step in kept:
        after = tuple(one for one in step.after if one in ids)
        if step.kind is StepKind.START and not down:
            after = tuple(dict.fromkeys((*after, *before)))
            before = (step.id,)
        result.append(msgspec.structs.replace(step, after=after))
    return result


def _batches(views: list[HostView]) -> list[list[HostView]]:
    """Split what is restarted: one first, to see whether it works, then a quarter at a time."""
    size = max(1, -(-len(views) * BATCH_PERCENT // 100))
    rest = [views[at : at + size] for at in range(1, len(views), size)]
    return [views[:1], *rest] if views else []


def _after(step: Step, before: tuple[str, ...]) -> Step:
    return msgspec.structs.replace(step, after=(*step.after, *before))


def _stopped(view: HostView) -> list[str]:
    """Return why the process must be started, nothing if it runs as it should."""
    return [item.reason for item in view.missing if item.what == "process"]


def _manages(host: str, roster: Roster) -> bool:
    node = roster.members.get(host)
    return node is not None and is_manager(node)


def _start(view: HostView, installed: set[str]) -> Step:
    return Step(
        id=start_id(view.name),
        kind=StepKind.START,
        target=view.name,
        reason=_stopped(view)[0],
        proof="its socket answers, in the wanted release",
        after=(install_id(view.name),) if view.name in installed else (),
    )


def _install(view: HostView) -> Step | None:
    reasons = [item.reason for item in view.missing if item.what != "process"]
    if not reasons:
        return None
    return Step(
        id=install_id(view.name),
        kind=StepKind.INSTALL,
        target=view.name,
        reason="; ".join(reasons),
        proof="the wanted release is switched on and supervised",
        destructive=any(item.backward for item in view.missing),
    )
