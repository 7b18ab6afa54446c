"""Make the swarm what its playbook says: observe, plan, execute, and wait until it is really so.

Called by ``swarmops apply``. Planning is ``plan``'s, doing is ``actions``'; here is only the order,
what is said on the way, and what the outcome amounts to.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

import msgspec

from swarmops.backends.base import Backend, load_backend
from swarmops.errors import Interrupted, SwarmopsError
from swarmops.fleet import current
from swarmops.fleet.access import host_client
from swarmops.fleet.actions import Actions
from swarmops.fleet.apply_lock import ApplyLock
from swarmops.fleet.backend_of import on_backend
from swarmops.fleet.converge import missing_nodes, services_lack
from swarmops.fleet.execute import Ended, Executed, State, Watcher, execute
from swarmops.fleet.inventory import Inventory, read_inventory
from swarmops.fleet.lease import Lease
from swarmops.fleet.managers import Managers
from swarmops.fleet.observation import Observation
from swarmops.fleet.observe import Seen, observe
from swarmops.fleet.plan import make_plan
from swarmops.fleet.playbook import Playbook, playbook_path, read_playbook
from swarmops.fleet.pool import FORKS
from swarmops.fleet.rows import NodeRow, ServiceRow, node_rows, service_rows
from swarmops.fleet.shells import Shells
from swarmops.fleet.steps import Plan, StepKind
from swarmops.fleet.waiting import Patience, wait_until

ROUNDS_MAX = 3
LOOKS_MAX = 5
CONVERGE_PATIENCE = Patience(bound_s=60, period_s=0.1)


class Progress(Watcher):
    """Hears of an apply's course, in the thread that runs it; overridden by who shows it."""

    def phase(self, text: str) -> None:
        """Learn what is being done now, such as "looking at 5 hosts"."""

    def host(self, name: str, error: str) -> None:
        """Learn that a host was looked at, and why that failed ('' if it did not)."""

    def planned(self, plan: Plan) -> None:
        """Learn what will be done."""


class Fleet(msgspec.Struct, frozen=True):
    """What a run works on: the files as they were read, the backend, the connections."""

    inventory: Inventory
    playbook: Playbook
    backend: Backend
    shells: Shells
    forks: int = FORKS


class Applied(msgspec.Struct, frozen=True, kw_only=True):
    """What an apply came to. ``failures`` and ``problems`` are reasons by host or service.

    ``refusals``: nothing was done because of them. ``lacks``: what did not come true in time.
    """

    ended: tuple[Ended, ...] = ()
    warnings: tuple[str, ...] = ()
    refusals: tuple[str, ...] = ()
    failures: dict[str, str] = {}
    problems: dict[str, str] = {}
    lacks: tuple[str, ...] = ()
    interrupted: bool = False
    nodes: list[NodeRow] = []
    services: list[ServiceRow] = []

    @property
    def changed(self) -> bool:
        """Something was done."""
        return any(ended.state is State.DONE for ended in self.ended)

    @property
    def exit_code(self) -> int:
        """0 if all is as the playbook says, 130 after Ctrl-C, else 1."""
        if self.interrupted:
            return 130
        return int(bool(self.refusals or self.failures or self.problems or self.lacks))


def open_fleet(
    inventory_path: Path, playbook_name: Path | None, shells: Shells, forks: int = FORKS
) -> Fleet:
    """Read the inventory and its playbook, find the backend. Raises InputError."""
    inventory = read_inventory(inventory_path)
    chosen = playbook_path(inventory, str(playbook_name) if playbook_name else None)
    playbook = read_playbook(chosen, inventory)
    backend = load_backend(playbook.backend)
    return Fleet(on_backend(inventory, backend), playbook, backend, shells, forks)


def look(fleet: Fleet, progress: Progress) -> tuple[Seen, Plan]:
    """Observe all hosts and plan; changes nothing."""
    progress.phase(f"looking at {_count(len(fleet.inventory.hosts), 'host')}")
    try:
        seen = observe(
            fleet.inventory, fleet.backend, fleet.shells, forks=fleet.forks, on_host=progress.host
        )
    except Interrupted:
        raise Interrupted("Interrupted while looking at the hosts: nothing was changed.") from None
    return seen, make_plan(fleet.inventory, fleet.playbook, seen.observation)


def apply(
    fleet: Fleet, progress: Progress, playbook_name: Path | None = None, reason: str = ""
) -> Applied:
    """Do what is missing and wait until it is so. Raises SwarmopsError where nothing can be done.

    ``playbook_name`` is what ``-p`` named; it is remembered with the inventory. ``reason`` is told
    to whoever finds the swarm locked meanwhile; LockedError if somebody else has locked it.
    """
    managers = Managers(lambda host: host_client(fleet.inventory, fleet.shells, host))
    lease = Lease(reason or f"apply {fleet.inventory.path}")
    with contextlib.closing(managers), lease:
        lock = ApplyLock(lease, fleet.inventory, fleet.shells, managers)
        return _rounds(fleet, progress, playbook_name, managers, lock)


def _rounds(
    fleet: Fleet,
    progress: Progress,
    playbook_name: Path | None,
    managers: Managers,
    lock: ApplyLock,
) -> Applied:
    ended: list[Ended] = []
    for _ in range(ROUNDS_MAX):
        seen, plan = _look_locked(fleet, progress, managers, lock)
        if plan.refusals:
            return Applied(
                ended=tuple(ended),
                refusals=plan.refusals,
                problems=plan.problems,
                warnings=_warnings(fleet, plan),
            )
        current.record(Path(fleet.inventory.path), playbook_name)
        progress.planned(plan)
        actions = Actions(fleet.inventory, fleet.backend, fleet.shells, seen, managers, lock)
        done = _run(fleet, plan, actions, progress)
        ended += done.ended
        failed = any(not end.succeeded for end in done.ended)
        if _look_again(seen, plan) and not failed and not done.interrupted:
            continue
        applied = _outcome(fleet, plan, tuple(ended), interrupted=done.interrupted)
        hosts = [name for name, view in seen.observation.hosts.items() if view.usable]
        return _concluded(fleet, applied, managers, hosts, progress)
    raise SwarmopsError(
        f"after {ROUNDS_MAX} rounds there is still something to do: look at 'swarmops plan'"
    )


def _look_locked(
    fleet: Fleet, progress: Progress, managers: Managers, lock: ApplyLock
) -> tuple[Seen, Plan]:
    """Look, and lock the swarm if there is something to do; again while others still change it."""
    for _ in range(LOOKS_MAX):
        seen, plan = look(fleet, progress)
        managers.know(manager_hosts(seen.observation))
        if plan.refusals or plan.empty or lock.take(seen.observation, plan):
            return seen, plan
    raise SwarmopsError("the swarm's settings change all the time: find out who does that")


def _look_again(seen: Seen, plan: Plan) -> bool:
    """Whether what was started may turn out to be something else: a member that lost its state."""
    started = any(step.kind is StepKind.START for step in plan.steps)
    return not plan.empty and (plan.again or (started and seen.observation.swarm is not None))


def manager_hosts(observation: Observation) -> list[str]:
    """Return the hosts whose nodes are managers, the one that told of the swarm first."""
    if observation.swarm is None:
        return []
    first = observation.swarm.seen_from
    hosts = [
        name
        for name, view in observation.hosts.items()
        if view.usable and view.state == "active" and view.swarm.control_available
    ]
    return sorted(hosts, key=lambda host: host != first)


def _run(fleet: Fleet, plan: Plan, actions: Actions, progress: Progress) -> Executed:
    if plan.empty:
        return Executed(())
    progress.phase(f"doing {_count(len(plan.steps), 'step')}")
    return execute(plan.steps, actions.do, watcher=progress, forks=fleet.forks)


def _outcome(fleet: Fleet, plan: Plan, ended: tuple[Ended, ...], *, interrupted: bool) -> Applied:
    return Applied(
        ended=ended,
        warnings=_warnings(fleet, plan),
        failures={e.step.target: e.reason for e in reversed(ended) if e.state is State.FAILED},
        problems=plan.problems,
        interrupted=interrupted,
    )


def _concluded(
    fleet: Fleet, applied: Applied, managers: Managers, hosts: list[str], progress: Progress
) -> Applied:
    """Wait for what was changed, and look how the swarm stands; what fails there is a lack."""
    if not managers.known or applied.interrupted:
        return applied
    try:
        if applied.changed:
            progress.phase("waiting until the swarm is as the playbook says")
            applied = _converged(fleet, applied, managers, hosts)
        nodes, services = tables(managers)
    except SwarmopsError as error:
        return msgspec.structs.replace(applied, lacks=(*applied.lacks, str(error)))
    except KeyboardInterrupt:
        return msgspec.structs.replace(applied, interrupted=True)
    return msgspec.structs.replace(applied, nodes=nodes, services=services)


def _converged(fleet: Fleet, applied: Applied, managers: Managers, hosts: list[str]) -> Applied:
    """Wait until nodes are ready and services run, of those that nothing went wrong with."""
    wrong = {end.step.target for end in applied.ended if not end.succeeded} | set(applied.problems)
    reached = [host for host in hosts if host not in wrong]
    services = [name for name in fleet.playbook.services if name not in wrong]

    def lacks() -> str:
        nodes = managers.ask(lambda manager: manager.nodes())
        running = managers.ask(lambda manager: services_lack(manager, services))
        return "\n".join([*missing_nodes(nodes, reached), *running])

    left = wait_until(lacks, CONVERGE_PATIENCE)
    return msgspec.structs.replace(applied, lacks=tuple(left.splitlines()))


def tables(managers: Managers) -> tuple[list[NodeRow], list[ServiceRow]]:
    """Return the rows of the node table and of the service table."""
    nodes = managers.ask(lambda manager: manager.nodes())
    services = managers.ask(lambda manager: manager.services(status=True))
    return node_rows(nodes), service_rows(services, [], nodes)


def _warnings(fleet: Fleet, plan: Plan) -> tuple[str, ...]:
    return tuple(dict.fromkeys((*fleet.playbook.warnings, *plan.warnings)))


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
