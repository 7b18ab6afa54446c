"""The root of the command line: its global options and the table of all commands."""

from __future__ import annotations

import click

from swarmops import __version__
from swarmops.cli.exits import EPILOG
from swarmops.cli.lazy import Lazy, LazyGroup
from swarmops.cli.settings import common

COMMANDS = {
    "apply": Lazy("swarmops.cli.apply:apply", "Make the swarm what its playbook says"),
    "plan": Lazy("swarmops.cli.plan:plan", "Show what apply would do"),
    "watch": Lazy("swarmops.cli.watch:watch", "Apply again and again, report drift"),
    "upgrade": Lazy("swarmops.cli.upgrade:upgrade", "Bring hosts to this machine's release"),
    "status": Lazy("swarmops.cli.status:status", "Show hosts, nodes and services"),
    "node": Lazy("swarmops.cli.node:node", "List and change nodes"),
    "service": Lazy("swarmops.cli.service:service", "List and change services"),
    "inventory": Lazy("swarmops.cli.inventory:inventory", "Show what an inventory says"),
    "access": Lazy("swarmops.cli.access:access", "Let people use the API over the network"),
    "completion": Lazy("swarmops.cli.completion:completion", "Complete commands in your shell"),
    "unlock-apply": Lazy(
        "swarmops.cli.unlock:unlock_apply", "Free a swarm that an apply has locked"
    ),
    "doctor": Lazy("swarmops.cli.doctor:doctor", "Find what is wrong, or soon will be"),
    "exec": Lazy("swarmops.cli.hosts:exec_", "Run a command on hosts"),
    "ssh": Lazy("swarmops.cli.hosts:ssh", "Open a shell on a host"),
    "logs": Lazy("swarmops.cli.hosts:logs", "Show the log of a host's runtime"),
    "backup": Lazy("swarmops.cli.backup:backup", "Keep the swarm's state in a file, put it back"),
    "tunnel": Lazy("swarmops.cli.tunnel:tunnel", "Serve the swarm's API on a local socket"),
    "context": Lazy("swarmops.cli.tunnel:context", "Write Docker contexts of swarms"),
    "schema": Lazy("swarmops.cli.schema:schema", "Print the JSON Schema of a format"),
    "destroy": Lazy("swarmops.cli.destroy:destroy", "Remove the swarm from all its hosts"),
}


@click.group(
    cls=LazyGroup,
    lazy=COMMANDS,
    epilog=EPILOG,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, "--version", message="swarmops %(version)s")
@common
def swarmops() -> None:
    """Run a self-healing swarm of containers or processes, declared in one file.

    `swarmops apply inventories/prod.yml` makes the swarm what the file says, over SSH. After that
    the other commands work on that swarm; on one of its nodes they use the node's own socket.
    """
