"""``swarmops destroy``: remove the swarm and everything of ours from all its hosts."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from swarmops.cli.exits import SOME_HOSTS
from swarmops.cli.files import chosen, forks_option, inventory_argument
from swarmops.cli.limiting import limit_option
from swarmops.cli.say import say
from swarmops.cli.settings import Settings, common, on_fleet


@click.command()
@inventory_argument
@click.option("--yes", is_flag=True, help="Don't ask")
@limit_option("Take only these hosts out of a swarm that goes on")
@forks_option
@common
@on_fleet
def destroy(
    settings: Settings, inventory: Path | None, forks: int, *, yes: bool, limit: str | None
) -> None:
    """Remove the swarm, its tasks and its data from all hosts of the inventory.

    With --limit the swarm goes on without those hosts: their tasks move first, managers are
    demoted, and everything of ours is removed from them.
    """
    from swarmops.backends.base import load_backend
    from swarmops.fleet.backend_of import backend_name, inventory_of
    from swarmops.fleet.destroy import destroy as destroy_fleet
    from swarmops.fleet.patterns import match_hosts
    from swarmops.fleet.retire import retire
    from swarmops.fleet.shells import Shells

    choice = chosen(settings, inventory)
    if choice.inventory is None:
        raise AssertionError("chosen() saw to it")
    read = inventory_of(choice)
    backend = load_backend(backend_name(read, choice.playbooks))
    chosen_hosts = list(read.hosts) if limit is None else match_hosts(limit, read)
    few = len(chosen_hosts) < len(read.hosts)
    if not yes and not _confirmed(", ".join(chosen_hosts), few=few):
        say("Nothing was changed.")
        raise click.exceptions.Exit(1)

    def on_host(name: str, error: str) -> None:
        say(f"{name}: {error or 'nothing of it is left'}")

    def on_step(name: str, doing: str) -> None:
        say(f"{name}: {doing}")

    with Shells() as shells:
        if few:
            errors = retire(read, backend, shells, chosen_hosts, say=on_step, forks=forks)
        else:
            errors = destroy_fleet(read, backend, shells, forks=forks, on_host=on_host)
    if errors:
        say(f"Error: {', '.join(errors)}: not removed, see above; destroy again once that is cured")
        raise click.exceptions.Exit(SOME_HOSTS)
    number = len(chosen_hosts)
    click.echo(f"The swarm is gone from {number} host{'s' * (number != 1)}.")
    if few:
        click.echo("Take them out of the inventory, or the next apply takes them in again.")


def _confirmed(hosts: str, *, few: bool) -> bool:
    from swarmops.errors import InputError

    if not sys.stdin.isatty():
        raise InputError("destroy asks first, and nobody is here to answer: give --yes")
    if few:
        return click.confirm(f"Take {hosts} out of the swarm and remove its data there?", err=True)
    return click.confirm(f"Remove the swarm with all its tasks and data from {hosts}?", err=True)
