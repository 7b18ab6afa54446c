"""The part of a plan that makes every host run the wanted runtime: install, start, restart.

Called by ``swarmops.fleet.plan``; pure. Everywhere at once, but running managers are restarted one
after the other, the leader last, each only while the others are a quorum without it.
"""

from __future__ import annotations

import msgspec

from swarmops.fleet.observation import HostView, Observation
from swarmops.fleet.quorum import is_leader, is_manager
from swarmops.fleet.roster import Roster
from swarmops.fleet.steps import Gate, Step, StepKind


def install_id(host: str) -> str:
    """Return the ID of a host's install step."""
    return f"{StepKind.INSTALL.value}:{host}"


def start_id(host: str) -> str:
    """Return the ID of a host's start step."""
    return f"{StepKind.START.value}:{host}"


def host_steps(observation: Observation, roster: Roster) -> list[Step]:
    """Return the install and start steps of all usable hosts."""
    usable = [view for view in observation.hosts.values() if view.usable and view.missing]
    installs = [step for view in usable if (step := _install(view))]
    installed = {step.target for step in installs}
    serial = sorted(
        (view for view in usable if _restarts_manager(view, roster)),
        key=lambda view: is_leader(roster.members[view.name]),
    )
    starts = [_start(view, installed) for view in usable if view not in serial if _stopped(view)]
    first = tuple(step.id for step in starts if _manages(step.target, roster))
    for view in serial:
        step = _start(view, installed)
        starts.append(
            msgspec.structs.replace(
                step,
                follows=first,
                gate=Gate.RESTART_MANAGER,
                node_id=roster.members[view.name].id,
            )
        )
        first = (step.id,)
    return installs + starts


def _stopped(view: HostView) -> list[str]:
    """Return why the process must be started, nothing if it runs as it should."""
    return [item.reason for item in view.missing if item.what == "process"]


def _manages(host: str, roster: Roster) -> bool:
    node = roster.members.get(host)
    return node is not None and is_manager(node)


def _restarts_manager(view: HostView, roster: Roster) -> bool:
    return view.running and bool(_stopped(view)) and _manages(view.name, roster)


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
    )
