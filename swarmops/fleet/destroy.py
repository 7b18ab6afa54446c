"""Remove the swarm from all its hosts: leave it, then take away everything that apply brought.

Called by ``swarmops destroy --yes``. All hosts at once; one that can't be reached is named and
stops no other. Afterwards nothing of ours is left on the hosts that succeeded.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path

from swarmops.backends.base import Backend
from swarmops.errors import SwarmopsError
from swarmops.fleet import current
from swarmops.fleet.access import target_client
from swarmops.fleet.facts import gather
from swarmops.fleet.inventory import Inventory
from swarmops.fleet.observe import reason_of
from swarmops.fleet.pool import FORKS, run_on
from swarmops.fleet.shells import Shells
from swarmops.fleet.target import Target
from swarmops.fleet.targets import target_of

LEAVE_TIMEOUT_S = 20.0


def destroy(
    inventory: Inventory,
    backend: Backend,
    shells: Shells,
    *,
    forks: int = FORKS,
    on_host: Callable[[str, str], None],
) -> dict[str, str]:
    """Remove everything; return the reason for each host where that failed.

    ``on_host`` hears of each host as it ends, with its error or ''.
    """

    def remove(target: Target) -> None:
        shell = shells.of(target)
        facts = gather(shell, target.place)
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
        [target_of(host) for host in inventory.hosts.values()],
        remove,
        name=lambda target: target.name,
        forks=forks,
        on_done=lambda name, result: on_host(
            name, reason_of(result) if isinstance(result, SwarmopsError) else ""
        ),
    )
    if not outcome.errors:
        current.forget(Path(inventory.path))
    return {name: reason_of(error) for name, error in outcome.errors.items()}
