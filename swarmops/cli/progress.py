"""Show what an apply does while it does it, on stderr: lines, or a live table on a terminal.

Used by apply and destroy. Never decides anything, never writes to stdout.
"""

from __future__ import annotations

import contextlib
import logging
import sys
import time
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Self

import click

from swarmops.errors import InputError, SwarmopsError
from swarmops.fleet.execute import Ended, State
from swarmops.fleet.opened import Progress
from swarmops.fleet.plan_text import step_line
from swarmops.fleet.steps import Plan, Step, StepKind
from swarmops.model.node import Role

_log = logging.getLogger("swarmops.run")
_DOING = {
    StepKind.INSTALL: "installing the runtime",
    StepKind.START: "starting the runtime",
    StepKind.INIT: "making the swarm",
    StepKind.JOIN: "joining",
    StepKind.LEAVE: "leaving its old swarm",
    StepKind.UPDATE_NODE: "setting labels and availability",
    StepKind.REMOVE_NODE: "forgetting its old node",
    StepKind.CREATE_SERVICE: "creating the service",
    StepKind.UPDATE_SERVICE: "updating the service",
    StepKind.REMOVE_SERVICE: "removing the service",
    StepKind.CREATE_NETWORK: "creating the network",
    StepKind.CREATE_SECRET: "creating the secret",
    StepKind.CREATE_CONFIG: "creating the config",
    StepKind.REMOVE_SECRET: "removing the old secret",
    StepKind.REMOVE_CONFIG: "removing the old config",
}
_MARKS = {
    State.DONE: "done",
    State.UNNEEDED: "already so",
    State.FAILED: "FAILED",
    State.SKIPPED: "skipped",
    State.NOT_BEGUN: "not begun",
}


def doing(step: Step) -> str:
    """Return what a step does, in a few words."""
    if step.kind is StepKind.UPDATE_NODE and step.role is not None:
        return "promoting" if step.role is Role.MANAGER else "demoting"
    if step.kind is StepKind.JOIN and step.role is not None:
        return f"joining as {step.role.value}"
    return _DOING[step.kind]


def ending(ended: Ended) -> str:
    """Return how a step ended, in a few words."""
    text = _MARKS[ended.state]
    if ended.state is State.DONE:
        text += f" ({ended.seconds:.1f} s)"
    return f"{text}: {ended.reason}" if ended.reason else text


class Shown(Progress):
    """Base of both kinds: a context manager around what is shown."""

    def __init__(self, *, yes: bool = False, verbose: bool = False) -> None:
        self._said: set[str] = set()
        self._yes = yes
        self._verbose = verbose
        self._since = time.monotonic()
        self._current = ""
        self.spent: dict[str, float] = {}
        """Seconds by what was being done: ``looking``, ``doing``, ``waiting``."""

    def log(self, text: str) -> None:
        """Write to the run's log only."""
        _log.info("%s", text)

    def phase(self, text: str) -> None:
        """Count the time of what was done before."""
        self.count()
        self._current = text.split(" ", 1)[0]
        self.log(text)

    def count(self) -> dict[str, float]:
        """Return the seconds by phase, up to now."""
        now = time.monotonic()
        if self._current:
            self.spent[self._current] = self.spent.get(self._current, 0.0) + now - self._since
        self._since = now
        return self.spent

    def host(self, name: str, error: str) -> None:
        """Note that a host was looked at."""
        self.log(f"{name}: {error or 'seen'}")

    def began(self, step: Step) -> None:
        """Note that a step begins."""
        self.log(f"{step.id}: {doing(step)}, since {step.reason}")
        if self._verbose:
            self.say(f"{step.target}: {doing(step)} …")

    def ended(self, ended: Ended) -> None:
        """Note how a step ended."""
        self.log(f"{ended.step.id}: {ending(ended)}")

    @property
    def asks(self) -> bool:
        """Whether somebody is asked: not after ``--yes``."""
        return not self._yes

    def allow(self, steps: Sequence[Step]) -> None:
        """Ask about what would be taken away, unless ``--yes`` said so already."""
        if self._yes:
            return
        what = "\n".join(f"  {step_line(step)}" for step in steps)
        if not sys.stdin.isatty():
            raise InputError(
                f"this is asked about first, and nobody is here to answer: give --yes\n{what}"
            )
        with self.paused():
            click.echo(f"This takes something away:\n{what}", err=True)
            if not click.confirm("Go on?", err=True):
                raise SwarmopsError("not confirmed: nothing was changed")

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Leave the terminal to somebody else for a while."""
        yield

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop showing."""

    def planned(self, plan: Plan) -> None:
        """Say the warnings before anything is done, each once however often it is planned."""
        for step in plan.steps:
            self.log(step_line(step))
        for of, problem in plan.problems.items():
            self.log(f"{of}: {problem}")
        for warning in plan.warnings:
            if warning not in self._said:
                self._said.add(warning)
                self.say(f"Warning: {warning}")

    def stopping(self, running: Sequence[Step]) -> None:
        """Say what is waited for after Ctrl-C."""
        steps = ", ".join(f"{step.target} ({doing(step)})" for step in running)
        self.say(f"Stopping; what runs comes to its end first: {steps or 'nothing'}")

    def say(self, text: str) -> None:
        """Show one line that stays."""
        self.log(text)
        click.echo(text, err=True)


class Lines(Shown):
    """A line for each thing that was done: for logs and pipes."""

    def phase(self, text: str) -> None:
        """Say what is being done now."""
        super().phase(text)
        click.echo(text, err=True)

    def host(self, name: str, error: str) -> None:
        """Say it of each host where more is wanted."""
        super().host(name, error)
        if self._verbose:
            click.echo(f"{name}: {error or 'seen'}", err=True)

    def ended(self, ended: Ended) -> None:
        """Say how a step ended; what was not even begun is summed up by the report."""
        super().ended(ended)
        if ended.state is not State.NOT_BEGUN:
            self._show(f"{ended.step.target}: {doing(ended.step)}: {ending(ended)}")

    @staticmethod
    def _show(text: str) -> None:
        click.echo(text, err=True)


def make_progress(*, yes: bool = False, verbose: bool = False) -> Shown:
    """Return what fits where stderr goes; ``yes``: nothing is asked."""
    from swarmops.cli.live_table import LiveTable
    from swarmops.fleet.credentials import of_this_run

    shown = (LiveTable if sys.stderr.isatty() else Lines)(yes=yes, verbose=verbose)
    of_this_run().paused = shown.paused
    return shown
