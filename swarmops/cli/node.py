"""``swarmops node …``: list nodes, look at one, change roles and availability.

Nodes are named as in the inventory; hostnames, IDs and their prefixes work too.
"""

from __future__ import annotations

from datetime import UTC, datetime

import click

from swarmops.cli.completing import nodes
from swarmops.cli.lazy import Group
from swarmops.cli.say import say
from swarmops.cli.settings import Settings, common, formatted, inspected, on_fleet
from swarmops.cli.values import duration

NAMES = click.argument("names", metavar="NODE...", nargs=-1, required=True, shell_complete=nodes)


@click.group(cls=Group)
def node() -> None:
    """List and change the nodes of the swarm."""


@node.command("ls")
@common
@formatted
@on_fleet
def ls(settings: Settings) -> None:
    """List the nodes."""
    from swarmops.cli.output import NODE_COLUMNS, print_rows
    from swarmops.cli.session import open_swarm
    from swarmops.fleet.rows import node_rows

    with open_swarm(settings) as swarm:
        print_rows(node_rows(swarm.client.nodes()), NODE_COLUMNS, settings.format)


@node.command("inspect")
@NAMES
@common
@inspected
@on_fleet
def inspect(settings: Settings, names: tuple[str, ...], style: str) -> None:
    """Show everything about nodes, in the form of Docker's API."""
    from swarmops.cli.output import print_objects
    from swarmops.cli.session import open_swarm
    from swarmops.fleet.names import find_node

    with open_swarm(settings) as swarm:
        nodes = swarm.client.nodes()
        print_objects([find_node(nodes, name, swarm.hosts) for name in names], style)


@node.command("ps")
@NAMES
@common
@formatted
@on_fleet
def ps(settings: Settings, names: tuple[str, ...]) -> None:
    """List the tasks on nodes."""
    from swarmops.cli.output import TASK_COLUMNS, print_rows
    from swarmops.cli.session import open_swarm
    from swarmops.fleet.lists import tasks_of_nodes

    with open_swarm(settings) as swarm:
        rows = tasks_of_nodes(swarm, names, datetime.now(UTC))
        print_rows(rows, TASK_COLUMNS, settings.format)


def _change(name: str, help_: str, done: str, **wanted: str) -> None:
    """Add a command that sets the same of each named node, and says what the playbook wants."""

    @node.command(name, help=help_)
    @NAMES
    @common
    @on_fleet
    def command(settings: Settings, /, names: tuple[str, ...]) -> None:
        from swarmops.cli.session import open_swarm
        from swarmops.fleet.contradiction import of_node
        from swarmops.fleet.oneoff import set_availability, set_role
        from swarmops.model.node import Availability, Role

        with open_swarm(settings) as swarm:
            for one in names:
                if "role" in wanted:
                    role = Role(wanted["role"])
                    changed = set_role(swarm, one, role)
                    said = of_node(swarm, one, role=role)
                else:
                    availability = Availability(wanted["availability"])
                    changed = set_availability(swarm, one, availability)
                    said = of_node(swarm, one, availability=availability)
                click.echo(f"{one} is {'now' if changed else 'already'} {done}.")
                for sentence in said:
                    say(f"Warning: {sentence}")


_change(
    "promote",
    "Make nodes managers, and wait until they are.\n\nReturns when each is reachable as one.",
    "a manager",
    role="manager",
)
_change(
    "demote",
    "Make managers workers, and wait until they are.\n\nReturns when each has left the managers'"
    " group. The swarm refuses what would cost its quorum.",
    "a worker",
    role="worker",
)
_change("pause", "Give nodes no new tasks.", "paused", availability="pause")
_change("activate", "Give nodes tasks again.", "active", availability="active")


@node.command("drain")
@NAMES
@click.option(
    "--wait/--no-wait", default=True, show_default=True, help="Return when nothing runs there"
)
@click.option(
    "--timeout",
    type=duration,
    metavar="duration",
    default="2m",
    show_default=True,
    help="Wait no longer than this",
)
@common
@on_fleet
def drain_(settings: Settings, names: tuple[str, ...], *, wait: bool, timeout: int) -> None:
    """Move the tasks of nodes elsewhere, and wait for that.

    Returns when nothing runs there any more, and names what had to go and runs nowhere. After
    --timeout it fails with the tasks that still run and why; the swarm goes on. Of a node that is
    down nothing is waited for.
    """
    from swarmops.cli.session import open_swarm
    from swarmops.fleet.contradiction import of_node
    from swarmops.fleet.drain import drain
    from swarmops.fleet.waiting import Patience
    from swarmops.model.node import Availability

    patience = Patience(bound_s=timeout / 1e9) if wait else None
    with open_swarm(settings) as swarm:
        for one in drain(swarm, names, patience, say):
            click.echo(f"{one.name} is {'now' if one.changed else 'already'} drained.")
            said = of_node(swarm, one.name, availability=Availability.DRAIN)
            for sentence in [*one.warnings, *said]:
                say(f"Warning: {sentence}")


@node.command("rm")
@NAMES
@click.option("-f", "--force", is_flag=True, help="Also nodes that are not down")
@common
@on_fleet
def rm(settings: Settings, names: tuple[str, ...], *, force: bool) -> None:
    """Make the swarm forget nodes that are down."""
    from swarmops.cli.session import open_swarm
    from swarmops.fleet.oneoff import remove

    with open_swarm(settings) as swarm:
        for one in names:
            host = remove(swarm, one, force=force)
            click.echo(f"{host} is removed.")
            if host in swarm.hosts:
                say(f"Warning: {swarm.choice.inventory} has {host}: the next apply joins it again")
