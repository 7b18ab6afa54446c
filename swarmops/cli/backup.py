"""``swarmops backup …``: keep the swarm's state in an encrypted file, put it back elsewhere."""

from __future__ import annotations

import os
import sys
from datetime import UTC, datetime
from pathlib import Path

import click

from swarmops.cli.completing import backups
from swarmops.cli.files import forks_option, inventory_argument
from swarmops.cli.lazy import Group
from swarmops.cli.say import say
from swarmops.cli.settings import Settings, common, formatted, on_fleet, pass_settings

VARIABLE = "SWARMOPS_BACKUP_PASSPHRASE"
PASSPHRASE = click.option(
    "--passphrase-file",
    type=click.Path(path_type=Path),
    help=f"File whose first line is the passphrase  [default: {VARIABLE}, else asked for]",
)


@click.group(cls=Group)
def backup() -> None:
    """Keep the swarm's state in a file, and put it back, also onto other hosts."""


@backup.command("create")
@click.argument("file", type=click.Path(path_type=Path), required=False)
@PASSPHRASE
@common
@on_fleet
def create(settings: Settings, file: Path | None, passphrase_file: Path | None) -> None:
    """Write the swarm's state to FILE, encrypted.

    Services, secrets, configs, networks, settings, and the nodes' labels and availability. Without
    FILE: NAME-TIME.swarmops-backup in the current folder.
    """
    from swarmops.cli.session import open_swarm
    from swarmops.fleet.backup import take
    from swarmops.fleet.backup_file import SUFFIX, write_backup
    from swarmops.fleet.swarm_name import swarm_name

    secret = _passphrase(passphrase_file, confirm=True)
    now = datetime.now(UTC)
    with open_swarm(settings) as swarm:
        taken = take(swarm.client)
        name = swarm_name(swarm.choice)
    path = file or Path(f"{name}-{now:%Y%m%dT%H%M%SZ}{SUFFIX}")
    header = write_backup(path, taken, name, now, secret)
    for missing in taken.empty_secrets:
        say(f"Warning: the content of secret {missing} is not in it: this backend never reveals it")
    counts = ", ".join(f"{number} {kind}" for kind, number in header.counts.items())
    click.echo(f"{path}: {counts}")


@backup.command("ls")
@click.argument("folder", type=click.Path(path_type=Path), default=Path())
@common
@formatted
@pass_settings
def ls(settings: Settings, folder: Path) -> None:
    """List the backups in FOLDER.

    No passphrase is needed.
    """
    from swarmops.cli.output import print_json, print_table
    from swarmops.errors import InputError
    from swarmops.fleet.backup_file import SUFFIX, read_header

    if not folder.is_dir():
        raise InputError(f"{folder} is no folder: name the one that has the backups")
    found = [(path, read_header(path)) for path in sorted(folder.glob(f"*{SUFFIX}"))]
    if settings.format == "json":
        print_json([{"file": str(path), "header": header} for path, header in found])
        return
    rows = [
        [
            str(path),
            header.swarm,
            f"{header.created:%Y-%m-%d %H:%M:%S}",
            ", ".join(f"{number} {kind}" for kind, number in header.counts.items()),
        ]
        for path, header in found
    ]
    print_table(["FILE", "SWARM", "CREATED (UTC)", "HOLDS"], rows)


@backup.command("restore")
@click.argument("file", type=click.Path(path_type=Path), shell_complete=backups)
@inventory_argument
@PASSPHRASE
@click.option(
    "--yes", is_flag=True, help="Don't ask before settings of a swarm in use are replaced"
)
@forks_option
@common
@on_fleet
def restore(
    settings: Settings,
    file: Path,
    inventory: Path | None,
    passphrase_file: Path | None,
    forks: int,
    *,
    yes: bool,
) -> None:
    """Put back what FILE holds.

    With INVENTORY the swarm is made there first. What has the same name is left as it is. Services
    come last, so they find what they use. In a swarm that holds something already it asks before
    it replaces settings, and nodes' labels and availability.
    """
    from swarmops.cli.session import open_swarm
    from swarmops.fleet.backup_file import read_backup, read_header
    from swarmops.fleet.restore import overwritten, put_back
    from swarmops.fleet.shells import Shells

    read_header(file)  # what is no backup is told before anybody is asked for a passphrase
    held = read_backup(file, _passphrase(passphrase_file, confirm=False))
    with Shells() as shells:
        if inventory is not None:
            settings.shells = shells
            _form(inventory, forks)
            settings.inventory = inventory
        with open_swarm(settings, shells) as swarm:
            lost = [] if yes else overwritten(swarm.client, held)
            if lost and not _confirmed(lost):
                say("Nothing was changed.")
                raise click.exceptions.Exit(1)
            done = put_back(swarm.client, held)
    for made in done.made:
        click.echo(f"{made}: restored")
    for there in done.there:
        click.echo(f"{there}: was there already, left as it is")
    for what, why in done.lacking.items():
        say(f"Error: {what}: {why}")
    if done.lacking:
        raise click.exceptions.Exit(1)


def _confirmed(lost: list[str]) -> bool:
    from swarmops.errors import InputError

    named = ", ".join(lost)
    if not sys.stdin.isatty():
        raise InputError(
            f"restore would replace what a swarm in use has ({named}) and asks first, and nobody is"
            " here to answer: give --yes"
        )
    return click.confirm(f"Replace what this swarm has: {named}?", err=True)


def _form(inventory: Path, forks: int) -> None:
    """Make the swarm of an inventory, without its playbook's services."""
    from swarmops.cli.apply import apply

    try:
        click.get_current_context().invoke(
            apply, inventory=inventory, forks=forks, only=("runtime", "nodes"), reason="restore"
        )
    except click.exceptions.Exit as ended:
        if ended.exit_code != 0:
            raise


def _passphrase(file: Path | None, *, confirm: bool) -> str:
    from swarmops.errors import InputError

    if file is not None:
        try:
            found = file.read_text().partition("\n")[0]
        except OSError as error:
            raise InputError(
                f"the passphrase file {file} can't be read ({error.strerror})"
            ) from error
        except UnicodeDecodeError as error:
            raise InputError(f"the passphrase file {file} is no UTF-8 text") from error
    elif os.environ.get(VARIABLE):
        found = os.environ[VARIABLE]
    elif not sys.stdin.isatty():
        raise InputError(
            f"the backup's passphrase is asked for, and nobody is here to answer: set {VARIABLE}"
            " or give --passphrase-file"
        )
    else:
        found = click.prompt(
            "Passphrase", hide_input=True, confirmation_prompt=confirm, err=True, type=str
        )
    if not found:
        raise InputError(
            f"the passphrase is empty: put one into {file or VARIABLE}, it encrypts the backup"
        )
    return found
