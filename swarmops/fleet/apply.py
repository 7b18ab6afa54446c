"""Make the swarm what its playbook says: observe, plan, execute, and wait until it is really so.

Called by ``swarmops apply``. Planning is ``plan``'s, doing is ``actions``'; here is only the order,
what is said on the way, and what the outcome amounts to.
"""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from swarmops.errors import SwarmopsError
from swarmops.fleet import current
from swarmops.fleet.access import host_client
from swarmops.fleet.actions import Actions, Login, no_login
from swarmops.fleet.applied import Applied
from swarmops.fleet.apply_lock import ApplyLock
from swarmops.fleet.converge import missing_nodes, services_lack, taken_back
from swarmops.fleet.execute import Ended, Executed, State, execute
from swarmops.fleet.hooks import run_hooks
from swarmops.fleet.lease import Lease
from swarmops.fleet.locked_look import LockedLook
from swarmops.fleet.managers import Managers
from swarmops.fleet.observation import Observation
from swarmops.fleet.observe import Seen
from swarmops.fleet.opened import Fleet, Progress, counted
from swarmops.fleet.revision import read_revision, record_revision, revision_now
from swarmops.fleet.rows import NodeRow, ServiceRow, node_rows, service_rows
from swarmops.fleet.selection import Selection
from swarmops.fleet.steps import Plan, StepKind
from swarmops.fleet.supply import Supply
from swarmops.fleet.waiting import Patience, wait_until
from swarmops.model import defaults
from swarmops.model.base import given

ROUNDS_MAX = 3
CONVERGE_PATIENCE = Patience(bound_s=60, period_s=0.1)


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """How an apply is run. ``reason`` is told to whoever finds the swarm locked meanwhile.

    ``playbooks`` are what ``-p`` named; they are remembered with the inventory. ``reviewed`` is the
    only plan that may be carried out. ``login`` says what an image's registry is shown.
    """

    playbooks: tuple[Path, ...] = ()
    reason: str = ""
    reviewed: Plan | None = None
    login: Login = no_login


def apply(fleet: Fleet, progress: Progress, options: Options = Options()) -> Applied:  # noqa: B008 - frozen
    """Do what is missing and wait until it is so. Raises SwarmopsError where nothing can be done.

    LockedError if somebody else has locked the swarm.
    """
    managers = Managers(lambda host: host_client(fleet.inventory, fleet.shells, host))
    lease = Lease(options.reason or f"apply {fleet.inventory.path}")
    with contextlib.closing(managers), lease:
        lock = ApplyLock(lease, fleet.inventory, fleet.shells, managers)
        return _rounds(fleet, progress, options, managers, lock)


def _rounds(
    fleet: Fleet,
    progress: Progress,
    options: Options,
    managers: Managers,
    lock: ApplyLock,
) -> Applied:
    ended: list[Ended] = []
    look_locked = LockedLook(fleet, progress, managers, lock, options.reviewed)
    for _ in range(ROUNDS_MAX):
        seen, plan = look_locked()
        if plan.refusals:
            return Applied(
                ended=tuple(ended),
                refusals=plan.refusals,
                problems=plan.problems,
                warnings=_warnings(fleet, plan),
            )
        if lack := current.record(Path(fleet.inventory.path), options.playbooks):
            plan = msgspec.structs.replace(plan, warnings=(*plan.warnings, lack))
        progress.planned(plan)
        actions = Actions(
            fleet.inventory,
            fleet.backend,
            fleet.shells,
            seen,
            managers,
            lock,
            Supply(fleet.playbook, managers),
            options.login,
        )
        if not plan.empty and not ended:
            _hooks(fleet, "before")
        done = _run(fleet, plan, actions, progress)
        ended += done.ended
        failed = any(not end.succeeded for end in done.ended)
        more = _look_again(seen, plan) and not failed and not done.interrupted
        if more and options.reviewed is None:
            continue
        applied = _outcome(fleet, plan, tuple(ended), interrupted=done.interrupted, more=more)
        hosts = [
            name
            for name, view in seen.observation.hosts.items()
            if view.usable and fleet.selection.wants_problem(name)
        ]
        concluded = _concluded(fleet, applied, managers, hosts, progress)
        if concluded.changed and concluded.exit_code == 0:
            _hooks(fleet, "after")
        _record(fleet, concluded, managers, seen.observation)
        return concluded
    raise SwarmopsError(
        f"after {ROUNDS_MAX} rounds there is still something to do: look at 'swarmops plan'"
    )


def _hooks(fleet: Fleet, when: str) -> None:
    hooks = fleet.playbook.hooks
    run_hooks(
        hooks.before if when == "before" else hooks.after,
        when,
        fleet.inventory,
        fleet.shells,
        fleet.playbook.folder,
    )


def _record(fleet: Fleet, applied: Applied, managers: Managers, seen: Observation) -> None:
    """Keep in the swarm which revision it is at; only of a whole apply that went well."""
    if applied.exit_code != 0 or not managers.known or fleet.selection != Selection():
        return
    wanted = revision_now(fleet.playbook.paths, datetime.now(UTC))
    there = given(seen.swarm.spec.labels, {}) if seen.swarm is not None else {}
    if applied.changed or not wanted.same_as(read_revision(there or {})):
        record_revision(managers, wanted)


def _look_again(seen: Seen, plan: Plan) -> bool:
    """Whether what was started may turn out to be something else: a member that lost its state."""
    started = any(step.kind is StepKind.START for step in plan.steps)
    return not plan.empty and (plan.again or (started and seen.observation.swarm is not None))


def _run(fleet: Fleet, plan: Plan, actions: Actions, progress: Progress) -> Executed:
    if plan.empty:
        return Executed(())
    progress.phase(f"doing {counted(len(plan.steps), 'step')}")
    return execute(plan.steps, actions.do, watcher=progress, forks=fleet.forks)


def _outcome(
    fleet: Fleet, plan: Plan, ended: tuple[Ended, ...], *, interrupted: bool, more: bool
) -> Applied:
    return Applied(
        ended=ended,
        warnings=_warnings(fleet, plan),
        failures={e.step.target: e.reason for e in reversed(ended) if e.state is State.FAILED},
        problems=plan.problems,
        interrupted=interrupted,
        more=more,
    )


def _concluded(
    fleet: Fleet, applied: Applied, managers: Managers, hosts: list[str], progress: Progress
) -> Applied:
    """Wait until it is so, and look how the swarm stands; what fails there is a lack."""
    if not managers.known or applied.interrupted:
        return applied
    try:
        applied = _converged(fleet, applied, managers, hosts, progress)
        nodes, services = tables(managers)
    except SwarmopsError as error:
        return msgspec.structs.replace(
            applied, lacks=(*applied.lacks, f"no manager tells it: {error}")
        )
    except KeyboardInterrupt:
        return msgspec.structs.replace(applied, interrupted=True)
    return msgspec.structs.replace(applied, nodes=nodes, services=services)


def _converged(
    fleet: Fleet, applied: Applied, managers: Managers, hosts: list[str], progress: Progress
) -> Applied:
    """Wait until nodes are ready and services run, of those that nothing went wrong with.

    Also where nothing was to do: what the last apply did not wait for may not run. Of jobs only
    those that were begun now are waited for; others may be between two runs, or in one.
    """
    wrong = {end.step.target for end in applied.ended if not end.succeeded} | set(applied.problems)
    begun = {end.step.target for end in applied.ended if end.step.on_service}
    reached = [host for host in hosts if host not in wrong]
    services = [
        name
        for name, spec in fleet.playbook.services.items()
        if name not in wrong and (name in begun or not defaults.mode_name(spec).endswith("-job"))
    ]
    if not fleet.selection.wants_services:
        services = []

    def lacks() -> str:
        nodes = managers.ask(lambda manager: manager.nodes())
        running = managers.ask(lambda manager: services_lack(manager, services))
        return "\n".join([*missing_nodes(nodes, reached), *running])

    if not applied.changed and not lacks():
        return applied
    progress.phase("waiting until the swarm is as the playbook says")
    left = wait_until(lacks, CONVERGE_PATIENCE).splitlines()
    if updated := begun.intersection(services):
        there = managers.ask(lambda manager: manager.services())
        left += taken_back(one for one in there if one.spec.name in updated)
    return msgspec.structs.replace(applied, lacks=tuple(left))


def tables(managers: Managers) -> tuple[list[NodeRow], list[ServiceRow]]:
    """Return the rows of the node table and of the service table."""
    nodes = managers.ask(lambda manager: manager.nodes())
    services = managers.ask(lambda manager: manager.services(status=True))
    return node_rows(nodes), service_rows(services, [], nodes)


def _warnings(fleet: Fleet, plan: Plan) -> tuple[str, ...]:
    return tuple(dict.fromkeys((*fleet.playbook.warnings, *plan.warnings)))
