"""``swarmops service …``: look at services and their output, create, scale, remove."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import click

from swarmops.cli.completing import constraints, scales, services, spreads
from swarmops.cli.lazy import Group
from swarmops.cli.say import say
from swarmops.cli.settings import Settings, common, formatted, inspected, on_fleet
from swarmops.cli.values import cpus, duration, scale, size

NAMES = click.argument(
    "names", metavar="SERVICE...", nargs=-1, required=True, shell_complete=services
)


@click.group(cls=Group)
def service() -> None:
    """List and change the services of the swarm."""


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
    return str((now - timedelta(microseconds=duration(text) // 1000)).timestamp())


def _text(*names: str, help_: str) -> Callable[..., Any]:
    return click.option(*names, help=help_)


def _list(*names: str, help_: str, **more: Any) -> Callable[..., Any]:
    return click.option(*names, multiple=True, help=help_, **more)


def _value(name: str, kind: Any, help_: str) -> Callable[..., Any]:
    metavar = kind.__name__ if callable(kind) and not isinstance(kind, click.ParamType) else None
    return click.option(name, type=kind, metavar=metavar, help=help_)


_COUNT = click.IntRange(0)
_MODES = click.Choice(["replicated", "global", "replicated-job", "global-job"])
_CREATE_OPTIONS = (
    _text("--name", help_="The service's name"),
    click.option(
        "--mode",
        type=_MODES,
        default="replicated",
        show_default=True,
        help="Replicas, one task a node, or a job",
    ),
    click.option("--replicas", type=_COUNT, metavar="N", help="Number of tasks"),
    click.option("--max-concurrent", type=_COUNT, metavar="N", help="Tasks of a job at once"),
    click.option(
        "--replicas-max-per-node", type=_COUNT, metavar="N", help="Most tasks on one node"
    ),
    _list("-l", "--label", help_="Label of the service, KEY=VALUE"),
    _list("--container-label", help_="Label of its containers, KEY=VALUE"),
    _list("-e", "--env", help_="Environment variable, KEY=VALUE"),
    _text("--entrypoint", help_="Replaces the image's entrypoint"),
    _text("--hostname", help_="Hostname of the containers"),
    _text("-u", "--user", help_="User, NAME or UID[:GID]"),
    _text("-w", "--workdir", help_="Working directory"),
    _text("--stop-signal", help_="Signal that asks it to stop"),
    _value("--stop-grace-period", duration, "Time from that signal to the kill"),
    click.option("--init/--no-init", default=None, help="Run an init in each container"),
    click.option("-t", "--tty", is_flag=True, default=None, help="Allocate a terminal"),
    click.option("--read-only", is_flag=True, default=None, help="Root file system read-only"),
    _list(
        "--constraint",
        help_="Where tasks may run, as in node.labels.disk==ssd",
        shell_complete=constraints,
    ),
    _list(
        "--placement-pref",
        help_="What to spread over, as in spread=node.labels.zone",
        shell_complete=spreads,
    ),
    _list("-p", "--publish", help_="Publish a port, as in 8080:80"),
    click.option("--endpoint-mode", type=click.Choice(["vip", "dnsrr"]), help="How it is reached"),
    _value("--limit-cpu", cpus, "Most CPUs of a task"),
    _value("--limit-memory", size, "Most memory of a task"),
    click.option("--limit-pids", type=_COUNT, metavar="N", help="Most processes of a task"),
    _value("--reserve-cpu", cpus, "CPUs kept for a task"),
    _value("--reserve-memory", size, "Memory kept for a task"),
    click.option(
        "--restart-condition",
        type=click.Choice(["none", "on-failure", "any"]),
        help="When an ended task is replaced",
    ),
    _value("--restart-delay", duration, "Pause before the replacement"),
    click.option("--restart-max-attempts", type=_COUNT, metavar="N", help="Most replacements"),
    _value("--restart-window", duration, "Time over which they are counted"),
    click.option("--update-parallelism", type=_COUNT, metavar="N", help="Tasks updated at once"),
    _value("--update-delay", duration, "Pause between updates"),
    click.option(
        "--update-order",
        type=click.Choice(["start-first", "stop-first"]),
        help="Order of an update",
    ),
    click.option(
        "--update-failure-action",
        type=click.Choice(["pause", "continue", "rollback"]),
        help="What to do when an update fails",
    ),
    _value("--update-monitor", duration, "How long an updated task is watched"),
)


def _create_options(command: Callable[..., Any]) -> Callable[..., Any]:
    for option in reversed(_CREATE_OPTIONS):
        command = option(command)
    return command


_detach = click.option("-d", "--detach", is_flag=True, help="Don't wait until its tasks run")


@service.command("create", context_settings={"allow_interspersed_args": False})
@click.argument("image")
@click.argument("args", metavar="[COMMAND] [ARG]...", nargs=-1)
@_create_options
@_detach
@common
@on_fleet
def create(settings: Settings, /, *, detach: bool, entrypoint: str | None, **flags: Any) -> None:
    """Create a service of an image, and wait until its tasks run.

    The image 'host' runs COMMAND without a container. Options come before the image; everything
    after it is the command.

    \b
    Examples:
      swarmops service create --name web -p 8080:80 --replicas 3 nginx:1.27
      swarmops service create --name ping host ping -c 3 192.0.2.1
    """
    import shlex

    from swarmops.cli.session import open_swarm
    from swarmops.fleet.flags import ServiceFlags, service_spec

    words = tuple(shlex.split(entrypoint)) if entrypoint else ()
    spec = service_spec(ServiceFlags(entrypoint=words, **flags))
    with open_swarm(settings) as swarm:
        service_id = swarm.client.create_service(spec)
        click.echo(service_id)
        if not detach:
            _wait(swarm.client, [str(swarm.client.service(service_id).spec.name)])


@service.command("scale")
@click.argument(
    "scales",
    metavar="SERVICE=REPLICAS...",
    nargs=-1,
    required=True,
    type=scale,
    shell_complete=scales,
)
@_detach
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
            _wait(swarm.client, [str(one.spec.name) for one, _ in found])


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


def _wait(client: Any, names: list[str]) -> None:
    from swarmops.errors import SwarmopsError
    from swarmops.fleet.converge import wait_for_services

    left = wait_for_services(client, names)
    if left:
        raise SwarmopsError(f"{left}; the swarm goes on trying")
