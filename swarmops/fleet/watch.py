"""Reconcile again and again: what ``swarmops watch`` does, without what one round is.

The loop decides when; the round, given by the command, reads the files, plans and applies. A round
that fails makes the next one wait longer, up to ten times the interval. What takes something away
is a person's to allow: it is told as drift, and does not keep the rest from being corrected.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

import msgspec

from swarmops.errors import Interrupted, SwarmopsError
from swarmops.fleet.applied import Applied
from swarmops.fleet.steps import Plan, Step

_log = logging.getLogger(__name__)
SLOWER_MAX = 10


class Round(msgspec.Struct, frozen=True, kw_only=True):
    """What a round came to: how many steps away from the playbook, and what failed."""

    drift: int = 0
    left: int = 0
    """Of these steps those that nobody has allowed: they take something away."""
    error: str = ""

    @property
    def text(self) -> str:
        """How far it was from the playbook."""
        if not self.drift:
            return "as it should be"
        return f"{self.drift} step{'s' * (self.drift != 1)} away from the playbook"


def round_of(plan: Plan, left: Sequence[Step] = (), applied: Applied | None = None) -> Round:
    """Return what a round came to; without ``applied`` it only looked.

    Raises Interrupted where the operator ended it.
    """
    said = [*plan.refusals, *(f"{of}: {why}" for of, why in plan.problems.items())]
    if applied is not None:
        if applied.interrupted:
            raise Interrupted("Interrupted in a round: the next apply does the rest.")
        said += [one for one in applied.refusals if one not in said]
        said += [*applied.failures.values(), *applied.lacks]
    return Round(drift=len(plan.steps), left=len(left), error="; ".join(filter(None, said)))


class Figures(msgspec.Struct):
    """What the watch has seen so far; for its metrics."""

    rounds: int = 0
    failures: int = 0
    drifted: int = 0
    """Rounds that found something to do."""
    last: Round = Round()
    last_good_s: float = 0.0
    """Unix seconds of the last round that ended well."""


def watch(
    one_round: Callable[[], Round],
    interval_s: float,
    *,
    sleep: Callable[[float], None],
    now: Callable[[], float],
    figures: Figures,
    on_round: Callable[[Round], None] = lambda _: None,
    rounds_max: int | None = None,
) -> None:
    """Run rounds for ever, or ``rounds_max`` of them; Interrupted and Ctrl-C end it.

    ``on_round`` hears of each, also of one that could not be begun: a playbook with a mistake, a
    pull that failed, a swarm that somebody has locked.
    """
    failed_in_a_row = 0
    while rounds_max is None or figures.rounds < rounds_max:
        try:
            ended = one_round()
        except Interrupted:
            raise
        except SwarmopsError as error:
            ended = Round(error=str(error))
        figures.rounds += 1
        _log.info("round %d: drift %d %s", figures.rounds, ended.drift, ended.error)
        figures.last = ended
        on_round(ended)
        figures.drifted += bool(ended.drift)
        if ended.error:
            figures.failures += 1
            failed_in_a_row += 1
        else:
            failed_in_a_row = 0
            figures.last_good_s = now()
        if figures.rounds != rounds_max:
            sleep(pause_s(interval_s, failed_in_a_row))


def pause_s(interval_s: float, failed_in_a_row: int) -> float:
    """Return how long to wait for the next round: twice as long for each failure in a row."""
    return float(interval_s * min(2**failed_in_a_row, SLOWER_MAX))
