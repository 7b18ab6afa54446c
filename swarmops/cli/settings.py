"""What holds for a whole run of the program, and the options that set it on every command.

``swarmops -i prod.yml node ls`` and ``swarmops node ls -i prod.yml`` mean the same.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from swarmops.cli.run_log import RunLog
    from swarmops.fleet.shells import Shells

COMPLETE = "_SWARMOPS_COMPLETE"
"""The environment variable by which a shell asks for completions."""


class Settings:
    """One object per run, filled by the options, read by the commands."""

    def __init__(self) -> None:
        self.inventory: Path | None = None
        self.debug = False
        self.format = "table"
        self.verbose = False
        self.log: RunLog | None = None
        """Of this run, once a command has begun that works on a fleet."""
        self.asked = ""
        """The command with its options, without what may be secret."""
        self.is_input = False
        """The run ended for what the user gave: its sentence says all that a log could."""
        self.vault_files: tuple[str, ...] = ()
        self.shells: Shells | None = None
        """Connections of a command that calls another one, which is to use them too."""

    def connections(self) -> AbstractContextManager[Shells]:
        """Return the run's connections: those that are open already, else new ones."""
        from swarmops.fleet.shells import Shells

        return Shells() if self.shells is None else nullcontext(self.shells)


def _set(attribute: str) -> Callable[[click.Context, click.Parameter, Any], None]:
    def callback(context: click.Context, _: click.Parameter, value: Any) -> None:
        if value not in {None, False}:
            setattr(context.ensure_object(Settings), attribute, value)

    return callback


def _use_inventory(context: click.Context, _: click.Parameter, value: tuple[Path, ...]) -> None:
    settings = context.ensure_object(Settings)
    for path in value:
        settings.inventory = the_one(settings.inventory, path)


def the_one(said: Path | None, also: Path | None) -> Path | None:
    """Return the inventory that is named, however often. Raises UsageError where two are.

    Taking the last would leave the hosts of the other alone, or do to the one swarm what was meant
    for the other.
    """
    if said is None or also is None or said.absolute() == also.absolute():
        return said or also
    raise click.UsageError(
        f"two inventories are named, {said} and {also}: name one; what two files have of one swarm"
        " goes into a folder, and that is named"
    )


def common(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options that every command has."""
    inventory = click.option(
        "-i",
        "--inventory",
        "inventory_option",
        multiple=True,
        type=click.Path(path_type=Path),
        expose_value=False,
        callback=_use_inventory,
        help="Inventory to use  [default: SWARMOPS_INVENTORY, else the one applied last]",
    )
    debug = click.option(
        "--debug",
        is_flag=True,
        expose_value=False,
        callback=_set("debug"),
        help="Show tracebacks",
    )
    verbose = click.option(
        "-v",
        "--verbose",
        is_flag=True,
        expose_value=False,
        callback=_set("verbose"),
        help="Say more of what is being done",
    )
    vault = click.option(
        "--vault-password-file",
        multiple=True,
        metavar="[LABEL@]FILE",
        expose_value=False,
        callback=_use_vault,
        help="Opens what ansible-vault encrypted; a program is run",
    )
    passwords = [
        click.option(
            *names, is_flag=True, expose_value=False, is_eager=True, callback=callback, help=help_
        )
        for names, callback, help_ in (
            (("-k", "--ask-pass"), _ask_pass, "Ask for the SSH password"),
            (("-K", "--ask-become-pass"), _ask_become_pass, "Ask for sudo's password"),
        )
    ]
    for option in passwords:
        command = option(command)
    return inventory(verbose(debug(vault(command))))


def _ask_pass(context: click.Context, _: click.Parameter, value: bool) -> None:  # noqa: FBT001 - click's
    if value and not context.resilient_parsing:
        from swarmops.fleet.credentials import of_this_run

        of_this_run().ask_password()


def _ask_become_pass(context: click.Context, _: click.Parameter, value: bool) -> None:  # noqa: FBT001 - click's
    if value and not context.resilient_parsing:
        from swarmops.fleet.credentials import of_this_run

        of_this_run().ask_become_password()


def _use_vault(context: click.Context, _: click.Parameter, value: tuple[str, ...]) -> None:
    if value:
        from swarmops.fleet import vault

        context.ensure_object(Settings).vault_files = value
        vault.current.set(vault.Vault(value))


def formatted(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command ``--format``."""
    return click.option(
        "--format",
        type=click.Choice(["table", "json"]),
        expose_value=False,
        callback=_set("format"),
        help="How to print  [default: table]",
    )(command)


def inspected(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command that shows whole objects ``--format``: JSON, unless a table is asked for."""
    return click.option(
        "--format",
        "style",
        type=click.Choice(["table", "json"]),
        default="json",
        help="How to print  [default: json]",
    )(command)


pass_settings = click.make_pass_decorator(Settings, ensure=True)
"""For commands that only read and write files of this machine; the others have ``on_fleet``."""


def on_fleet(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command that talks to hosts or swarms the settings, and its run a log file."""

    @functools.wraps(command)
    def begun(*args: Any, **kwargs: Any) -> Any:
        from swarmops.cli import run_log

        context = click.get_current_context()
        settings = context.ensure_object(Settings)
        if settings.log is None:  # one command may call another
            settings.asked = run_log.asked(context)
            path = context.command_path.split()[1:] or [str(context.info_name)]
            settings.log = run_log.begin("-".join(path), settings.asked)
        return command(settings, *args, **kwargs)

    return begun
