"""One command on many hosts at once, each one's output kept together.

Called by ``swarmops exec``. The command runs as the inventory says: as root where it says become.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence

import msgspec

from swarmops.backends.base import Result
from swarmops.errors import SwarmopsError
from swarmops.fleet.observe import reason_of
from swarmops.fleet.pool import FORKS, run_on
from swarmops.fleet.shells import Shells
from swarmops.fleet.target import Target

_log = logging.getLogger(__name__)


class Ran(msgspec.Struct, frozen=True, kw_only=True):
    """How the command ended on one host; ``rc`` is None where it could not be run (``error``)."""

    host: str
    rc: int | None = None
    stdout: str = ""
    stderr: str = ""
    error: str = ""

    @property
    def ok(self) -> bool:
        """It ran and exited with 0."""
        return self.rc == 0


def run_everywhere(
    targets: Iterable[Target],
    shells: Shells,
    command: Sequence[str],
    *,
    timeout_s: float,
    forks: int = FORKS,
    on_done: Callable[[Ran], None] = lambda ran: None,  # noqa: ARG005 - its meaning
) -> list[Ran]:
    """Run an argument list on every target; ``on_done`` hears of each as it ends.

    Raises Interrupted after Ctrl-C.
    """
    ended: dict[str, Ran] = {}

    def hear(name: str, outcome: Result | SwarmopsError) -> None:
        ended[name] = _ran(name, outcome)
        # Never its words or its output: people put secrets there.
        _log.debug("%s: a command ended with %s", name, ended[name].rc)
        on_done(ended[name])

    run_on(
        targets,
        lambda target: shells.of(target).run(list(command), timeout_s=timeout_s),
        forks=forks,
        on_done=hear,
    )
    return list(ended.values())


def _ran(name: str, outcome: Result | SwarmopsError) -> Ran:
    if isinstance(outcome, SwarmopsError):
        return Ran(host=name, error=reason_of(outcome))
    return Ran(
        host=name,
        rc=outcome.rc,
        stdout=outcome.stdout.decode(errors="replace"),
        stderr=outcome.stderr.decode(errors="replace"),
    )
