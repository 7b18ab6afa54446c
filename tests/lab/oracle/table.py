"""The table: every scenario once, and the run of all of them on both sides at once.

A module of scenarios registers each with `@scenario`, and its docstring is the promise. These run
many at a time; those marked `@alone` change nodes, so they run after all the others, one at a time
on each side.
"""

from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import NamedTuple

from tests.lab.oracle.case import Case
from tests.lab.oracle.side import Kind, Side

AT_ONCE = 8
"""Scenarios of one side at a time."""


class Scenario(NamedTuple):
    """One row: how it is shown, and whether it needs the swarm to itself."""

    number: int
    show: Callable[[Case], None]
    alone: bool

    @property
    def name(self) -> str:
        """The function's name, by which it is chosen on the command line."""
        return self.show.__name__


SCENARIOS: list[Scenario] = []


Show = Callable[[Case], None]


def scenario(show: Show) -> Show:
    """Register a scenario; its docstring is what it promises."""
    return _register(show, alone=False)


def alone(show: Show) -> Show:
    """Register a scenario that changes nodes."""
    return _register(show, alone=True)


def _register(show: Show, *, alone: bool) -> Show:
    SCENARIOS.append(Scenario(len(SCENARIOS) + 1, show, alone))
    return show


class Run:
    """A run of chosen scenarios; each result is there once both phases got to it."""

    def __init__(self, sides: Mapping[Kind, Side], chosen: Iterable[tuple[Scenario, Kind]]) -> None:
        self._results: dict[tuple[str, Kind], Future[None]] = {}
        self._pools: list[ThreadPoolExecutor] = []
        by_side: dict[Kind, list[Scenario]] = {}
        for each, kind in chosen:
            by_side.setdefault(kind, []).append(each)
        for kind, scenarios in by_side.items():
            self._start(sides[kind], scenarios)

    def _start(self, side: Side, scenarios: list[Scenario]) -> None:
        """Start one side's scenarios: the shared phase, and behind it the lonely one."""
        together = ThreadPoolExecutor(AT_ONCE)
        lonely = ThreadPoolExecutor(1)
        self._pools += [together, lonely]
        first = {
            (each.name, side.kind): together.submit(_show, each, side)
            for each in scenarios
            if not each.alone
        }
        self._results |= first
        lonely.submit(wait, list(first.values()))
        self._results |= {
            (each.name, side.kind): lonely.submit(_show, each, side)
            for each in scenarios
            if each.alone
        }

    def result(self, name: str, kind: Kind) -> None:
        """Wait for a scenario to end; raise what it raised."""
        self._results[name, kind].result()

    def close(self) -> None:
        """Start nothing more and wait for what runs."""
        for pool in self._pools:
            pool.shutdown(wait=True, cancel_futures=True)


def _show(each: Scenario, side: Side) -> None:
    """Show one scenario on one side."""
    case = Case(side, f"s{each.number}")
    try:
        each.show(case)
    finally:
        case.clean()
