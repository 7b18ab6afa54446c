"""From the options to an open swarm: what commands on a running swarm begin with."""

from __future__ import annotations

import os

from swarmops.cli.settings import Settings
from swarmops.fleet.access import Swarm
from swarmops.fleet.current import choose
from swarmops.fleet.shells import Shells


def open_swarm(settings: Settings, shells: Shells | None = None) -> Swarm:
    """Return the swarm that the command is about; use it in ``with``.

    ``shells`` are connections that are open already, and stay so.
    """
    return Swarm(choose(settings.inventory, os.environ), shells)
