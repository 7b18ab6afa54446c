"""``swarmops plan``: show what apply would do, and change nothing."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from swarmops.cli.exits import ERROR, SOME_HOSTS, SOMETHING
from swarmops.cli.files import chosen, inventory_argument, playbook_option
from swarmops.cli.say import say
from swarmops.cli.selecting import selecting
from swarmops.cli.settings import Settings, common, formatted, on_fleet

if TYPE_CHECKING:
    from swarmops.fleet.selection import Wanted


show_env_option = click.option(
    "--show-env", is_flag=True, help="Show the values of services' environments"
)


@click.command()
@inventory_argument
@playbook_option
@selecting
@click.option("--out", type=click.Path(path_type=Path), help="Write the plan for 'apply --plan'")
@show_env_option
@common
@formatted
@on_fleet
def plan(  # noqa: PLR0917 - a command's options
    settings: Settings,
    inventory: Path | None,
    playbooks: tuple[Path, ...],
    forks: int,
    wanted: Wanted,
    out: Path | None,
    *,
    show_env: bool,
) -> None:
    """Show what apply would do, and change nothing.

    Of services' environments it shows the names and that a value changes; --show-env shows values.
    The file of --out has them too, for its owner alone.

    Exits with 0 when nothing needs doing, 2 when something does, 3 when some hosts can't be told
    or done, 1 when nothing can.

    \b
    Examples:
      swarmops plan inventories/prod.yml
      swarmops plan --out plan.json
      swarmops apply --plan plan.json
    """
    raise click.exceptions.Exit(
        show_plan(settings, inventory, playbooks, forks, wanted, out, show_env=show_env)
    )


def show_plan(  # noqa: PLR0917 - a command's options
    settings: Settings,
    inventory: Path | None,
    playbooks: tuple[Path, ...],
    forks: int,
    wanted: Wanted,
    out: Path | None = None,
    *,
    show_env: bool = False,
) -> int:
    """Look, print the plan, perhaps write it to a file; return the exit code."""
    from swarmops.cli.progress import make_progress
    from swarmops.fleet.apply_lock import lock_warning
    from swarmops.fleet.opened import look, open_fleet
    from swarmops.fleet.plan_shown import shown
    from swarmops.fleet.plan_text import plan_json, plan_text
    from swarmops.fleet.shells import Shells

    choice = chosen(settings, inventory)
    if choice.inventory is None:
        raise AssertionError("chosen() saw to it")
    named = playbooks or choice.playbooks
    with Shells() as shells:
        fleet = open_fleet(choice.inventory, named, shells, forks, wanted)
        with make_progress(verbose=settings.verbose) as progress:
            seen, made = look(fleet, progress)
    locked = lock_warning(seen.observation)
    warnings = (*fleet.playbook.warnings, *made.warnings, *([locked] if locked else []))
    for warning in dict.fromkeys(warnings):
        say(f"Warning: {warning}")
    for refusal in made.refusals:
        say(f"Error: {refusal}")
    for host, reason in made.problems.items():
        say(f"Error: {host}: {reason}")
    told = shown(made, environments=show_env)
    if text := plan_json(told).decode() if settings.format == "json" else plan_text(told):
        click.echo(text)
    sys.stdout.flush()
    if made.refusals:
        return ERROR
    if out is not None:
        from swarmops.fleet.plan_file import saved_plan, write_plan

        write_plan(saved_plan(made, choice.inventory, named, wanted), out)
    if made.problems:
        hosts = any(not of.startswith("service ") for of in made.problems)
        return SOME_HOSTS if hosts else ERROR
    return 0 if made.empty else SOMETHING
