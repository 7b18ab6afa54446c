"""``--limit``: a host pattern, or the file that holds one; for all commands that have it.

Ansible's retry files are such: a host a line. The file is read here, once, so that a plan that is
kept says which hosts it was for, whatever becomes of the file.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from swarmops.cli.completing import hosts


def limit_option(help: str) -> Callable[..., Any]:  # noqa: A002 - click's name for it
    """Give a command the option; ``help`` says what becomes of those hosts."""
    return click.option(
        "-l",
        "--limit",
        callback=_limit_of,
        metavar="PATTERN",
        shell_complete=hosts,
        help=help,
    )


def _limit_of(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    """Return the pattern (``fleet.patterns``), with the lines of a file for each ``@FILE`` in it.

    A click callback; raises BadParameter.
    """
    if value is None or "@" not in value:
        return value
    terms: list[str] = []
    for part in value.split(","):
        try:
            terms += _lines(part.removeprefix("@")) if part.startswith("@") else [part]
        except ValueError as error:
            raise click.BadParameter(str(error), ctx, param) from None
    return ",".join(terms)


def _lines(file: str) -> list[str]:
    try:
        lines = Path(file).expanduser().read_text().splitlines()
    except (OSError, UnicodeDecodeError, RuntimeError) as error:
        reason = (error.strerror if isinstance(error, OSError) else "") or str(error)
        raise ValueError(f"the file of hosts '{file}' can't be read: {reason}") from None
    named = [line.strip() for line in lines if line.strip() and not line.startswith("#")]
    if not named:
        raise ValueError(f"the file of hosts '{file}' names none: write one on each line")
    return named
