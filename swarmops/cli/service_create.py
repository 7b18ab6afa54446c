"""``swarmops service create``, with Docker's options, and what waits for a service's tasks.

A part of ``service``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from swarmops.cli.completing import constraints, spreads
from swarmops.cli.registry import login_of, registry_auth_option
from swarmops.cli.settings import Settings, common, on_fleet
from swarmops.cli.values import cpus, duration, size, words


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
    click.option(
        "--entrypoint", type=words, metavar="TEXT", help="Replaces the image's entrypoint"
    ),
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


detach_option = click.option("-d", "--detach", is_flag=True, help="Don't wait until its tasks run")


@click.command("create", context_settings={"allow_interspersed_args": False})
@click.argument("image")
@click.argument("args", metavar="[COMMAND] [ARG]...", nargs=-1)
@_create_options
@detach_option
@registry_auth_option
@common
@on_fleet
def create(
    settings: Settings,
    /,
    *,
    detach: bool,
    registry_auth: bool,
    entrypoint: tuple[str, ...] | None,
    **flags: Any,
) -> None:
    """Create a service of an image, and wait until its tasks run.

    The image 'host' runs COMMAND without a container. Options come before the image; everything
    after it is the command.

    \b
    Examples:
      swarmops service create --name web -p 8080:80 --replicas 3 nginx:1.27
      swarmops service create --name ping host ping -c 3 192.0.2.1
    """
    from swarmops.cli.session import open_swarm
    from swarmops.fleet.flags import ServiceFlags, service_spec
    from swarmops.model.defaults import image, task_spec

    spec = service_spec(ServiceFlags(entrypoint=entrypoint or (), **flags))
    auth = login_of(registry_auth=registry_auth)(image(task_spec(spec)))
    with open_swarm(settings) as swarm:
        service_id = swarm.client.create_service(spec, registry_auth=auth)
        click.echo(service_id)
        if not detach:
            wait_for(swarm.client, [str(swarm.client.service(service_id).spec.name)])


def wait_for(client: Any, names: list[str]) -> None:
    """Wait until the tasks of services run. Raises SwarmopsError if they don't, in time."""
    from swarmops.errors import SwarmopsError
    from swarmops.fleet.converge import wait_for_services

    left = wait_for_services(client, names)
    if left:
        raise SwarmopsError(f"{left}; the swarm goes on trying")
