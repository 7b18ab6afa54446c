"""Ask before something is taken away; used by every command that does so outside of an apply."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import click

from swarmops.cli.say import say


def yes_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command ``--yes``."""
    return click.option("--yes", is_flag=True, help="Don't ask")(command)


def ask(question: str, *, yes: bool) -> None:
    """Return if a person says yes, or ``yes`` was given; end the command otherwise.

    Raises InputError where nobody can answer.
    """
    from swarmops.errors import InputError

    if yes:
        return
    if not sys.stdin.isatty():
        name = click.get_current_context().command_path.partition(" ")[2]
        raise InputError(f"{name} asks first, and nobody is here to answer: give --yes")
    if not click.confirm(question, err=True):
        say("Nothing was changed.")
        raise click.exceptions.Exit(1)
