"""``swarmops inventory``: what was understood of an inventory."""

from __future__ import annotations

from pathlib import Path

import click

from swarmops.cli.completing import one_host
from swarmops.cli.files import chosen, inventory_argument
from swarmops.cli.limiting import limit_option
from swarmops.cli.settings import Settings, common, formatted, pass_settings

COLUMNS = {
    "HOST": "host",
    "ADDRESS": "address",
    "CONNECTION": "connection",
    "USER": "user",
    "MAY MANAGE": "may_manage",
    "GROUPS": "groups",
}


@click.command()
@inventory_argument
@click.option("--list", "as_list", is_flag=True, help="Everything as Ansible's JSON")
@click.option("--graph", is_flag=True, help="Groups and their hosts as a tree")
@click.option("--host", "one", metavar="HOST", shell_complete=one_host, help="One host's variables")
@limit_option("Only these hosts")
@common
@formatted
@pass_settings
def inventory(
    settings: Settings,
    inventory: Path | None,
    *,
    as_list: bool,
    graph: bool,
    one: str | None,
    limit: str | None,
) -> None:
    """Show what was understood of an inventory.

    No host is asked anything. Passwords are not shown.
    """
    from swarmops.cli.output import print_json, print_rows
    from swarmops.errors import InputError
    from swarmops.fleet.inventory import read_inventory
    from swarmops.fleet.inventory_text import (
        inventory_graph,
        inventory_list,
        inventory_rows,
        limited,
        shown,
    )
    from swarmops.fleet.nearest import did_you_mean
    from swarmops.fleet.patterns import match_hosts

    choice = chosen(settings, inventory)
    if choice.inventory is None:
        raise AssertionError("chosen() saw to it")
    read = read_inventory(choice.inventory)
    for warning in read.warnings:
        click.echo(f"Warning: {warning}", err=True)
    if limit is not None:
        read = limited(read, match_hosts(limit, read))
    if one is not None:
        if one not in read.hosts:
            raise InputError(f"{read.path} has no host '{one}': {did_you_mean(one, read.hosts)}")
        print_json(shown(read.hosts[one].vars))
    elif as_list:
        print_json(inventory_list(read))
    elif graph:
        click.echo(inventory_graph(read))
    else:
        print_rows(inventory_rows(read), COLUMNS, settings.format)
