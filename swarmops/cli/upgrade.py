"""``swarmops upgrade``: bring every host to this machine's release of the runtime."""

from __future__ import annotations

from pathlib import Path

import click

from swarmops.cli.files import inventory_argument, playbook_option
from swarmops.cli.limiting import limit_option
from swarmops.cli.settings import Settings, common, formatted, on_fleet


@click.command()
@inventory_argument
@playbook_option
@limit_option("Only these hosts")
@click.option("--serial", metavar="N|N%", help="So many hosts at a time")
@click.option("--check", is_flag=True, help="Change nothing, show what would be done")
@click.option("--yes", is_flag=True, help="Don't ask before a host goes back to an older version")
@common
@formatted
@on_fleet
def upgrade(
    settings: Settings,
    inventory: Path | None,
    playbooks: tuple[Path, ...],
    forks: int,
    *,
    limit: str | None,
    serial: str | None,
    check: bool,
    yes: bool,
) -> None:
    """Install this machine's release on the hosts and restart their runtimes; tasks go on.

    One worker first, then the others in batches, then the managers one by one, the leader last. A
    node that doesn't come back well returns to its former release, and the rest is left alone.
    """
    from swarmops.cli.apply import apply

    del settings
    click.get_current_context().invoke(
        apply,
        inventory=inventory,
        playbooks=playbooks,
        forks=forks,
        limit=limit,
        only=("runtime",),
        serial=serial,
        check=check,
        yes=yes,
        reason="upgrade",
    )
