"""From the options to an open swarm: what commands on a running swarm begin with."""

from __future__ import annotations

import os

from swarmops.cli.settings import Settings
from swarmops.fleet.access import Swarm
from swarmops.fleet.current import choose


def open_swarm(settings: Settings) -> Swarm:
    """Return the swarm that the command is about; use it in ``with``."""
    return Swarm(choose(settings.inventory, os.environ))
