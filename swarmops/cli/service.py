"""``swarmops service …``: look at services and their output, create, scale, remove."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import click

from swarmops.cli.completing import scales, services
from swarmops.cli.lazy import Group
from swarmops.cli.say import say
from swarmops.cli.service_create import create, detach_option, wait_for
from swarmops.cli.settings import Settings, common, formatted, inspected, on_fleet
from swarmops.cli.values import duration, scale

NAMES = click.argument(
    "names", metavar="SERVICE...", nargs=-1, required=True, shell_complete=services
)


@click.group(cls=Group)
def service() -> None:
    """List and change the services of the swarm."""


service.add_command(create)


@service.command("ls")
@common
@formatted
@on_fleet
def ls(settings: Settings) -> None:
    """List the services."""
    from swarmops.cli.output import SERVICE_COLUMNS, print_rows
    from swarmops.cli.session import open_swarm
    from swarmops.fleet.lists import all_services

    with open_swarm(settings) as swarm:
        print_rows(all_services(swarm.client), SERVICE_COLUMNS, settings.format)


@service.command("ps")
@NAMES
@common
@formatted
@on_fleet
def ps(settings: Settings, names: tuple[str, ...]) -> None:
    """List the tasks of services.

    Ended ones stand below the present ones, as long as they are kept.
    """
    from swarmops.cli.output import TASK_COLUMNS, print_rows
    from swarmops.cli.session import open_swarm
    from swarmops.fleet.lists import tasks_of_services

    with open_swarm(settings) as swarm:
        rows = tasks_of_services(swarm.client, names, datetime.now(UTC))
        print_rows(rows, TASK_COLUMNS, settings.format)


@service.command("inspect")
@NAMES
@common
@inspected
@on_fleet
def inspect(settings: Settings, names: tuple[str, ...], style: str) -> None:
    """Show everything about services, in the form of Docker's API."""
    from swarmops.cli.output import print_objects
    from swarmops.cli.session import open_swarm
    from swarmops.fleet.lists import find_service

    with open_swarm(settings) as swarm:
        services = swarm.client.services()
        print_objects([find_service(services, name) for name in names], style)


@service.command("logs")
@click.argument("name", metavar="SERVICE", shell_complete=services)
@click.option("-f", "--follow", is_flag=True, help="Go on with what comes")
@click.option(
    "-n", "--tail", type=click.IntRange(min=0), metavar="N", help="Only each task's last lines"
)
@click.option("--since", default="", help="Only later lines: 10m, or 2026-01-02T03:04:05Z")
@click.option("-t", "--timestamps", is_flag=True, help="Show when each line was written")
@common
@on_fleet
def logs(
    settings: Settings, name: str, *, follow: bool, tail: int | None, since: str, timestamps: bool
) -> None:
    """Show what a service's tasks print, on all nodes.

    Each line comes with its task and host. What went to stderr goes to stderr. If a node can't be
    asked, the rest is shown, then an error names it.

    \b
    Examples:
      swarmops service logs -f web
      swarmops service logs --since 10m -t web
    """
    from swarmops.cli.session import open_swarm
    from swarmops.fleet.logs import service_lines

    after = _since(since, datetime.now(UTC))
    with open_swarm(settings) as swarm:
        for line in service_lines(
            swarm.client, name, follow=follow, tail=tail, since=after, timestamps=timestamps
        ):
            origin = f"{line.origin}    | " if line.origin else ""
            head = f"{line.time} {origin}" if line.time else origin
            click.echo(head.encode() + line.data, nl=False, err=line.stderr)


def _since(text: str, now: datetime) -> str:
    """Turn a duration into a time; a time stays as it is."""
    if not text[:1].isdigit() or "-" in text or ":" in text:
        return text
    try:
        return str((now - timedelta(microseconds=duration(text) // 1000)).timestamp())
    except OverflowError:  # longer ago than there are dates: every line is later
        return ""


@service.command("scale")
@click.argument(
    "scales",
    metavar="SERVICE=REPLICAS...",
    nargs=-1,
    required=True,
    type=scale,
    shell_complete=scales,
)
@detach_option
@common
@on_fleet
def scale_(settings: Settings, scales: tuple[tuple[str, int], ...], *, detach: bool) -> None:
    """Set how many tasks services have, and wait until they run.

    \b
    Example:
      swarmops service scale web=5 worker=2
    """
    from swarmops.cli.session import open_swarm
    from swarmops.fleet.contradiction import of_scale
    from swarmops.fleet.lists import find_service
    from swarmops.fleet.scale import scaled

    with open_swarm(settings) as swarm:
        services = swarm.client.services()
        found = [(find_service(services, name), count) for name, count in scales]
        for one, count in found:
            swarm.client.change_service(one.id, scaled(count))
            click.echo(f"{one.spec.name} scaled to {count}")
            _warn(of_scale(swarm, str(one.spec.name), count))
        if not detach:
            wait_for(swarm.client, [str(one.spec.name) for one, _ in found])


@service.command("rebalance")
@NAMES
@click.option("-d", "--detach", is_flag=True, help="Don't wait until no task moves any more")
@click.option(
    "--timeout",
    type=duration,
    metavar="duration",
    default="10m",
    show_default=True,
    help="Wait no longer than this",
)
@common
@on_fleet
def rebalance_(settings: Settings, names: tuple[str, ...], *, detach: bool, timeout: int) -> None:
    """Move the fewest tasks that make services even, once.

    Even over zones and over nodes. Each starts anew before it stops. Returns when none
    moves any more; after --timeout it fails, and the swarm goes on.
    """
    from swarmops.cli.session import open_swarm
    from swarmops.fleet.rebalance import begin, rebalance
    from swarmops.fleet.waiting import Patience

    with open_swarm(settings) as swarm:
        for name in names:
            if detach:
                begin(swarm, name)
                click.echo(f"{name}: rebalancing has begun.")
                continue
            done = rebalance(swarm, name, Patience(timeout / 1e9), say)
            click.echo(done.sentence())


@service.command("rm")
@NAMES
@common
@on_fleet
def rm(settings: Settings, names: tuple[str, ...]) -> None:
    """Remove services; their tasks stop."""
    from swarmops.cli.session import open_swarm
    from swarmops.fleet.contradiction import of_removal
    from swarmops.fleet.lists import find_service

    with open_swarm(settings) as swarm:
        services = swarm.client.services()
        for one in [find_service(services, name) for name in names]:
            swarm.client.remove_service(one.id)
            click.echo(str(one.spec.name))
            _warn(of_removal(swarm, str(one.spec.name)))


def _warn(sentences: list[str]) -> None:
    for sentence in sentences:
        say(f"Warning: {sentence}")
