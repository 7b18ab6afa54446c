"""``swarmops apply``: make the swarm what its playbook says."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from swarmops.cli.files import chosen, inventory_argument, playbook_option
from swarmops.cli.plan import show_env_option
from swarmops.cli.registry import login_of, registry_auth_option
from swarmops.cli.selecting import selecting
from swarmops.cli.settings import Settings, common, formatted, on_fleet

if TYPE_CHECKING:
    from swarmops.fleet.applied import Applied
    from swarmops.fleet.selection import Wanted


@click.command()
@inventory_argument
@playbook_option
@selecting
@click.option("--check", is_flag=True, help="Change nothing, show what would be done")
@show_env_option
@click.option("--yes", is_flag=True, help="Don't ask before something is taken away")
@click.option(
    "--plan",
    "plan_file",
    type=click.Path(path_type=Path),
    help="Do what this file of 'plan --out' says, or nothing",
)
@registry_auth_option
@click.option("--reason", default="", help="Why; told to whoever finds the swarm locked meanwhile")
@common
@formatted
@on_fleet
def apply(
    settings: Settings,
    inventory: Path | None,
    playbooks: tuple[Path, ...],
    forks: int,
    *,
    wanted: Wanted,
    check: bool,
    show_env: bool,
    yes: bool,
    plan_file: Path | None,
    reason: str,
    registry_auth: bool,
) -> None:
    """Make the swarm what its playbook says; do only what is missing.

    Waits, a minute at most, until every node is ready in its role and every service runs. A host
    that fails is named with its reason, and what depends on it is left out; the others go on. With
    --check it exits as plan does.

    \b
    Examples:
      swarmops apply inventories/prod.yml
      swarmops apply --check
      swarmops apply -l 'web[1:3]' --serial 1
    """
    if check:
        from swarmops.cli.plan import show_plan

        code = show_plan(settings, inventory, playbooks, forks, wanted, show_env=show_env)
        raise click.exceptions.Exit(code)

    from swarmops.cli.progress import make_progress
    from swarmops.fleet.apply import Options
    from swarmops.fleet.apply import apply as apply_fleet
    from swarmops.fleet.opened import open_fleet
    from swarmops.fleet.plan_file import read_plan

    began = time.monotonic()
    reviewed = None
    if plan_file is not None:
        saved = read_plan(plan_file)
        inventory = inventory or settings.inventory or Path(saved.inventory)
        playbooks = playbooks or tuple(map(Path, saved.playbooks))
        wanted, reviewed = saved.wanted, saved.plan
    choice = chosen(settings, inventory)
    if choice.inventory is None:
        raise AssertionError("chosen() saw to it")
    named = playbooks or choice.playbooks
    with settings.connections() as shells:
        fleet = open_fleet(choice.inventory, named, shells, forks, wanted)
        # Who reviewed a plan has said yes to all that is in it.
        yes = yes or reviewed is not None
        with make_progress(yes=yes, verbose=settings.verbose) as progress:
            options = Options(
                playbooks=named,
                reason=reason,
                reviewed=reviewed,
                login=login_of(registry_auth=registry_auth),
            )
            applied = apply_fleet(fleet, progress, options)
    _print(applied, settings.format, time.monotonic() - began, progress.count())
    sys.stdout.flush()
    raise click.exceptions.Exit(applied.exit_code)


def _print(applied: Applied, style: str, seconds: float, spent: dict[str, float]) -> None:
    from swarmops.cli.report import print_applied, print_applied_json

    if style == "json":
        print_applied_json(applied, seconds)
    else:
        print_applied(applied, seconds, spent)
