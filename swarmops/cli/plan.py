"""``swarmops plan``: show what apply would do, and change nothing."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from swarmops.cli.files import chosen, inventory_argument, playbook_option
from swarmops.cli.settings import Settings, common, formatted, pass_settings

SOMETHING = 2


@click.command()
@inventory_argument
@playbook_option
@common
@formatted
@pass_settings
def plan(settings: Settings, inventory: Path | None, playbook: Path | None, forks: int) -> None:
    """Show what apply would do.

    Exits with 0 when nothing needs doing, 2 when something does, 1 when it can't be told or done.
    """
    from swarmops.cli.progress import make_progress
    from swarmops.fleet.apply import look, open_fleet
    from swarmops.fleet.plan_text import plan_json, plan_text
    from swarmops.fleet.shells import Shells

    choice = chosen(settings, inventory)
    if choice.inventory is None:
        raise AssertionError("chosen() saw to it")
    with Shells() as shells:
        fleet = open_fleet(choice.inventory, playbook or choice.playbook, shells, forks)
        with make_progress() as progress:
            _, made = look(fleet, progress)
    for warning in dict.fromkeys((*fleet.playbook.warnings, *made.warnings)):
        click.echo(f"Warning: {warning}", err=True)
    for refusal in made.refusals:
        click.echo(f"Error: {refusal}", err=True)
    for host, reason in made.problems.items():
        click.echo(f"Error: {host}: {reason}", err=True)
    click.echo(plan_json(made).decode() if settings.format == "json" else plan_text(made))
    sys.stdout.flush()
    if made.refusals or made.problems:
        raise click.exceptions.Exit(1)
    raise click.exceptions.Exit(0 if made.empty else SOMETHING)
