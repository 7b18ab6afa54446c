"""``swarmops status``: how hosts, nodes and services stand."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import click

from swarmops.cli.say import say
from swarmops.cli.settings import Settings, common, formatted, on_fleet

if TYPE_CHECKING:
    from swarmops.fleet.current import Choice
    from swarmops.fleet.status import Status

HOST_COLUMNS = {
    "HOST": "host",
    "RUNTIME": "runtime",
    "RELEASE": "release",
    "UNIT": "unit",
    "SWARM": "swarm",
    "PROBLEM": "problem",
}


@click.command()
@common
@formatted
@on_fleet
def status(settings: Settings) -> None:
    """Show how the hosts, the nodes and the services stand, and which revision is applied."""
    from swarmops.cli.output import print_json
    from swarmops.fleet.access import Swarm
    from swarmops.fleet.current import choose
    from swarmops.fleet.status import status_of

    choice = choose(settings.inventory, os.environ)
    if choice.inventory is None:
        with Swarm(choice) as swarm:
            found = status_of(swarm)
    else:
        found = _with_hosts(choice)
    if settings.format == "json":
        print_json(found)
    else:
        _print(found)
    if found.error:
        say(f"Error: {found.error}")
        raise click.exceptions.Exit(1)


def _with_hosts(choice: Choice) -> Status:
    from swarmops.backends.base import load_backend
    from swarmops.errors import SwarmopsError
    from swarmops.fleet.access import Swarm
    from swarmops.fleet.backend_of import backend_name, inventory_of
    from swarmops.fleet.observe import observe
    from swarmops.fleet.shells import Shells
    from swarmops.fleet.status import Status, host_rows, silence, swarm_status

    if choice.inventory is None:
        raise AssertionError("only called with an inventory")
    inventory = inventory_of(choice)
    backend = load_backend(backend_name(inventory, choice.playbooks))
    with Shells() as shells:
        seen = observe(inventory, backend, shells).observation
        rows = host_rows(seen)
        if error := silence(seen):
            return Status(hosts=rows, error=error)
        try:
            with Swarm(choice, shells) as swarm:
                return swarm_status(swarm.client, rows)
        except SwarmopsError as failed:
            return Status(hosts=rows, error=str(failed))


def _print(found: Status) -> None:
    from swarmops.cli.output import NODE_COLUMNS, SERVICE_COLUMNS, print_rows

    blocks = (
        (found.hosts, HOST_COLUMNS),
        (found.nodes, NODE_COLUMNS),
        (found.services, SERVICE_COLUMNS),
    )
    shown = False
    for rows, columns in blocks:
        if rows:
            if shown:
                click.echo()
            print_rows(rows, columns, "table")
            shown = True
    if found.revision is not None:
        click.echo(f"\nApplied: {found.revision.text}")
