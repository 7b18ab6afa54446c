"""Commands on hosts themselves, past the swarm: ``exec``, ``ssh`` and ``logs``.

They work on the inventory's hosts whether or not there is a swarm on them.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import click

from swarmops.cli.completing import hosts, one_host
from swarmops.cli.exits import SOME_HOSTS
from swarmops.cli.files import chosen, forks_option
from swarmops.cli.settings import Settings, common, formatted, on_fleet

if TYPE_CHECKING:
    from swarmops.fleet.fanout import Ran
    from swarmops.fleet.target import Target


def targets_of(settings: Settings, pattern: str) -> list[Target]:
    """Return the hosts of the chosen inventory that a pattern names. Raises InputError."""
    from swarmops.fleet.backend_of import inventory_of
    from swarmops.fleet.patterns import match_hosts
    from swarmops.fleet.targets import target_of

    inventory = inventory_of(chosen(settings, None))
    return [target_of(inventory.hosts[name]) for name in match_hosts(pattern, inventory)]


def one_target(settings: Settings, pattern: str) -> Target:
    """Return the one host that a pattern names. Raises InputError if it names several."""
    from swarmops.errors import InputError

    targets = targets_of(settings, pattern)
    if len(targets) > 1:
        raise InputError(f"'{pattern}' names {len(targets)} hosts, and one is wanted: name one")
    return targets[0]


@click.command("exec", context_settings={"ignore_unknown_options": True})
@click.argument("pattern", shell_complete=hosts)
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
@click.option(
    "--timeout",
    "timeout_s",
    type=click.FloatRange(min=1),
    metavar="N",
    default=60,
    show_default=True,
    help="Give it up after so many seconds",
)
@forks_option
@common
@formatted
@on_fleet
def exec_(
    settings: Settings, pattern: str, command: tuple[str, ...], timeout_s: float, forks: int
) -> None:
    """Run COMMAND on every host that PATTERN names, as the inventory's user (or root).

    PATTERN is Ansible's. Options of COMMAND come after --. Exits with 3 if it failed somewhere.

    \b
    Examples:
      swarmops exec all -- uptime
      swarmops exec 'web:!web3' -- df -h /var
    """
    from swarmops.cli.output import print_json
    from swarmops.fleet.fanout import run_everywhere
    from swarmops.fleet.shells import Shells

    targets = targets_of(settings, pattern)
    plain = settings.format != "json"
    with Shells() as shells:
        ran = run_everywhere(
            targets,
            shells,
            command,
            timeout_s=timeout_s,
            forks=forks,
            on_done=_show if plain else lambda _: None,
        )
    if not plain:
        print_json(sorted(ran, key=lambda one: [target.name for target in targets].index(one.host)))
    if any(not one.ok for one in ran):
        raise click.exceptions.Exit(SOME_HOSTS)


def _show(ran: Ran) -> None:
    for text, err in ((ran.stdout, False), (ran.stderr, True)):
        for line in text.splitlines():
            click.echo(f"{ran.host}: {line}", err=err)
    if ran.error:
        click.echo(f"{ran.host}: Error: {ran.error}", err=True)
    elif not ran.ok:
        click.echo(f"{ran.host}: exit status {ran.rc}", err=True)


@click.command(context_settings={"ignore_unknown_options": True})
@click.argument("host", shell_complete=one_host)
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
@common
@on_fleet
def ssh(settings: Settings, host: str, command: tuple[str, ...]) -> None:
    """Open a shell on HOST with OpenSSH's ssh, or run COMMAND there.

    The inventory's user, port and key are used; COMMAND may come after --.
    """
    from swarmops.errors import InputError
    from swarmops.fleet.known_hosts import default_path
    from swarmops.fleet.openssh import ssh_argv

    argv = ssh_argv(one_target(settings, host), default_path(), command)
    try:
        os.execvp(argv[0], argv)  # noqa: S606 - the point is to become ssh
    except OSError as error:
        raise InputError(
            f"ssh can't be run on this machine ({error.strerror}): install OpenSSH's client"
        ) from error


@click.command()
@click.argument("host", shell_complete=one_host)
@click.option("-f", "--follow", is_flag=True, help="Go on with what comes")
@click.option(
    "-n",
    "--tail",
    type=click.IntRange(min=1),
    metavar="N",
    default=100,
    show_default=True,
    help="So many lines",
)
@common
@on_fleet
def logs(settings: Settings, host: str, *, follow: bool, tail: int) -> None:
    """Show the log of HOST's own runtime; services' output is 'swarmops service logs'."""
    from swarmops.fleet.journal import log_text
    from swarmops.fleet.shells import Shells

    target = one_target(settings, host)
    with Shells() as shells:
        for text in log_text(shells.of(target), target, lines=tail, follow=follow):
            click.echo(text, nl=not text.endswith("\n"))
