"""``swarmops access …``: serve the API over the network, and let people in by certificate."""

from __future__ import annotations

from pathlib import Path

import click

from swarmops.cli.completing import people
from swarmops.cli.lazy import Group
from swarmops.cli.say import say
from swarmops.cli.settings import Settings, common, formatted, on_fleet
from swarmops.cli.values import duration

DEFAULT_PORT = 2376
YEAR = "8760h"


@click.group(cls=Group)
def access() -> None:
    """Let people use the swarm's API over the network."""


@access.command("enable")
@click.option(
    "--port",
    type=click.IntRange(1, 65535),
    metavar="N",
    default=DEFAULT_PORT,
    show_default=True,
    help="Port",
)
@click.option("--name", "names", multiple=True, help="Another name that managers are reached by")
@common
@on_fleet
def enable(settings: Settings, port: int, names: tuple[str, ...]) -> None:
    """Serve the API on a TLS port of every manager.

    Who has a certificate may use it: 'swarmops access create' makes one.
    """
    from swarmops.cli.session import open_swarm
    from swarmops.model.access import AccessPortRequest

    with open_swarm(settings) as swarm:
        swarm.client.serve_over_network(AccessPortRequest(port=port, names=list(names)))
    click.echo(f"Every manager serves the API on port {port}: 'swarmops access create' lets in.")


@access.command("disable")
@common
@on_fleet
def disable(settings: Settings) -> None:
    """Serve the API on unix sockets only.

    Certificates stay valid for the next 'enable'.
    """
    from swarmops.cli.session import open_swarm
    from swarmops.model.access import AccessPortRequest

    with open_swarm(settings) as swarm:
        swarm.client.serve_over_network(AccessPortRequest(port=0))
    click.echo("The API is no longer served over the network.")


@access.command("create")
@click.argument("name")
@click.option(
    "--role",
    type=click.Choice(["admin", "read"]),
    required=True,
    help="What NAME may: everything, or look",
)
@click.option(
    "--expires",
    type=duration,
    default=YEAR,
    metavar="duration",
    show_default=True,
    help="How long it is valid",
)
@click.option("--host", default="", help="Where to connect to  [default: a manager's address]")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    help="File to write  [default: NAME.dockercontext]",
)
@click.option(
    "--pem",
    type=click.Path(path_type=Path),
    help="Write ca.pem, cert.pem and key.pem there instead",
)
@common
@on_fleet
def create(
    settings: Settings,
    *,
    name: str,
    role: str,
    expires: int,
    host: str,
    output: Path | None,
    pem: Path | None,
) -> None:
    """Let NAME in: make a certificate, to hand over.

    It is written as a Docker context, for 'docker context import', or as PEM files.

    \b
    Examples:
      swarmops access create ada --role admin
      swarmops access create prometheus --role read --pem certs/
    """
    from swarmops.cli.session import open_swarm
    from swarmops.fleet import people
    from swarmops.model.access import AccessRole

    wanted = AccessRole(role)
    where = output or Path(f"{name}.dockercontext")
    targets = [pem / f"{part}.pem" for part in ("ca", "cert", "key")] if pem else [where]
    with people.new_secrets(targets) as write, open_swarm(settings) as swarm:
        granted = people.grant(
            swarm.client, name, wanted, lifetime_s=expires // 1_000_000_000, host=host
        )
        if pem:
            write([text.encode() for text in (granted.ca, granted.cert, granted.key)])
        else:
            write([people.context_file(name, wanted, granted)])
    if pem:
        click.echo(f"{name} has access ({role}) to tcp://{granted.address}: keep {pem} secret.")
        return
    click.echo(f"{name} has access ({role}) to tcp://{granted.address}. Hand over {where}:")
    click.echo(f"docker context import {name} {where}")


@access.command("ls")
@common
@formatted
@on_fleet
def ls(settings: Settings) -> None:
    """List who has access."""
    from swarmops.cli.output import PEOPLE_COLUMNS, print_rows
    from swarmops.cli.session import open_swarm
    from swarmops.fleet.people import rows

    with open_swarm(settings) as swarm:
        state = swarm.client.access()
    if not state.port:
        say("The API is not served over the network ('swarmops access enable').")
    print_rows(rows(state), PEOPLE_COLUMNS, settings.format)


@access.command("revoke")
@click.argument("names", metavar="NAME...", nargs=-1, required=True, shell_complete=people)
@common
@on_fleet
def revoke(settings: Settings, names: tuple[str, ...]) -> None:
    """End access at once, on every manager; open streams too."""
    from swarmops.cli.session import open_swarm

    with open_swarm(settings) as swarm:
        for name in names:
            swarm.client.revoke_access(name)
            click.echo(f"{name} has no access any more.")
