"""Run a plan's steps: each as soon as what it waits for has ended, many at once, bounded.

Called by apply with a function that does one step. A step that fails stops only those that need
it, and each of them is named. Ctrl-C begins nothing new and lets what runs come to its end.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from enum import Enum

import msgspec

from swarmops.errors import HostError, SwarmopsError
from swarmops.fleet.pool import FORKS
from swarmops.fleet.steps import Step, StepKind
from swarmops.model.node import Role
from swarmops.model.resolved import resolve_types


class State(Enum):
    """How a step ended. ``unneeded``: its aim was reached already when its turn came."""

    DONE = "done"
    UNNEEDED = "unneeded"
    FAILED = "failed"
    SKIPPED = "skipped"
    NOT_BEGUN = "not begun"


class Ended(msgspec.Struct, frozen=True, kw_only=True):
    """A step's end; ``reason`` says why it failed, was skipped or not begun."""

    step: Step
    state: State
    reason: str = ""
    seconds: float = 0.0

    @property
    def succeeded(self) -> bool:
        """Steps that come after this one may go on."""
        return self.state in {State.DONE, State.UNNEEDED}


class Watcher:
    """Hears what happens, in the thread that called ``execute``; overridden by who shows it."""

    def began(self, step: Step) -> None:
        """Learn that a step begins."""

    def ended(self, ended: Ended) -> None:
        """Learn how a step ended."""

    def stopping(self, running: Sequence[Step]) -> None:
        """Learn that Ctrl-C came, and which steps are let come to their end."""


Do = Callable[[Step], bool]
"""Does a step; returns whether anything had to be done; raises SwarmopsError where it can't."""


class Executed(msgspec.Struct, frozen=True):
    """How every step ended, in the plan's order; ``interrupted`` by Ctrl-C."""

    ended: tuple[Ended, ...]
    interrupted: bool = False


def execute(
    steps: Sequence[Step],
    do: Do,
    *,
    watcher: Watcher | None = None,
    forks: int = FORKS,
    clock: Callable[[], float] = time.monotonic,
) -> Executed:
    """Run all steps; an error that is no SwarmopsError is a defect and is raised as it is."""
    known = {step.id for step in steps}
    if any(earlier not in known for step in steps for earlier in (*step.after, *step.follows)):
        raise ValueError("a step waits for one that is not in the plan")
    run = _Run(steps, do, watcher or Watcher(), forks, clock)
    interrupted = False
    try:
        run.go()
    except KeyboardInterrupt:
        interrupted = True
        run.finish()
    finally:
        run.close()
    for step in steps:
        if step.id not in run.results:
            run.end(Ended(step=step, state=State.NOT_BEGUN, reason="interrupted before it began"))
    return Executed(tuple(run.results[step.id] for step in steps), interrupted)


def blocked(step: Step, results: Mapping[str, Ended]) -> str:
    """Return why a step can never run, given how others ended; empty if it still may.

    The reason is the first failure in the row, not the skips that came of it.
    """
    for earlier in step.after:
        ended = results.get(earlier)
        if ended is None or ended.succeeded:
            continue
        if ended.state is State.SKIPPED:
            return ended.reason
        return f"{_noun(ended.step)} of {ended.step.target} {ended.state.value}"
    return ""


def _noun(step: Step) -> str:
    if step.kind is StepKind.UPDATE_NODE and step.role is not None:
        return "promotion" if step.role is Role.MANAGER else "demotion"
    return step.kind.value.replace("_", " ")


def ready(step: Step, results: Mapping[str, Ended]) -> bool:
    """Say whether all that a step waits for has ended."""
    return all(earlier in results for earlier in (*step.after, *step.follows))


class _Run:
    def __init__(
        self,
        steps: Sequence[Step],
        do: Do,
        watcher: Watcher,
        forks: int,
        clock: Callable[[], float],
    ) -> None:
        self.results: dict[str, Ended] = {}
        self._waiting = list(steps)
        self._running: dict[Future[Ended], Step] = {}
        self._do = do
        self._watcher = watcher
        self._clock = clock
        self._stop = threading.Event()
        resolve_types()
        self._pool = ThreadPoolExecutor(max(1, min(forks, len(steps))), "step")

    def go(self) -> None:
        while self._begin() or self._running:
            self._collect()

    def finish(self) -> None:
        """Let the running steps end; begin nothing."""
        self._stop.set()
        self._watcher.stopping(tuple(self._running.values()))
        while self._running:
            self._collect()

    def close(self) -> None:
        self._stop.set()
        self._pool.shutdown(wait=True, cancel_futures=True)

    def end(self, ended: Ended) -> None:
        self.results[ended.step.id] = ended
        self._watcher.ended(ended)

    def _begin(self) -> bool:
        """Submit every step whose turn has come; return whether any was begun or skipped."""
        changed = False
        for step in tuple(self._waiting):
            reason = blocked(step, self.results)
            if not reason and not ready(step, self.results):
                continue
            changed = True
            self._waiting.remove(step)
            if reason:
                self.end(Ended(step=step, state=State.SKIPPED, reason=reason))
            else:
                self._running[self._pool.submit(self._one, step)] = step
                self._watcher.began(step)
        return changed

    def _collect(self) -> None:
        if not self._running:
            return
        ended, _ = wait(self._running, return_when=FIRST_COMPLETED)
        for future in ended:
            del self._running[future]
            result = future.result()
            if result.state is not State.NOT_BEGUN:
                self.end(result)

    def _one(self, step: Step) -> Ended:
        if self._stop.is_set():
            return Ended(step=step, state=State.NOT_BEGUN)
        began = self._clock()
        try:
            state = State.DONE if self._do(step) else State.UNNEEDED
        except SwarmopsError as error:
            reason = error.reason if isinstance(error, HostError) else str(error)
            seconds = self._clock() - began
            return Ended(step=step, state=State.FAILED, reason=reason, seconds=seconds)
        return Ended(step=step, state=state, seconds=self._clock() - began)
