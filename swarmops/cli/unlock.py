"""``swarmops unlock-apply``: free a swarm whose apply will never come to its end."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from swarmops.cli.files import inventory_argument
from swarmops.cli.say import say
from swarmops.cli.settings import Settings, common, on_fleet, the_one

if TYPE_CHECKING:
    from swarmops.fleet.lock import Lock


@click.command("unlock-apply")
@inventory_argument
@click.option("--reason", required=True, help="Why; told to the one whose lock it was")
@common
@on_fleet
def unlock_apply(settings: Settings, inventory: Path | None, reason: str) -> None:
    """Free a swarm that an apply has locked and will never free.

    An apply that still runs begins no further step once it sees that.
    """
    from swarmops.errors import InputError, SwarmopsError
    from swarmops.fleet.access import Swarm
    from swarmops.fleet.current import choose
    from swarmops.fleet.inventory import read_inventory
    from swarmops.fleet.shells import Shells
    from swarmops.fleet.unlock import unlock, unlock_hosts

    if not reason.strip():
        raise InputError("--reason is empty: say why, for the one whose lock it was")
    choice = choose(the_one(settings.inventory, inventory), os.environ)
    freed: list[Lock] = []
    problem: SwarmopsError | None = None
    try:
        with Swarm(choice) as swarm:
            lock = unlock(swarm, reason)
            freed += [lock] if lock is not None else []
    except SwarmopsError as error:
        problem = error
    if choice.inventory is not None and not freed:
        with Shells() as shells:
            freed += unlock_hosts(read_inventory(choice.inventory), shells, reason)
    elif problem is not None:
        raise problem
    for lock in freed:
        click.echo(f"The lock of {lock.owner} ({lock.reason}) is gone.")
    if not freed:
        click.echo("Nobody has locked it.")
        if problem is not None:
            say(f"Warning: a lock in the swarm itself can't be seen now: {problem}")
