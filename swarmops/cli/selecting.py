"""The options that choose a part of the work: ``--limit``, ``--only``, ``--serial`` and the like.

Given to apply and plan, which hand what they said to the fleet unread.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import click

from swarmops.cli.completing import parts
from swarmops.cli.limiting import limit_option


def selecting(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options; it gets them as one argument, ``wanted``."""

    @functools.wraps(command)
    def collected(
        *args: Any,
        limit: str | None,
        only: tuple[str, ...],
        serial: str | None,
        replace_dead: bool,
        **more: Any,
    ) -> Any:
        from swarmops.fleet.selection import Wanted

        areas = ",".join(only) if only else None
        wanted = Wanted(limit=limit, only=areas, serial=serial, replace_dead=replace_dead)
        return command(*args, wanted=wanted, **more)

    options = (
        limit_option("Only these hosts, no services"),
        click.option(
            "--tags",
            "--only",
            "only",
            multiple=True,
            metavar="WHAT,...",
            shell_complete=parts,
            help="Only these of runtime, nodes, services",
        ),
        click.option(
            "--serial",
            metavar="N|N%",
            help="So many hosts at a time; each batch after the success of the one before",
        ),
        click.option(
            "--replace-dead", is_flag=True, help="Replace managers that are down and out of reach"
        ),
    )
    for option in reversed(options):
        collected = option(collected)
    return collected
