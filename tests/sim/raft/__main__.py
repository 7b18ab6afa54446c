"""``python -m tests.sim.raft``: run seeds on all cores, or replay one with its trace.

python -m tests.sim.raft --seeds 1000            seeds 0..999
python -m tests.sim.raft --seconds 60            as many as fit
python -m tests.sim.raft --seed 42               one, with the end of its trace when it fails
python -m tests.sim.raft --seed 42 --messages    and every message

A run says how far it is every half a minute; one that a signal ends early still tells its sums.
"""

# ruff: noqa: T201 - a command prints

from __future__ import annotations

import argparse
import gc
import multiprocessing
import os
import signal
import sys
import time
import traceback
from collections import Counter
from collections.abc import Iterator

from tests.sim.raft.world import Failure, Report, simulate

_LINES = 150
_PROGRESS_S = 30.0
_ENDING = (signal.SIGTERM, signal.SIGINT)


def command(seed: int) -> str:
    """Spell what replays a seed."""
    return f".venv/bin/python -m tests.sim.raft --seed {seed}"


def explain(failure: Failure, last: int | None = _LINES, *, replay: str = "") -> str:
    """Say what failed, how it came to it, and how to see it again (``replay``: if no seed)."""
    cause = "".join(traceback.format_exception(failure.cause)[-12:])
    lines = "\n".join(failure.trace.lines(last))
    return (
        f"{lines}\n\n{cause}\nseed {failure.seed} fails: {failure.cause}\n"
        f"replay: {replay or command(failure.seed)}\n"
    )


def _one(seed: int) -> Report | tuple[int, str]:
    try:
        return simulate(seed)
    except Failure as failure:
        return seed, explain(failure)


class Total:
    """Sums over seeds."""

    def __init__(self) -> None:
        self.seeds = self.acknowledged = self.unknown = self.reads = 0
        self.elections = self.undecided = 0
        self.virtual_s = 0.0
        self.faults: Counter[str] = Counter()
        self.failed: list[int] = []
        self.began = self._told = time.monotonic()

    def add(self, outcome: Report | tuple[int, str]) -> None:
        """Take one seed's outcome."""
        self.seeds += 1
        if isinstance(outcome, tuple):
            self.failed.append(outcome[0])
            print(outcome[1], flush=True)
            return
        self.virtual_s += outcome.virtual_s
        self.acknowledged += outcome.acknowledged
        self.unknown += outcome.unknown
        self.reads += outcome.reads
        self.elections += outcome.elections
        self.undecided += outcome.undecided
        self.faults += outcome.faults

    def progress(self) -> str:
        """Say in a line how far this is."""
        wall_s = time.monotonic() - self.began
        return (
            f"{self.seeds} seeds, {len(self.failed)} failed, in {wall_s:.0f} s: "
            f"{self.virtual_s / 3600:.2f} virtual hours"
        )

    def tell_progress(self) -> None:
        """Print that line, when the last one is old enough."""
        now = time.monotonic()
        if now - self._told >= _PROGRESS_S:
            self._told = now
            print(self.progress(), flush=True)

    def lines(self) -> list[str]:
        """Spell the sums."""
        return [
            self.progress(),
            f"{self.elections} leaders elected",
            f"{self.acknowledged} writes acknowledged, {self.unknown} of unknown outcome",
            f"{self.reads} reads, {self.undecided} histories too large to decide",
            *(f"  {count:>9}  {kind}" for kind, count in sorted(self.faults.items())),
            *([f"failed seeds: {sorted(self.failed)}"] if self.failed else []),
        ]


def main() -> int:
    """Parse, run, tell; 1 when a seed failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.sim.raft")
    parser.add_argument("--seed", type=int, help="replay this one")
    parser.add_argument("--messages", action="store_true", help="trace every message")
    parser.add_argument("--all", action="store_true", help="show the whole trace")
    parser.add_argument("--seeds", type=int, default=100)
    parser.add_argument("--start", type=int, default=0, help="the first seed")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="begin none after this")
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("--keep-going", action="store_true", help="do not stop at a failure")
    options = parser.parse_args()
    if options.seed is not None:
        return _replay(options)
    total = Total()
    for number in _ENDING:
        signal.signal(number, _end)
    seeds = range(options.start, options.start + options.seeds)
    with multiprocessing.get_context("fork").Pool(options.jobs, _begin) as pool:
        try:
            _add_up(pool.imap_unordered(_one, seeds), options, total)
        except KeyboardInterrupt:
            print("ended by a signal", flush=True)
        print("\n".join(total.lines()), flush=True)
    return 1 if total.failed else 0


def _add_up(
    outcomes: Iterator[Report | tuple[int, str]], options: argparse.Namespace, total: Total
) -> None:
    """Add up seeds until all are done, the time is up, or one fails."""
    for outcome in outcomes:
        total.add(outcome)
        total.tell_progress()
        out_of_time = time.monotonic() - total.began > options.seconds
        if out_of_time or (total.failed and not options.keep_going):
            return


def _end(_number: int, _frame: object) -> None:
    """End the run, once: make sends on what its whole group was sent already."""
    for number in _ENDING:
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


def _begin() -> None:
    """Prepare a process: signals end it, what is imported stays."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    gc.freeze()


def _replay(options: argparse.Namespace) -> int:
    try:
        report = simulate(options.seed, detailed=options.messages)
    except Failure as failure:
        print(explain(failure, None if options.all else _LINES))
        return 1
    print(report)
    return 0


if __name__ == "__main__":
    sys.exit(main())
