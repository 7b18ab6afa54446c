"""Which lock an apply needs for its plan: the swarm's own, or a host's while there is no swarm.

Called by ``apply`` between planning and doing, and by the step that makes a swarm. A plan that was
made before somebody else's change is thrown away: the swarm's lock is only taken as it was seen.
"""

from __future__ import annotations

import contextlib
from datetime import datetime

from swarmops.errors import SwarmopsError
from swarmops.fleet.inventory import Inventory
from swarmops.fleet.keepers import HostKeeper, Keeper, MovedError, SwarmKeeper, kept_in
from swarmops.fleet.lease import Lease, sweep
from swarmops.fleet.lock import LOCK_LABEL, blocks, encode
from swarmops.fleet.managers import Managers
from swarmops.fleet.observation import Observation
from swarmops.fleet.owner import is_gone
from swarmops.fleet.shells import Shells
from swarmops.fleet.steps import Plan, StepKind
from swarmops.fleet.targets import target_of
from swarmops.model.swarm import SwarmSpec


class ApplyLock:
    """The lease of one apply, put where its plans want it."""

    def __init__(
        self, lease: Lease, inventory: Inventory, shells: Shells, managers: Managers
    ) -> None:
        self._lease = lease
        self._inventory = inventory
        self._shells = shells
        self._managers = managers
        self._in_swarm = False

    def take(self, observation: Observation, plan: Plan) -> bool:
        """Take the lock that the plan needs; False: the swarm has moved since it was seen.

        Raises LockedError if somebody else has it.
        """
        if observation.swarm is None:
            if not self._lease.held:
                self._lease.extend(
                    self._host_keeper(first_host(self._inventory, observation, plan))
                )
            return True
        if self._in_swarm:
            return True
        view = observation.swarm
        try:
            self._lease.acquire(
                SwarmKeeper(self._managers), kept_in(view.spec, view.version, view.now_s)
            )
        except MovedError:
            return False
        self._in_swarm = True
        self._clear(observation)
        return True

    def sweep(self, observation: Observation) -> None:
        """Take away what killed applies left: where nothing is to be done, no lock is taken."""
        view = observation.swarm
        keepers: list[Keeper] = [
            self._host_keeper(name) for name, host in observation.hosts.items() if host.lock_file
        ]
        if view is not None and kept_in(view.spec, view.version, view.now_s).lock is not None:
            keepers.append(SwarmKeeper(self._managers))
        for keeper in keepers:
            with contextlib.suppress(SwarmopsError):
                sweep(keeper)

    def check(self) -> None:
        """Raise LockedError if the lock was lost: nothing more may be done."""
        self._lease.check()

    def spec_with_lock(self, now: datetime) -> SwarmSpec:
        """Return the settings with which a swarm is made, so that it is locked from the start."""
        return SwarmSpec(labels={LOCK_LABEL: encode(self._lease.lock(now.timestamp()))})

    def formed(self) -> None:
        """Hold the lock of the swarm that was just made, beside the host's."""
        self._lease.extend(SwarmKeeper(self._managers))
        self._in_swarm = True

    def _clear(self, observation: Observation) -> None:
        """Take away what a killed apply left on hosts before it made this swarm."""
        for name, view in observation.hosts.items():
            if view.lock_file:
                with contextlib.suppress(SwarmopsError):
                    self._lease.inherit(self._host_keeper(name))

    def _host_keeper(self, host: str) -> HostKeeper:
        target = target_of(self._inventory.hosts[host])
        return HostKeeper(lambda: self._shells.of(target), target.place)


def lock_warning(observation: Observation) -> str:
    """Return who is changing the swarm that was looked at, empty if nobody is."""
    view = observation.swarm
    if view is None:
        return ""
    lock = kept_in(view.spec, view.version, view.now_s).lock
    if lock is None or not blocks(lock, "", view.now_s, is_gone):
        return ""
    return f"{lock.owner} is changing the swarm ({lock.reason}): what is shown here is passing"


def first_host(inventory: Inventory, observation: Observation, plan: Plan) -> str:
    """Return where a swarm that is not there yet is locked: where it will begin."""
    inits = [step.target for step in plan.steps if step.kind is StepKind.INIT]
    order = [*inits, *inventory.manager_order(), *inventory.hosts]
    usable = (host for host in order if observation.hosts[host].usable)
    return next(usable, order[0])
