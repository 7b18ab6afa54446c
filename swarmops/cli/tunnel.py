"""``swarmops tunnel`` and ``swarmops context``: the swarm's API on the operator's machine."""

from __future__ import annotations

import subprocess
import threading
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import click

from swarmops.cli.completing import contexts, one_host
from swarmops.cli.files import chosen
from swarmops.cli.lazy import Group
from swarmops.cli.say import say
from swarmops.cli.settings import Settings, common, on_fleet, pass_settings

if TYPE_CHECKING:
    from swarmops.fleet.access import Swarm
    from swarmops.fleet.current import Choice
    from swarmops.fleet.tunnel import Open

SOCKET = click.option(
    "--socket",
    "path",
    type=click.Path(path_type=Path),
    help="Where to serve  [default: a path that belongs to the inventory]",
)


@click.command(context_settings={"ignore_unknown_options": True})
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
@SOCKET
@click.option(
    "--to",
    "host",
    metavar="HOST",
    shell_complete=one_host,
    help="Serve this host's own API, whatever state it is in  [default: a manager's that answers]",
)
@common
@on_fleet
def tunnel(
    settings: Settings, command: tuple[str, ...], path: Path | None, host: str | None
) -> None:
    """Serve the swarm's API on a local socket, over SSH.

    With COMMAND: run it with DOCKER_HOST set, and end with it. Without: serve until Ctrl-C. Up to
    eight connections at a time.

    \b
    Examples:
      swarmops tunnel -- docker node ls
      swarmops tunnel --socket /tmp/prod.sock
      swarmops tunnel --to host2 -- docker swarm unlock
    """
    from swarmops.fleet.access import Swarm
    from swarmops.fleet.paths import state_dir
    from swarmops.fleet.tunnel import Tunnel

    choice = chosen(settings, None)
    where = path or tunnel_path(choice, state_dir(), host or "")

    def complain(text: str) -> None:
        say(f"Error: {text}")

    with ExitStack() as stack:
        if host is not None:
            reach = _node_of(settings, host, stack)
        else:
            reach = _manager_of(stack.enter_context(Swarm(choice)))
        stack.enter_context(Tunnel(where, reach, complain))
        if command:
            raise click.exceptions.Exit(_run(command, where))
        click.echo(f"export DOCKER_HOST=unix://{where}")
        say("serving until Ctrl-C")
        threading.Event().wait()


def _manager_of(swarm: Swarm) -> Open:
    from swarmops.fleet.tunnel import manager_socket

    def find() -> str:
        swarm.reconnect()
        return swarm.client.name

    first = [swarm.client.name]
    return manager_socket(lambda: first.pop() if first else find(), swarm.socket_of)


def _node_of(settings: Settings, host: str, stack: ExitStack) -> Open:
    from swarmops.cli.hosts import one_target
    from swarmops.fleet.shells import Shells

    target = one_target(settings, host)
    shell = stack.enter_context(Shells()).of(target)
    shell.open_socket(target.place.socket).close()  # what is wrong with it is said before we serve
    return lambda: shell.open_socket(target.place.socket)


def _run(command: tuple[str, ...], where: Path) -> int:
    import os

    from swarmops.errors import InputError

    environment = {k: v for k, v in os.environ.items() if k != "DOCKER_CONTEXT"}
    environment["DOCKER_HOST"] = f"unix://{where}"
    try:
        return subprocess.run(command, env=environment, check=False).returncode
    except OSError as error:
        raise InputError(f"{command[0]} can't be run: {error.strerror}") from error


def tunnel_path(choice: Choice, state: Path, host: str = "") -> Path:
    """Return the socket that belongs to an inventory, or to one host of it: short, and the same."""
    import hashlib

    of = f"{choice.inventory and choice.inventory.absolute()}" + (f"\0{host}" if host else "")
    digest = hashlib.sha256(of.encode())
    return state / f"tunnel-{digest.hexdigest()[:12]}.sock"


@click.group(cls=Group)
def context() -> None:
    """Write and remove Docker contexts of swarms, for 'docker --context NAME'."""


@context.command("create")
@click.argument("name", shell_complete=contexts)
@SOCKET
@common
@pass_settings
def create(settings: Settings, name: str, path: Path | None) -> None:
    """Write the Docker context NAME.

    It works while 'swarmops tunnel' runs.
    """
    from swarmops.fleet.docker_context import write_context
    from swarmops.fleet.paths import state_dir

    choice = chosen(settings, None)
    where = path or tunnel_path(choice, state_dir())
    write_context(name, f"unix://{where}", f"{choice.inventory}, through swarmops tunnel")
    click.echo(f"'docker --context {name} node ls' works while 'swarmops tunnel' runs.")


@context.command("rm")
@click.argument("name", shell_complete=contexts)
def rm(name: str) -> None:
    """Remove the Docker context NAME."""
    from swarmops.fleet.docker_context import remove_context

    remove_context(name)
    click.echo(f"The Docker context {name} is removed.")
