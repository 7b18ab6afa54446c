"""``swarmops destroy``: remove the swarm and everything of ours from all its hosts."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from swarmops.cli.files import chosen, forks_option, inventory_argument
from swarmops.cli.settings import Settings, common, pass_settings

SOME_HOSTS = 3


@click.command()
@inventory_argument
@click.option("--yes", is_flag=True, help="Don't ask")
@forks_option
@common
@pass_settings
def destroy(settings: Settings, inventory: Path | None, forks: int, *, yes: bool) -> None:
    """Remove the swarm, its tasks and its data from all hosts of the inventory."""
    from swarmops.backends.base import load_backend
    from swarmops.fleet.backend_of import backend_name, inventory_of
    from swarmops.fleet.destroy import destroy as destroy_fleet
    from swarmops.fleet.shells import Shells

    choice = chosen(settings, inventory)
    if choice.inventory is None:
        raise AssertionError("chosen() saw to it")
    read = inventory_of(choice)
    backend = load_backend(backend_name(read, choice.playbook))
    if not yes and not _confirmed(", ".join(read.hosts)):
        click.echo("Nothing was changed.", err=True)
        raise click.exceptions.Exit(1)

    def on_host(name: str, error: str) -> None:
        click.echo(f"{name}: {error or 'nothing of it is left'}", err=True)

    with Shells() as shells:
        errors = destroy_fleet(read, backend, shells, forks=forks, on_host=on_host)
    if errors:
        click.echo(
            f"Error: {', '.join(errors)}: not removed, see above; destroy again once that is cured",
            err=True,
        )
        raise click.exceptions.Exit(SOME_HOSTS)
    click.echo(f"The swarm is gone from {len(read.hosts)} hosts.")


def _confirmed(hosts: str) -> bool:
    from swarmops.errors import InputError

    if not sys.stdin.isatty():
        raise InputError("destroy asks first, and nobody is here to answer: give --yes")
    return click.confirm(f"Remove the swarm with all its tasks and data from {hosts}?", err=True)
