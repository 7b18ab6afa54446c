"""What commands tell a person besides their results: on stderr, and in the run's log."""

from __future__ import annotations

import logging

import click

_log = logging.getLogger("swarmops.run")


def say(text: str) -> None:
    """Say one sentence, or several lines."""
    click.echo(text, err=True)
    _log.info("%s", text)
