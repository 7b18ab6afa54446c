"""Free a swarm's apply lock by hand, with a reason that stays in the swarm for its former holder.

Called by ``swarmops unlock-apply``. Frees the swarm's lock through a manager; where no manager
answers, the lock files of the hosts that may be the first manager.
"""

from __future__ import annotations

from swarmops.errors import SwarmopsError
from swarmops.fleet.access import Swarm
from swarmops.fleet.inventory import Inventory
from swarmops.fleet.keepers import HostKeeper, Keeper, SwarmKeeper
from swarmops.fleet.lease import free
from swarmops.fleet.lock import Freed, Lock
from swarmops.fleet.managers import Managers
from swarmops.fleet.owner import owner
from swarmops.fleet.pool import run_on
from swarmops.fleet.shells import Shells
from swarmops.fleet.target import Target
from swarmops.fleet.targets import target_of


def unlock(swarm: Swarm, reason: str) -> Lock | None:
    """Free the lock that the swarm's spec keeps; return it, None if there was none."""
    managers = Managers(lambda _: swarm.client, [swarm.client.name])
    return _free(SwarmKeeper(managers), reason)


def unlock_hosts(inventory: Inventory, shells: Shells, reason: str) -> list[Lock]:
    """Free the locks that hosts keep while there is no swarm; return them.

    Raises SwarmopsError if none of the hosts can be asked.
    """

    def on_host(target: Target) -> Lock | None:
        return _free(HostKeeper(lambda: shells.of(target), target.place), reason)

    targets = [target_of(inventory.hosts[name]) for name in inventory.manager_order()]
    outcome = run_on(targets, on_host)
    if not outcome.results:
        raise SwarmopsError("; ".join(map(str, outcome.errors.values())))
    return [lock for lock in outcome.results.values() if lock is not None]


def _free(keeper: Keeper, reason: str) -> Lock | None:
    return free(keeper, None, Freed(owner=owner(), reason=reason, at_s=0, lock_id=""))
