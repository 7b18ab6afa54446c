"""``swarmops apply``: make the swarm what its playbook says."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from swarmops.cli.files import chosen, inventory_argument, playbook_option
from swarmops.cli.settings import Settings, common, formatted, pass_settings

if TYPE_CHECKING:
    from swarmops.fleet.apply import Applied


@click.command()
@inventory_argument
@playbook_option
@click.option("--reason", default="", help="Why; told to whoever finds the swarm locked meanwhile")
@common
@formatted
@pass_settings
def apply(
    settings: Settings, inventory: Path | None, playbook: Path | None, forks: int, reason: str
) -> None:
    """Make the swarm what its playbook says; do only what is missing.

    Exits with 0 when all is as it should be, 1 when something is not, 4 when somebody else
    has locked the swarm, 130 after Ctrl-C.
    """
    from swarmops.cli.progress import make_progress
    from swarmops.fleet.apply import apply as apply_fleet
    from swarmops.fleet.apply import open_fleet
    from swarmops.fleet.shells import Shells

    began = time.monotonic()
    choice = chosen(settings, inventory)
    if choice.inventory is None:
        raise AssertionError("chosen() saw to it")
    named = playbook or choice.playbook
    with Shells() as shells:
        fleet = open_fleet(choice.inventory, named, shells, forks)
        with make_progress() as progress:
            applied = apply_fleet(fleet, progress, named, reason)
    _print(applied, settings.format, time.monotonic() - began)
    sys.stdout.flush()
    raise click.exceptions.Exit(applied.exit_code)


def _print(applied: Applied, style: str, seconds: float) -> None:
    from swarmops.cli.report import print_applied, print_applied_json

    if style == "json":
        print_applied_json(applied)
    else:
        print_applied(applied, seconds)
