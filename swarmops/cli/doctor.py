"""``swarmops doctor``: what is wrong with hosts and swarm, or soon will be, with the cure."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import click

from swarmops.cli.files import chosen, forks_option, inventory_argument
from swarmops.cli.settings import Settings, common, formatted, on_fleet


@click.command()
@inventory_argument
@click.option("--all", "everything", is_flag=True, help="Show also what is well")
@forks_option
@common
@formatted
@on_fleet
def doctor(settings: Settings, inventory: Path | None, forks: int, *, everything: bool) -> None:
    """Find what is wrong with hosts and swarm, or soon will be, and what cures it.

    Looks at each host's runtime, clock, disk, certificate and Raft's lag, at how many managers may
    still be lost, and at services that don't run. Exits with 1 if there is a problem, with 0 if
    there are warnings only.
    """
    import contextlib

    from swarmops.backends.base import load_backend
    from swarmops.cli.output import print_json, print_table
    from swarmops.fleet import doctor_services
    from swarmops.fleet.access import host_client
    from swarmops.fleet.backend_of import backend_name, inventory_of
    from swarmops.fleet.doctor import Grade, examine, findings
    from swarmops.fleet.managers import Managers
    from swarmops.fleet.observation import manager_hosts
    from swarmops.fleet.observe import observe
    from swarmops.fleet.opened import counted
    from swarmops.fleet.pool import run_on
    from swarmops.fleet.shells import Shells
    from swarmops.fleet.targets import target_of

    choice = chosen(settings, inventory)
    read = inventory_of(choice)
    backend = load_backend(backend_name(read, choice.playbooks))
    with Shells() as shells:
        seen = observe(read, backend, shells, forks=forks)
        outcome = run_on(
            [target_of(read.hosts[name]) for name in seen.looked],
            lambda target: examine(shells.of(target), target),
            name=lambda target: target.name,
            forks=forks,
        )
        managers = Managers(
            lambda host: host_client(read, shells, host), manager_hosts(seen.observation)
        )
        with contextlib.closing(managers):
            services = doctor_services.look(managers) if managers.known else []
    found = findings(seen, outcome.results | outcome.errors, datetime.now(UTC)) + services
    shown = [one for one in found if everything or one.grade is not Grade.OK]
    if settings.format == "json":
        print_json(shown)
    elif shown:
        rows = [[f.host or "(swarm)", f.check, f.grade.value, f.found, f.cure] for f in shown]
        print_table(["HOST", "CHECK", "STATE", "FOUND", "CURE"], rows)
    else:
        hosts = counted(len(read.hosts), "host")
        click.echo(f"All {len(found)} checks of {hosts} are well.")
    if any(one.grade is Grade.PROBLEM for one in found):
        raise click.exceptions.Exit(1)
