"""What apply says at its end: what was done, what went wrong and why, how the swarm stands."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from swarmops.cli.output import NODE_COLUMNS, SERVICE_COLUMNS, print_json, print_rows
from swarmops.cli.progress import doing
from swarmops.cli.say import say
from swarmops.fleet.applied import Applied
from swarmops.fleet.execute import State

SHOWN_S = 0.05
HINTS = ("status", "node ls", "service ps {name}", "plan")


def program() -> str:
    """Return how the program is called from here: ``swarmops``, or its path off the PATH."""
    called = sys.argv[0]
    if Path(called).name != "swarmops" or shutil.which("swarmops") == str(Path(called).absolute()):
        return "swarmops"
    return called


def print_applied(
    applied: Applied, seconds: float, spent: Mapping[str, float] | None = None
) -> None:
    """Print tables on stdout, what went wrong on stderr.

    The warnings were said when the plan was made, which a refused one never was.
    """
    if applied.refusals:
        _print_refused(applied)
        return
    if applied.nodes:
        print_rows(applied.nodes, NODE_COLUMNS, "table")
    if applied.services:
        click.echo()
        print_rows(applied.services, SERVICE_COLUMNS, "table")
    if applied.nodes:
        click.echo()
    _print_outcome(applied, seconds, spent or {})


def _print_refused(applied: Applied) -> None:
    for warning in applied.warnings:
        say(f"Warning: {warning}")
    for refusal in applied.refusals:
        say(f"Error: {refusal}")
    for host, reason in applied.problems.items():
        say(f"Error: {host}: {reason}")
    if not applied.changed:
        say("Nothing was changed.")


def _print_outcome(applied: Applied, seconds: float, spent: Mapping[str, float]) -> None:
    for end in applied.ended:
        if end.state is State.FAILED:
            say(f"Error: {end.step.target}: {doing(end.step)}: {end.reason}")
    for reason, targets in _skipped(applied).items():
        say(f"Left out, since {reason}: {', '.join(targets)}")
    for host, reason in applied.problems.items():
        say(f"Error: {host}: {reason}")
    for lack in applied.lacks:
        say(f"Error: not so in time: {lack}")
    _print_end(applied, seconds, spent)


def _print_end(applied: Applied, seconds: float, spent: Mapping[str, float]) -> None:
    if applied.interrupted:
        done = [f"{e.step.target}: {doing(e.step)}" for e in applied.ended if e.succeeded]
        say(f"Interrupted. Done: {'; '.join(done) or 'nothing'}.")
        say("The next apply does the rest.")
    elif applied.exit_code and not applied.more:
        click.echo("Some of it is not as the playbook says; apply again once that is cured.")
    elif applied.more:
        click.echo("The plan is carried out, and there is more to do: make another plan.")
    elif applied.changed:
        count = sum(end.state is State.DONE for end in applied.ended)
        steps = f"{count} step{'s' * (count != 1)}"
        timing = _timing(applied, spent)
        click.echo(f"Done: {steps} in {seconds:.1f} s{timing}. Look further:")
        name = applied.services[0].name if applied.services else "NAME"
        for hint in HINTS:
            click.echo(f"    {program()} {hint.format(name=name)}")
    else:
        click.echo("Nothing needs doing: the swarm is as the playbook says.")


def _timing(applied: Applied, spent: Mapping[str, float]) -> str:
    """Return where the time went: the phases, and the step that took longest."""
    parts = [f"{phase} {seconds:.1f} s" for phase, seconds in spent.items() if seconds >= SHOWN_S]
    slowest = max(applied.ended, key=lambda end: end.seconds, default=None)
    if slowest is not None and slowest.seconds >= SHOWN_S:
        parts.append(
            f"longest {doing(slowest.step)} on {slowest.step.target} {slowest.seconds:.1f} s"
        )
    return f" ({', '.join(parts)})" if spent and parts else ""


def _skipped(applied: Applied) -> dict[str, dict[str, None]]:
    """Return whose steps were skipped, in order, by the failure behind it."""
    skipped: dict[str, dict[str, None]] = {}
    for end in applied.ended:
        if end.state is State.SKIPPED:
            skipped.setdefault(end.reason, {})[end.step.target] = None
    return skipped


def print_applied_json(applied: Applied, seconds: float = 0.0) -> None:
    """Print everything as one JSON object on stdout."""
    report: dict[str, Any] = {
        "changed": applied.changed,
        "exit_code": applied.exit_code,
        "seconds": round(seconds, 3),
        "interrupted": applied.interrupted,
        "steps": [
            {
                "id": end.step.id,
                "target": end.step.target,
                "state": end.state.value,
                "reason": end.reason,
                "seconds": round(end.seconds, 3),
            }
            for end in applied.ended
        ],
        "warnings": applied.warnings,
        "refusals": applied.refusals,
        "problems": applied.problems,
        "lacks": applied.lacks,
        "nodes": applied.nodes,
        "services": applied.services,
    }
    print_json(report)
