"""Remove the swarm from all its hosts: leave it, then take away everything that apply brought.

Called by ``swarmops destroy --yes``. All hosts at once; one that can't be reached is named and
stops no other. Afterwards nothing of ours is left on the hosts that succeeded.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from pathlib import Path

from swarmops.backends.base import Backend, Facts
from swarmops.errors import SwarmopsError
from swarmops.fleet import current
from swarmops.fleet.access import target_client
from swarmops.fleet.facts import gather
from swarmops.fleet.inventory import Inventory
from swarmops.fleet.keepers import SwarmKeeper
from swarmops.fleet.lease import Lease
from swarmops.fleet.lock import LockedError
from swarmops.fleet.managers import Managers
from swarmops.fleet.observe import reason_of
from swarmops.fleet.pool import FORKS, run_on
from swarmops.fleet.shells import Shells
from swarmops.fleet.target import Target
from swarmops.fleet.targets import target_of
from swarmops.fleet.waiting import Patience

LEAVE_TIMEOUT_S = 20.0
LOCK_PATIENCE = Patience(bound_s=2)


def destroy(
    inventory: Inventory,
    backend: Backend,
    shells: Shells,
    *,
    forks: int = FORKS,
    on_host: Callable[[str, str], None],
) -> dict[str, str]:
    """Remove everything; return the reason for each host where that failed.

    ``on_host`` hears of each host as it ends, with its error or ''. Raises LockedError if an apply
    is changing the swarm.
    """
    targets = {name: target_of(host) for name, host in inventory.hosts.items()}
    looked = run_on(
        targets.values(),
        lambda target: gather(shells.of(target), target.place, backend.home),
        forks=forks,
    )
    _refuse_locked(looked.results, targets, shells, f"destroy {inventory.path}")
    for name, error in looked.errors.items():
        on_host(name, reason_of(error))

    def remove(target: Target) -> None:
        shell, facts = shells.of(target), looked.results[target.name]
        if facts.running:
            # Leaving ends the tasks in order; where it fails, removing ends them all the same.
            with (
                contextlib.suppress(SwarmopsError),
                target_client(target, shells, LEAVE_TIMEOUT_S) as client,
            ):
                if client.info().swarm.local_node_state != "inactive":
                    client.leave(force=True)
        backend.remove(shell, facts, target.place)

    outcome = run_on(
        [targets[name] for name in looked.results],
        remove,
        forks=forks,
        on_done=lambda name, result: on_host(
            name, reason_of(result) if isinstance(result, SwarmopsError) else ""
        ),
    )
    errors = looked.errors | outcome.errors
    if not errors:
        current.forget(Path(inventory.path))
    return {name: reason_of(errors[name]) for name in inventory.hosts if name in errors}


def _refuse_locked(
    looked: Mapping[str, Facts], targets: Mapping[str, Target], shells: Shells, reason: str
) -> None:
    """Lock the swarm, which ends with its lock; one that can't be asked is destroyed all the same.

    Nothing frees that lock, and nothing has to: without its renewal it ends.
    """
    hosts = [name for name, facts in looked.items() if facts.api is not None and facts.api.swarm]
    managers = Managers(
        lambda name: target_client(targets[name], shells, LEAVE_TIMEOUT_S), hosts, LOCK_PATIENCE
    )
    with contextlib.closing(managers):
        try:
            Lease(reason).extend(SwarmKeeper(managers))
        except LockedError:
            raise
        except SwarmopsError:
            return
