"""``swarmops watch``: keep the swarm as the playbook says, round after round."""

from __future__ import annotations

import subprocess
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from swarmops.cli.files import chosen, inventory_argument, playbook_option
from swarmops.cli.registry import login_of, registry_auth_option
from swarmops.cli.say import say
from swarmops.cli.selecting import selecting
from swarmops.cli.settings import Settings, common, on_fleet
from swarmops.cli.values import pause

if TYPE_CHECKING:
    from swarmops.fleet.apply import Options
    from swarmops.fleet.current import Choice
    from swarmops.fleet.selection import Wanted
    from swarmops.fleet.watch import Figures, Round

_GIT_WITHIN_S = 120


@click.command()
@inventory_argument
@playbook_option
@selecting
@click.option(
    "--interval",
    type=pause,
    metavar="duration",
    default="60s",
    show_default=True,
    help="Between two rounds",
)
@click.option("--git", is_flag=True, help="Pull the inventory's repository before each round")
@click.option("--check", is_flag=True, help="Report drift, change nothing")
@click.option("--yes", is_flag=True, help="Also do what takes something away")
@registry_auth_option
@click.option(
    "--metrics-port", type=click.IntRange(1, 65535), metavar="N", help="Serve metrics on this port"
)
@click.option(
    "--rounds", type=click.IntRange(min=1), metavar="N", help="End after so many  [default: never]"
)
@common
@on_fleet
def watch(
    settings: Settings,
    inventory: Path | None,
    playbooks: tuple[Path, ...],
    forks: int,
    *,
    wanted: Wanted,
    interval: int,
    git: bool,
    check: bool,
    yes: bool,
    registry_auth: bool,
    metrics_port: int | None,
    rounds: int | None,
) -> None:
    """Apply again and again, and report what had drifted.

    The files are read anew for each round. After a round that failed the next one comes later, up
    to ten times the interval. Without --yes, what takes something away is only reported.

    \b
    Examples:
      swarmops watch inventories/prod.yml --interval 5m --git
      swarmops watch --check --metrics-port 9323
    """
    from swarmops.fleet.apply import Options
    from swarmops.fleet.watch import Figures
    from swarmops.fleet.watch import watch as watch_on

    choice = chosen(settings, inventory)
    interval_s = interval / 1e9
    login = login_of(registry_auth=registry_auth)
    figures = Figures()
    if metrics_port is not None:
        _serve_metrics(metrics_port, figures)

    def one_round() -> Round:
        if git:
            _pull(choice)
        named = playbooks or choice.playbooks
        options = Options(playbooks=named, reason="watch", login=login)
        return _round(choice, options, forks, wanted, check=check, yes=yes)

    def tell(ended: Round) -> None:
        at = datetime.now(UTC).isoformat(timespec="seconds")
        if ended.error:
            # One that could not look, or not everywhere, can't say that it is as it should be.
            say(f"{at} {f'{ended.text}: ' if ended.drift else ''}Error: {ended.error}")
        else:
            click.echo(f"{at} {ended.text}{'' if check else _corrected(ended)}")

    watch_on(
        one_round,
        interval_s,
        sleep=time.sleep,
        now=time.time,
        figures=figures,
        on_round=tell,
        rounds_max=rounds,
    )
    if figures.last.error:
        raise click.exceptions.Exit(1)


def _corrected(ended: Round) -> str:
    if not ended.left:
        return ": corrected" if ended.drift else ""
    done = f"{ended.drift - ended.left} corrected, " if ended.drift != ended.left else ""
    return f": {done}{ended.left} left, which --yes allows"


def _round(
    choice: Choice,
    options: Options,
    forks: int,
    wanted: Wanted,
    *,
    check: bool,
    yes: bool,
) -> Round:
    """Read the files anew, look, and apply what is missing."""
    from msgspec.structs import replace

    from swarmops.cli.progress import make_progress
    from swarmops.fleet.apply import apply as apply_fleet
    from swarmops.fleet.opened import Progress, look, open_fleet
    from swarmops.fleet.selection import spared
    from swarmops.fleet.shells import Shells
    from swarmops.fleet.watch import round_of

    if choice.inventory is None:
        raise AssertionError("chosen() saw to it")
    with Shells() as shells:
        fleet = open_fleet(choice.inventory, options.playbooks, shells, forks, wanted)
        _, plan = look(fleet, Progress())
        able, left = (plan.steps, ()) if yes else spared(plan.steps)
        for step in plan.steps:
            more = " (left alone without --yes)" if step in left else ""
            say(f"drift: {step.target}: {step.kind.value}: {step.reason}{more}")
        if check or not able:
            return round_of(plan, left)
        if left:
            fleet = replace(fleet, selection=replace(fleet.selection, spare=True))
        with make_progress(yes=yes) as progress:
            applied = apply_fleet(fleet, progress, options)
    return round_of(plan, left, applied)


def _pull(choice: Choice) -> None:
    from swarmops.errors import SwarmopsError

    path = (choice.inventory or Path()).absolute()
    folder = path if path.is_dir() else path.parent
    argv = ["git", "-C", str(folder), "pull", "--ff-only", "--quiet"]
    try:
        done = subprocess.run(
            argv,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            timeout=_GIT_WITHIN_S,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise SwarmopsError(f"git pull in {folder} failed: {error}") from error
    if done.returncode != 0:
        last = done.stderr.strip().splitlines()[-1:]
        raise SwarmopsError(f"git pull in {folder} failed: {''.join(last)}")


def _serve_metrics(port: int, figures: Figures) -> None:
    from prometheus_client import CollectorRegistry, start_http_server
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
    from prometheus_client.registry import Collector

    class Watching(Collector):
        def collect(self) -> list[Metric]:
            return [
                CounterMetricFamily("swarmops_watch_rounds", "Rounds.", value=figures.rounds),
                CounterMetricFamily("swarmops_watch_failures", "Failed.", value=figures.failures),
                CounterMetricFamily(
                    "swarmops_watch_drifted", "Rounds that found drift.", value=figures.drifted
                ),
                GaugeMetricFamily(
                    "swarmops_watch_drift_steps",
                    "Steps that the last round found missing.",
                    value=figures.last.drift,
                ),
                GaugeMetricFamily(
                    "swarmops_watch_last_success_timestamp_seconds",
                    "When a round last ended well.",
                    value=figures.last_good_s,
                ),
            ]

    registry = CollectorRegistry()
    registry.register(Watching())
    from swarmops.errors import InputError

    try:
        start_http_server(port, registry=registry)
    except OSError as error:
        raise InputError(f"metrics can't be served on port {port}: {error.strerror}") from error
