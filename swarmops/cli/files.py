"""The arguments that name an inventory and a playbook, for the commands that take them."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from swarmops.cli.settings import Settings, the_one

if TYPE_CHECKING:
    from swarmops.fleet.current import Choice


def inventory_argument(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command an optional INVENTORY; without it, it is the current one."""
    return click.argument(
        "inventory", required=False, type=click.Path(path_type=Path), metavar="[INVENTORY]"
    )(command)


def playbook_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command ``-p`` and ``--forks``."""
    playbooks = click.option(
        "-p",
        "--playbook",
        "playbooks",
        multiple=True,
        type=click.Path(path_type=Path),
        help="Playbook to use, a file or a folder of them; several are laid over each other in"
        " order  [default: the inventory's swarmops_playbook]",
    )
    return playbooks(forks_option(command))


def forks_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command ``--forks``."""
    return click.option(
        "--forks",
        type=click.IntRange(1, 500),
        metavar="N",
        default=30,
        show_default=True,
        help="How many hosts to work on at once",
    )(command)


def chosen(settings: Settings, inventory: Path | None) -> Choice:
    """Return the inventory to use and the playbook that goes with it.

    Raises InputError, and UsageError where the argument and ``-i`` name two.
    """
    from swarmops.errors import InputError
    from swarmops.fleet.current import choose

    choice = choose(the_one(settings.inventory, inventory), os.environ)
    if choice.inventory is None:
        raise InputError(
            "this works on an inventory, not on a node's own socket: name one, as in "
            "'swarmops apply inventories/prod.yml'"
        )
    return choice
